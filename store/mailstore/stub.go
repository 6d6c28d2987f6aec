package mailstore

// CONTRACT STUB, to be removed by the owner.
type (
	store      struct{}
	bodyWriter struct{}
	body       struct{}
	reader     struct{}
	tx         struct{}
	box        struct{}
	view       struct{}
)
