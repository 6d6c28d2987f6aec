package talk

import (
	"bytes"
	"strings"
)

// archive is a txtar file: the script, then files, each after a line "-- name --".
type archive struct {
	script string
	files  []archiveFile
}

type archiveFile struct {
	name string
	data []byte
}

func parseArchive(data []byte) (a archive) {
	var script bytes.Buffer
	for line := range bytes.Lines(data) {
		t := strings.TrimRight(string(line), "\r\n")
		if name, ok := strings.CutPrefix(t, "-- "); ok && strings.HasSuffix(name, " --") {
			a.files = append(a.files, archiveFile{name: strings.TrimSpace(strings.TrimSuffix(name, " --"))})
			continue
		}
		if n := len(a.files); n > 0 {
			a.files[n-1].data = append(a.files[n-1].data, line...)
			continue
		}
		script.Write(line)
	}
	a.script = script.String()
	return a
}

func (a archive) format() []byte {
	var b bytes.Buffer
	b.WriteString(a.script)
	for _, f := range a.files {
		b.WriteString("-- " + f.name + " --\n")
		b.Write(f.data)
	}
	return b.Bytes()
}
