package town

import "testing"

// serving starts a node in a process of its own with one account, password "secret".
func serving(t *testing.T) (w *Town, anna string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w = New(t)
	anna = w.Account("anna", "secret")
	w.Serve()
	return w, anna
}
