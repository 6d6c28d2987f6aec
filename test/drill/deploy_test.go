package drill

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/test/town"
)

// deploy is where the examples for operators are.
const deploy = "../../deploy"

// yamlToJSON prints the documents of a YAML file as one JSON array; a key that is there twice is an error.
const yamlToJSON = `
import json, sys, yaml
class Strict(yaml.SafeLoader):
    pass
def mapping(loader, node, deep=False):
    keys = [k.value for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"]
    twice = [k for k in keys if keys.count(k) > 1]
    if twice:
        sys.exit("%s: twice: %s" % (node.start_mark, twice))
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)
Strict.add_constructor("tag:yaml.org,2002:map", mapping)
json.dump([d for d in yaml.load_all(open(sys.argv[1]), Loader=Strict) if d], sys.stdout)
`

// tree is a piece of a document.
type tree struct{ v any }

// at follows keys and indexes; what is not there is nil.
func (x tree) at(path ...any) tree {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := x.v.(map[string]any)
			x = tree{m[p]}
		case int:
			l, _ := x.v.([]any)
			if p >= len(l) {
				return tree{}
			}
			x = tree{l[p]}
		}
	}
	return x
}

func (x tree) list() (all []tree) {
	l, _ := x.v.([]any)
	for _, v := range l {
		all = append(all, tree{v})
	}
	return all
}

func (x tree) keys() (all []string) {
	m, _ := x.v.(map[string]any)
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func (x tree) String() string { return fmt.Sprint(x.v) }

// load reads a YAML file; the test skips without a parser.
func load(t *testing.T, path string) []tree {
	t.Helper()
	if exec.Command("python3", "-c", "import yaml").Run() != nil {
		t.Skip("not installed: python3-yaml")
	}
	cmd := exec.Command("python3", "-c", yamlToJSON, filepath.Join(deploy, path))
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var docs []any
	if err := json.Unmarshal(out, &docs); err != nil {
		t.Fatal(err)
	}
	return tree{docs}.list()
}

// TestKubernetes: what the manifests say of each other is true, and they ask for nothing that a careful cluster refuses.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	kinds := map[string]tree{}
	version := map[string]string{"Secret": "v1", "ConfigMap": "v1", "Service": "v1", "PodDisruptionBudget": "policy/v1", "StatefulSet": "apps/v1"}
	names := map[string]bool{}
	for _, d := range load(t, "kubernetes/bahnpost.yaml") {
		kind, name := d.at("kind").String(), d.at("metadata", "name").String()
		if want := version[kind]; d.at("apiVersion").String() != want {
			t.Errorf("%s %s: apiVersion %s, want %q", kind, name, d.at("apiVersion"), want)
		}
		if names[kind+" "+name] {
			t.Errorf("%s %s is there twice", kind, name)
		}
		names[kind+" "+name] = true
		kinds[kind] = d
	}
	set := kinds["StatefulSet"]
	pod := set.at("spec", "template", "spec")
	box := pod.at("containers", 0)
	label := set.at("spec", "template", "metadata", "labels", "app").String()
	ports := map[string]string{}
	for _, p := range box.at("ports").list() {
		ports[p.at("name").String()] = p.at("containerPort").String()
	}
	if set.at("spec", "selector", "matchLabels", "app").String() != label || kinds["PodDisruptionBudget"].at("spec", "selector", "matchLabels", "app").String() != label {
		t.Error("the selectors don't find the pods")
	}
	if !names["Service "+set.at("spec", "serviceName").String()] {
		t.Error("the StatefulSet's service is not there")
	}
	for _, d := range load(t, "kubernetes/bahnpost.yaml") {
		if d.at("kind").String() != "Service" {
			continue
		}
		if d.at("spec", "selector", "app").String() != label {
			t.Errorf("Service %s finds no pods", d.at("metadata", "name"))
		}
		for _, p := range d.at("spec", "ports").list() {
			if ports[p.at("targetPort").String()] != p.at("port").String() {
				t.Errorf("Service %s: port %s leads to %s, which is %q", d.at("metadata", "name"), p.at("port"), p.at("targetPort"), ports[p.at("targetPort").String()])
			}
		}
	}
	for probe, path := range map[string]string{"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		if got := box.at(probe, "httpGet"); got.at("path").String() != path || ports[got.at("port").String()] != "80" {
			t.Errorf("%s asks %v", probe, got)
		}
	}
	for _, e := range box.at("envFrom").list() {
		for _, k := range e.keys() {
			kind := map[string]string{"configMapRef": "ConfigMap ", "secretRef": "Secret "}[k]
			if !names[kind+e.at(k, "name").String()] {
				t.Errorf("%s %s is not there", kind, e.at(k, "name"))
			}
		}
	}
	mounts(t, set)
	if pod.at("securityContext", "runAsNonRoot").v != true || box.at("securityContext", "readOnlyRootFilesystem").v != true || box.at("securityContext", "capabilities", "drop", 0).String() != "ALL" {
		t.Error("the pod has more rights than it needs")
	}
	if pod.at("securityContext", "sysctls", 0, "name").String() != "net.ipv4.ip_unprivileged_port_start" {
		t.Error("a user who is not root can't listen on ports below 1024")
	}
	variables(t, "kubernetes", append(kinds["ConfigMap"].at("data").keys(), kinds["Secret"].at("stringData").keys()...))
}

