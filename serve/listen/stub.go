package listen

// CONTRACT STUB, to be removed by the owner.
type (
	server    struct{}
	connState struct{}
	gate      struct{}
	exchange  struct{}
)
