// Package bahnpost holds the tests of the house itself: the floor plan, the
// length of functions, calls that are forbidden, the index of RFCs.
package bahnpost

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mayImport is the floor plan. A package may import what its row names,
// besides the standard library and third-party code; "x/..." is x and below.
var mayImport = map[string]string{
	"mail":         "",
	"obs":          "",
	"wire/...":     "wire/message",
	"home":         "mail",
	"home/cell":    "mail home obs wire/... store/...",
	"home/legacy":  "mail home obs wire/...",
	"home/move":    "mail home obs",
	"store/...":    "mail home obs wire/message store/blob store/internal/...",
	"store/blob":   "store/blob/...",
	"flow/...":     "mail obs wire/...",
	"serve/...":    "mail home obs wire/... store/mailstore store/pim store/directory serve/listen",
	"app":          "mail obs home/... wire/... store/... flow/... serve/...",
	"cmd/bahnpost": "app serve/admin serve/listen",
	"test/...":     "app mail obs home/... wire/... store/... flow/... serve/... test/...",
}

func match(pattern, p string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return p == base || deep && strings.HasPrefix(p, base+"/")
}

func TestFloorPlan(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		pkg := strings.TrimPrefix(f[0], "bahnpost/")
		if pkg == "bahnpost" {
			continue
		}
		row, best := "", ""
		for pat, r := range mayImport {
			if match(pat, pkg) && len(pat) > len(best) {
				row, best = r, pat
			}
		}
		if best == "" {
			t.Errorf("%s: not on the floor plan; a new package needs its line in house_test.go", pkg)
		}
		for _, imp := range f[1:] {
			if imp, ours := strings.CutPrefix(imp, "bahnpost/"); ours && !allowed(row, imp) {
				t.Errorf("%s may not import %s (allowed: %s)", pkg, imp, row)
			}
		}
	}
}

func allowed(row, imp string) bool {
	for pat := range strings.FieldsSeq(row) {
		if match(pat, imp) {
			return true
		}
	}
	return false
}

// sources yields each Go file of ours, parsed.
func sources(t *testing.T, tests bool, yield func(path string, set *token.FileSet, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || d.Name() == "bin") {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || !tests && strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		yield(path, set, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// maxFunction is a function's length in lines before it needs a reason, given as "//house:long why".
const maxFunction = 100

func TestFunctionsFitAScreen(t *testing.T) {
	t.Parallel()
	sources(t, false, func(path string, set *token.FileSet, f *ast.File) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line
			if n > maxFunction && !marked(fn.Doc) {
				t.Errorf("%s: %s has %d lines; split it or say //house:long why", set.Position(fn.Pos()), fn.Name.Name, n)
			}
		}
	})
}

func marked(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//house:long ") {
			return true
		}
	}
	return false
}

// forbidden calls and words, each with the replacement. where limits the rule to paths with that prefix.
var forbidden = []struct{ call, where, instead string }{
	{"time.Sleep", "", "wait for what you mean (a channel, a Timer in a select); in tests testing/synctest"},
	{"log.Printf", "", "log/slog, injected"},
	{"log.Println", "", "log/slog, injected"},
	{"fmt.Println", "serve", "log/slog, injected"},
	{"os.IsNotExist", "", "errors.Is(err, fs.ErrNotExist)"},
	{"ioutil.ReadAll", "", "io.ReadAll with a limit that has a name"},
}

func TestForbiddenCalls(t *testing.T) {
	t.Parallel()
	sources(t, false, func(path string, set *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, r := range forbidden {
				if x.Name+"."+sel.Sel.Name == r.call && strings.HasPrefix(path, r.where) && !strings.HasPrefix(path, "test/") {
					t.Errorf("%s: %s is forbidden; instead: %s", set.Position(n.Pos()), r.call, r.instead)
				}
			}
			return true
		})
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init is forbidden; dependencies come in through New", set.Position(fn.Pos()))
			}
		}
	})
}

var rfcCited = regexp.MustCompile(`RFC (\d{3,5})`)

// TestRFCIndex keeps docs/rfc.md and the code together: each RFC cited is
// listed, and each listed as "yes" is cited in code and in a test or talk file.
func TestRFCIndex(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/rfc.md")
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(page)) {
		c := strings.Split(line, "|")
		if len(c) >= 4 {
			status[strings.TrimSpace(c[1])] = strings.TrimSpace(c[3])
		}
	}
	code, tests := cited(t)
	for n, where := range code {
		if status[n] == "" {
			t.Errorf("RFC %s is cited in %s but not listed in docs/rfc.md", n, where)
		}
	}
	for n, s := range status {
		if s != "yes" {
			continue
		}
		if code[n] == "" {
			t.Errorf("docs/rfc.md says yes to RFC %s, but no code cites it", n)
		}
		if tests[n] == "" {
			t.Errorf("docs/rfc.md says yes to RFC %s, but no test or talk file cites it", n)
		}
	}
}

// cited maps each RFC number to a file that cites it, in code and in tests (talk files included).
func cited(t *testing.T) (code, tests map[string]string) {
	t.Helper()
	code, tests = map[string]string{}, map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		to := code
		switch {
		case strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".txtar"):
			to = tests
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, m := range rfcCited.FindAllSubmatch(b, -1) {
			to[string(m[1])] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, tests
}

var mdLink = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// TestLinks: what a page of the documentation points to within the repository is there.
func TestLinks(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range mdLink.FindAllSubmatch(b, -1) {
			to := string(m[1])
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), to)); err != nil {
				t.Errorf("%s points to %s, which is not there", path, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
