package store

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"bahnpost/store/internal/db"
)

// Away reports whether err says that no database which takes writes can be reached now, so that it is
// worth trying again; not that it refuses us for good: an unknown user, a wrong password, no such database.
func Away(err error) bool {
	if errors.Is(err, db.ErrAway) {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return false
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || !(strings.HasPrefix(refused.Code, "28") || strings.HasPrefix(refused.Code, "3D") || strings.HasPrefix(refused.Code, "42"))
}
