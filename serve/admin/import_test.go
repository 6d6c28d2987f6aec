package admin

import "testing"

func TestParseSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"0": 0, "17": 17, "5GB": 5e9, "64KiB": 65536, "1 MB": 1e6, "2gib": 2 << 30} {
		if n, err := ParseSize(in); err != nil || n != want {
			t.Errorf("%s: %d %v", in, n, err)
		}
	}
	for _, in := range []string{"", "GB", "-1", "5XB", "1.5GB", "99999999999TB"} {
		if n, err := ParseSize(in); err == nil {
			t.Errorf("%s: %d, want an error", in, n)
		}
	}
}
