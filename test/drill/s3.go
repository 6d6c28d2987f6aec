package drill

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// s3Key and s3Secret are the object store's credentials; nodes get them from the environment.
const (
	s3Key    = "drill"
	s3Secret = "s3cret-of-the-drill"
	bucket   = "mail"
)

var s3Credentials = []string{"AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s3Secret}

// ObjectStore is an S3 server on files: versitygw.
type ObjectStore struct {
	Addr string
	Dir  string // where its files are

	bin, log string
	proc     *process
	t        testing.TB
}

// S3 starts a server with an empty bucket; the test skips where versitygw is not installed.
func S3(t testing.TB, dir string, number int) *ObjectStore {
	t.Helper()
	bin := versitygw()
	if bin == "" {
		t.Skip("versitygw is not installed (test/peers/install.sh)")
	}
	name := fmt.Sprint("s3-", number)
	o := &ObjectStore{Addr: fmt.Sprint("10.213.0.", 16+number), Dir: filepath.Join(dir, name), bin: bin, log: filepath.Join(dir, name+".log"), t: t}
	if err := os.MkdirAll(filepath.Join(o.Dir, bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "addr", "add", o.Addr+"/32", "dev", "lo")
	o.Start()
	return o
}

// versitygw is the path of the program, "" if it is nowhere.
func versitygw() string {
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p
	}
	out, err := exec.Command("go", "env", "GOPATH").Output()
	if err != nil {
		return ""
	}
	p := filepath.Join(strings.TrimSpace(string(out)), "bin", "versitygw")
	if _, err := os.Stat(p); err != nil {
		return ""
	}
	return p
}

// Start starts the server and waits until it listens.
func (o *ObjectStore) Start() {
	o.t.Helper()
	if !o.proc.alive() {
		o.proc = start(o.t, o.log, nil, o.bin, "--access", s3Key, "--secret", s3Secret, "--port", o.Addr+":7070", "posix", o.Dir)
	}
	until(o.t, startTimeout, "S3 answers", func() bool {
		c, err := net.DialTimeout("tcp", o.Addr+":7070", time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// Kill ends the server.
func (o *ObjectStore) Kill() { o.proc.kill() }

// URL is what the nodes' --blobs gets.
func (o *ObjectStore) URL() string {
	return fmt.Sprintf("s3://%s?endpoint=http://%s:7070&region=us-east-1", bucket, o.Addr)
}
