//go:build !unix

package imapd

import "bahnpost/serve/listen"

// rawInput is not used here.
type rawInput struct{}

func newRawInput(*listen.Conn, *input) *rawInput { return nil }

func (*rawInput) await(*input) error { return nil }
