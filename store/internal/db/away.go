package db

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrAway: no server that takes writes can be reached. Nothing was done; it is worth trying again later.
	ErrAway = errors.New("db: the database cannot be reached")
	// ErrRewound: see DB.Rewound. It comes with ErrAway.
	ErrRewound = errors.New("db: the database has gone back to an earlier state")
	// ErrLeaseLost is the cause with which the ctx of Hold's function ends.
	ErrLeaseLost = errors.New("db: lease was lost")
	// ErrNoNode: there is no node of that name.
	ErrNoNode = errors.New("db: no such node")
)

// Patient returns a context whose Updates and Views wait up to d for a database that is away (ErrAway) to
// come back, before they begin. Only so many may wait; those above fail at once.
func Patient(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patience{}, d)
}

type patience struct{}

// Path is one way to the database.
type Path struct {
	Host    string    // address and port, or directory of a socket
	Up      bool      // the last try reached a server there
	Primary bool      // … that takes writes
	Err     error     // why not, without secrets
	Since   time.Time // when this last changed
}
