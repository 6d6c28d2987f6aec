package imap

// Limits of what a client may send. Beyond them is BAD, never more memory.
const (
	// MaxLine bounds one line without its literals. RFC 7162 §4 wants 8192 at
	// least; UID sets of big QRESYNC clients are longer.
	MaxLine = 64 << 10
	// MaxTag bounds a tag, which is repeated in the answer.
	MaxTag = 255
	// MaxLiteral bounds a literal that is held in memory: anything but a
	// message. Metadata values (64 KiB) are the largest useful ones.
	MaxLiteral = 128 << 10
	// MaxLiteralTotal bounds the sum of such literals in one command.
	MaxLiteralTotal = 512 << 10
	// MaxNonSync is how long a non-synchronising literal may be with LITERAL-
	// (RFC 7888 §5) and, for APPEND, without LITERAL+.
	MaxNonSync = 4096
	// MaxRanges bounds the ranges of one sequence set.
	MaxRanges = 20000
	// MaxNesting bounds parentheses, SEARCH NOT/OR and section numbers.
	MaxNesting = 64
	// MaxItems bounds the members of one list: FETCH items, flags, header fields, options.
	MaxItems = 1000
	// MaxAtom bounds one atom.
	MaxAtom = 1024
	// MaxPatterns bounds the mailbox patterns of one LIST.
	MaxPatterns = 100
)
