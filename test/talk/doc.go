// Package talk runs golden conversations: text files in which a few
// connections speak with a server, line by line. A file is a txtar archive: the
// script, then the messages it uses.
//
//	# RFC 2177 §3: mail that arrives is said to whoever idles.
//	A: login alice
//	B: login alice
//	B> b1 SELECT INBOX
//	B<~ b1 OK [READ-WRITE] *
//	A> a1 APPEND INBOX {m1.eml}
//	A< a1 OK [APPENDUID * $uid] *
//	B.                                   # silence: nothing more is said
//	sleep 29m
//	-- m1.eml --
//	…
//
// A letter or word names a connection. After it:
//
//	: login USER    connects and logs in     : connect     connects, and reads nothing
//	: starttls      shakes hands             : close       hangs up
//	: handshake     connects with TLS from the first octet
//	> TEXT          sends a line; {file} is sent as a non-synchronising literal, {file!} as a synchronising
//	                one (the "+" is awaited), $name as what was captured
//	>> file         sends a file as it is    >>. file      sends it dot-stuffed, and the final dot
//	>q "…"          sends a Go string as it is
//	< PATTERN       comes next               <~ PATTERN    comes, after other lines
//	<| PATTERN      lines in a row that come in any order
//	< EOF           the server hangs up      .             silence
//
// In a pattern $name (lower case) captures a word, or compares with what was
// captured; * that stands alone is one word, at the end of the line any text;
// the rest is literal. A literal of the server is shown as {5|text} with Go's
// escapes, or as {file} if it is a file of the archive.
//
// Without a connection: "deliver USER FILE [MAILBOX]", "sleep DURATION", and
// the verbs of the Env. "#" begins a comment line. -update rewrites the "<"
// lines that differ.
//
// A conversation runs in a synctest bubble over pipes: time is free, and
// silence is exact (everybody is blocked), so nothing waits and no test is flaky.
//
// With -referee=host:port the talks are held with a foreign server instead,
// which has users user00000, user00001 … with the password "secret":
//
//	go test ./serve/imapd -run TestTalk -referee=127.0.0.1:143
//
// Each line where it differs fails. Then the RFC tells who is right, and the
// story gets a note.
package talk