// mounts wants a volume for each mount and a mount for each volume.
func mounts(t *testing.T, set tree) {
	t.Helper()
	volumes := map[string]bool{}
	for _, v := range append(set.at("spec", "template", "spec", "volumes").list(), set.at("spec", "volumeClaimTemplates").list()...) {
		name := v.at("name")
		if name.v == nil {
			name = v.at("metadata", "name")
		}
		volumes[name.String()] = true
	}
	for _, m := range set.at("spec", "template", "spec", "containers", 0, "volumeMounts").list() {
		if !volumes[m.at("name").String()] {
			t.Errorf("volume %s is not there", m.at("name"))
		}
		delete(volumes, m.at("name").String())
	}
	if len(volumes) > 0 {
		t.Errorf("volumes that nobody mounts: %v", volumes)
	}
}

// variables wants all that the container's start script needs, and nothing that nobody reads.
func variables(t *testing.T, where string, given []string) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(deploy, "container-start"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range given {
		if !strings.Contains(string(script), v) {
			t.Errorf("%s: nobody reads %s", where, v)
		}
	}
	for _, v := range []string{"BAHNPOST_DOMAIN", "BAHNPOST_STORE", "BAHNPOST_BLOBS", "PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if !slices.Contains(given, v) {
			t.Errorf("%s: %s is not given", where, v)
		}
	}
}

