package app

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func rendered(t *testing.T, v templateValues) []byte {
	t.Helper()
	b, err := render(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the file shows behind "#" must be what happens without it.
func TestTemplateShowsTheDefaults(t *testing.T) {
	t.Parallel()
	b := rendered(t, templateValues{Hostname: "localhost"})
	uncommented := regexp.MustCompile(`(?m)^#([a-z_0-9]+ = )`).ReplaceAll(b, []byte("$1"))
	c, err := parseConfig("t.toml", uncommented)
	if err != nil {
		t.Fatal(err)
	}
	if d := defaults(); !reflect.DeepEqual(*c, d) {
		t.Errorf("template shows\n%+v\ndefaults are\n%+v", *c, d)
	}
	for _, k := range configKeys() {
		if line, _ := placeOf(uncommented, k); line == 0 {
			t.Errorf("%s is not in the template", k)
		}
	}
}

func TestConfigMistakesNameThePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"[node]\nhostnam = \"a.b\"\n", "t.toml:2:1: node.hostnam: there is no such key; did you mean node.hostname?"},
		{"[listen]\nimap = \"x\"\n", "t.toml:2:8: listen.imap: "},
		{"[listen]\n\nimap = 70000\n", "t.toml:3:8: listen.imap: port 70000"},
		{"[log]\n  level =  \"loud\"\n", `t.toml:2:12: log.level: "loud" is unknown; right is "debug"`},
		{"[store]\ndefault_quota = \"5XB\"\n", `t.toml:2:17: store.default_quota: `},
		{"[store]\ndatabase = \"postgres://u:hidden@a:b/x\"\n", `t.toml:2:12: store.database: is no address of a PostgreSQL database; right is `},
		{"[store]\ndatabase = \"mysql://u:hidden@a/x\"\n", `t.toml:2:12: store.database: is no address of a PostgreSQL database; right is `},
		{"[store]\nbodies = [\"s3://x\"]\n", `t.toml:2:10: store.bodies: `},
		{"[imap]\nidle_timeout = \"5 parsecs\"\n", `t.toml:2:16: imap.idle_timeout: `},
		{"[http]\nmetrics_from = [\"10.0.0.0/99\"]\n", `t.toml:2:16: http.metrics_from: "10.0.0.0/99" is no network`},
		{"[node\n", "t.toml:1:"},
	} {
		_, err := parseConfig("t.toml", []byte(c.in))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s…", c.in, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}
