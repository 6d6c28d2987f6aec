package store

import (
	"context"
	"errors"
	"io/fs"

	"bahnpost/mail"
	"bahnpost/store/blob"
)

// RowMax is the longest message, in octets, that a cell takes which has no place for bodies: what mailstore holds in memory.
const RowMax = 1 << 20

// errNoPlace answers a body that does not fit its row.
var errNoPlace = &mail.Error{Kind: mail.TooLarge, Text: "message is too large: this system has no place for large ones"}

// inRows is the body store of a cell that has none: everything lives in its row.
type inRows struct{}

var _ blob.Store = inRows{}

// Put is blob.Store.Put.
func (inRows) Put(context.Context, []byte) (blob.Ref, error) { return "", errNoPlace }

// Stage is blob.Store.Stage.
func (inRows) Stage(context.Context, []byte) (blob.Ref, error) { return "", errNoPlace }

// Lost is blob.Store.Lost.
func (inRows) Lost(blob.Ref) bool { return false }

// Flush is blob.Store.Flush.
func (inRows) Flush() error { return nil }

// Create is blob.Store.Create.
func (inRows) Create(context.Context) (blob.Writer, error) { return nil, errNoPlace }

// Open is blob.Store.Open: a row that refers to a body was written by a node that has a place for them.
func (inRows) Open(context.Context, blob.Ref) (blob.Reader, error) {
	return nil, errors.Join(errors.New("store: this node's configuration names no place for bodies ([store] bodies), another's does"), fs.ErrNotExist)
}

// Delete is blob.Store.Delete.
func (inRows) Delete(context.Context, ...blob.Ref) error {
	return errors.New("store: this node's configuration names no place for bodies")
}

// Close is blob.Store.Close.
func (inRows) Close() error { return nil }