// TestCompose: services, volumes and files that are named are there.
func TestCompose(t *testing.T) {
	t.Parallel()
	d := load(t, "compose/compose.yaml")[0]
	services := d.at("services")
	conditions := []string{"service_started", "service_healthy", "service_completed_successfully"}
	for _, name := range services.keys() {
		s := services.at(name)
		for _, other := range s.at("depends_on").keys() {
			if !slices.Contains(services.keys(), other) {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
			condition := s.at("depends_on", other, "condition").String()
			if !slices.Contains(conditions, condition) {
				t.Errorf("%s: there is no condition %s", name, condition)
			}
			if condition == "service_healthy" && services.at(other, "healthcheck").v == nil {
				t.Errorf("%s waits for the health of %s, which has no check", name, other)
			}
		}
		for _, v := range s.at("volumes").list() {
			if volume, _, _ := strings.Cut(v.String(), ":"); !slices.Contains(d.at("volumes").keys(), volume) {
				t.Errorf("%s: volume %s is not there", name, volume)
			}
		}
		for _, c := range s.at("configs").list() {
			file := d.at("configs", c.at("source").String(), "file").String()
			if _, err := os.Stat(filepath.Join(deploy, "compose", file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.at("image").v == nil {
			t.Errorf("%s has no image", name)
		}
	}
	variables(t, "compose", services.at("n1", "environment").keys())
	if a, b := services.at("n1", "environment", "PGPASSWORD").String(), services.at("database", "environment", "POSTGRES_PASSWORD").String(); a != b {
		t.Errorf("the nodes' password of the database is %s, the database's %s", a, b)
	}
	if a, b := services.at("n1", "environment", "AWS_SECRET_ACCESS_KEY").String(), services.at("objects", "environment", "ROOT_SECRET_ACCESS_KEY").String(); a != b {
		t.Errorf("the nodes' key of the objects is %s, the server's %s", a, b)
	}
}

// TestPatroniExample: the settings without which what is acknowledged may be lost.
func TestPatroniExample(t *testing.T) {
	t.Parallel()
	conf := load(t, "patroni/patroni.yml")[0]
	if conf.at("etcd3").v != nil {
		t.Error("Patroni 3.0 with etcd3 makes two primaries")
	}
	dcs := conf.at("bootstrap", "dcs")
	for _, want := range []struct {
		path  []any
		value string
	}{
		{[]any{"synchronous_mode"}, "true"},
		{[]any{"postgresql", "parameters", "synchronous_commit"}, "on"},
		{[]any{"postgresql", "use_pg_rewind"}, "true"},
	} {
		if got := dcs.at(want.path...).String(); got != want.value {
			t.Errorf("%v is %s, must be %s", want.path, got, want.value)
		}
	}
}

// TestHAProxyExamples lets HAProxy itself read them.
func TestHAProxyExamples(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("not installed: haproxy")
	}
	files, err := filepath.Glob(filepath.Join(deploy, "*", "*.cfg"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		out, err := exec.Command("haproxy", "-c", "-f", f).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
}

// TestKeepalivedExample lets keepalived itself read it, in a pid namespace: its test ends with a signal to all of its group.
func TestKeepalivedExample(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("keepalived"); err != nil {
		t.Skip("not installed: keepalived")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: a pid namespace of its own")
	}
	cmd := exec.Command("keepalived", "--config-test", "--use-file", filepath.Join(deploy, "keepalived", "keepalived.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestContainerStart: the image's start script makes a node the first time, starts it, and starts it again.
func TestContainerStart(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node; not in -short")
	}
	Sealed(t, func(t *testing.T, dir string) {
		db := OnePostgres(t, dir)
		n := newNode(t, dir, 1)
		bin, err := town.Binary()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(bin, filepath.Join(dir, "bahnpost")); err != nil {
			t.Fatal(err)
		}
		script := write(t, dir, "start", shippedFile(t, "container-start", "dir=/data/node", "dir="+n.Dir))
		store := strings.Replace(db.URL(), ":"+databasePassword+"@", "@", 1)
		for try := range 2 {
			p := start(t, n.Log(), nil, n.within("env", "PATH="+dir+":/usr/bin:/bin", "BAHNPOST_DOMAIN="+domain, "BAHNPOST_HOSTNAME=mx."+domain,
				"BAHNPOST_STORE="+store, "PGPASSWORD="+databasePassword, "sh", script)...)
			until(t, startTimeout, "IMAP, and the log's word of it", func() bool {
				if !p.alive() {
					t.Fatalf("it ended:\n%s", lastLines(n.Log(), 20))
				}
				c, err := n.Dial(portIMAP, time.Second)
				if err == nil {
					c.Close()
				}
				return err == nil && strings.Count(lastLines(n.Log(), 1000), "msg=started") > try // it comes a moment later
			})
			p.kill()
		}
		if log := lastLines(n.Log(), 1000); strings.Count(log, "msg=started") != 2 || strings.Contains(log, databasePassword) {
			t.Errorf("the log:\n%s", log)
		}
	})
}
