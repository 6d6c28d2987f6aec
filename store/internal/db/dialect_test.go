package db_test

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bahnpost/store/blob"
	"bahnpost/store/directory"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
	"bahnpost/store/mailstore"

	"github.com/jackc/pgx/v5/pgconn"
)

// Each statement in the store is one that PostgreSQL would take, run by a test or not.
func TestDialect(t *testing.T) {
	t.Parallel()
	dsn := dbtest.Schema(t, dbtest.Postgres(t), t.Name())
	d := open(t, db.Config{Postgres: dsn})
	if _, err := mailstore.New(t.Context(), d, new(blob.Mem), mailstore.Config{}); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.New(t.Context(), d, directory.Config{}); err != nil {
		t.Fatal(err)
	}
	// Those that mailstore makes for a copy only.
	if err := d.Migrate(t.Context(), "copystore", []db.Step{`CREATE TABLE copy_marks(account_id INTEGER PRIMARY KEY, messages INTEGER);
		CREATE TABLE copy_blobs(old TEXT PRIMARY KEY, ref TEXT)`}); err != nil {
		t.Fatal(err)
	}
	c, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	keys(t, c)
	found := 0
	for _, dir := range []string{"../../directory", "../../mailstore", "../fts"} {
		for sql, where := range statements(t, dir) {
			found++
			text, params, err := db.Translate(sql)
			if err == nil {
				err = takes(t, c, text, params)
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", where, err, sql)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d statements were found", found)
	}
	t.Logf("%d statements", found)
}

// takes asks the server. The types of parameters are what it makes of them, as
// with NULL, or integers: for those of shifts it cannot tell.
func takes(t *testing.T, c *pgconn.PgConn, text string, params int) error {
	const int8 = 20
	_, err := c.Prepare(t.Context(), "", text, nil)
	if err != nil && params > 0 {
		if _, second := c.Prepare(t.Context(), "", text, slices.Repeat([]uint32{int8}, params)); second == nil {
			return nil
		}
	}
	return err
}

// keys checks that each key of a table of accounts' mail begins with the account: a partition or a shard has all that its
// accounts need. An index that is no key may serve what is not asked for by account.
func keys(t *testing.T, c *pgconn.PgConn) {
	t.Helper()
	r := c.ExecParams(t.Context(), `SELECT t.relname, i.relname, f.attname FROM pg_index x JOIN pg_class i ON i.oid=x.indexrelid
		JOIN pg_class t ON t.oid=x.indrelid JOIN pg_attribute a ON a.attrelid=t.oid AND a.attname='account_id'
		LEFT JOIN pg_attribute f ON f.attrelid=t.oid AND f.attnum=x.indkey[0]
		WHERE x.indisunique AND t.relnamespace=current_schema()::regnamespace`, nil, nil, nil, nil).Read()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, row := range r.Rows {
		if table, index, first := string(row[0]), string(row[1]), string(row[2]); first != "account_id" && !strings.HasPrefix(table, "directory_") {
			t.Errorf("key %s of %s begins with %s", index, table, first)
		}
	}
	if len(r.Rows) < 15 {
		t.Errorf("only %d keys were found", len(r.Rows))
	}
}

// statements finds the constant strings of a package that are SQL: where one is
// used, not where it is declared, for some are only parts of others. Those that SQLite alone gets have names that say so.
func statements(t *testing.T, dir string) map[string]token.Position {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	conf := types.Config{Importer: nobody{}, Error: func(error) {}} // what is imported does not matter for our constants
	conf.Check(dir, set, files, info)
	out := make(map[string]token.Position)
	parts := make(map[ast.Expr]bool)
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				parts[n.X], parts[n.Y] = true, true
			case *ast.GenDecl:
				if n.Tok == token.CONST {
					return false
				}
			}
			if e, ok := n.(ast.Expr); ok && !parts[e] {
				if id, ok := e.(*ast.Ident); ok && strings.HasPrefix(id.Name, "sqlite") {
					return false
				}
				if v := info.Types[e].Value; v != nil && v.Kind() == constant.String && isSQL(constant.StringVal(v)) {
					out[constant.StringVal(v)] = set.Position(e.Pos())
				}
			}
			return true
		})
	}
	return out
}

func isSQL(s string) bool {
	verb, _, ok := strings.Cut(strings.TrimSpace(s), " ")
	return ok && slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, verb)
}

// nobody imports nothing.
type nobody struct{}

func (nobody) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

var _ types.Importer = nobody{}
