package directory

// CONTRACT STUB, to be removed by the owner.
type directory struct{}
