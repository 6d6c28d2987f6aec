package blob_test

import (
	"errors"
	"log/slog"
	"testing"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
	"bahnpost/store/blob/s3/s3test"
)

// remote opens a Remote for the test. Without a Dir it gets one.
func remote(t testing.TB, cfg blob.RemoteConfig) *blob.Remote {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r, err := blob.OpenRemote(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Found(t.Context())
	if errors.Is(err, blob.ErrTaken) { // the test's own
		err = r.Ready(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRemoteExercise(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	n := make(chan int, 1)
	n <- 0
	fresh := func() string { // an empty prefix for each part
		i := <-n
		n <- i + 1
		return s.Prefix("part", i)
	}
	for name, open := range map[string]func(t *testing.T) blob.RemoteConfig{
		"S3": func(*testing.T) blob.RemoteConfig { return blob.RemoteConfig{URLs: []string{fresh()}} },
		"S3Cached": func(*testing.T) blob.RemoteConfig {
			return blob.RemoteConfig{URLs: []string{fresh()}, Cache: 100 << 20}
		},
		"S3TinyCache": func(*testing.T) blob.RemoteConfig { return blob.RemoteConfig{URLs: []string{fresh()}, Cache: 1 << 20} },
		"Mirror":      func(*testing.T) blob.RemoteConfig { return blob.RemoteConfig{URLs: []string{fresh(), fresh()}} },
		"Folder": func(t *testing.T) blob.RemoteConfig {
			return blob.RemoteConfig{URLs: []string{"file://" + t.TempDir()}}
		},
		"MirrorMixed": func(t *testing.T) blob.RemoteConfig {
			return blob.RemoteConfig{URLs: []string{"file://" + t.TempDir(), fresh()}, Cache: 50 << 20}
		},
		"FolderMirror": func(t *testing.T) blob.RemoteConfig {
			return blob.RemoteConfig{URLs: []string{"file://" + t.TempDir(), "file://" + t.TempDir()}, Degraded: true}
		},
		"WithSpool": func(t *testing.T) blob.RemoteConfig {
			return blob.RemoteConfig{URLs: []string{fresh()}, Spool: 1 << 20}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobtest.Exercise(t, func(t *testing.T) blob.Store { return remote(t, open(t)) })
		})
	}
}
