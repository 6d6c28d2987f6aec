package s3

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The examples of "Authenticating Requests: Using the Authorization Header" in Amazon's S3 API reference.
func TestSignExamples(t *testing.T) {
	t.Parallel()
	k := credentials{id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	now := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		method, path, query, sum string
		header                   http.Header
		want                     string
	}{
		{"GET", "/test.txt", "", emptySum, http.Header{"Range": {"bytes=0-9"}}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"PUT", escape("/test$file.text", true), "", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			http.Header{"Date": {"Fri, 24 May 2013 00:00:00 GMT"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"}},
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"GET", "/", "lifecycle=", emptySum, http.Header{}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET", "/", queryString("max-keys", "2", "prefix", "J"), emptySum, http.Header{}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		sign(x.header, k, x.method, "examplebucket.s3.amazonaws.com", x.path, x.query, "us-east-1", x.sum, now)
		if got := x.header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+x.want) {
			t.Errorf("%s %s: %s, want %s", x.method, x.path, got, x.want)
		}
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	if got := escape("/a b/ü+=~_.-$", true); got != "/a%20b/%C3%BC%2B%3D~_.-%24" {
		t.Error(got)
	}
	if got := queryString("p", "a/b&c"); got != "p=a%2Fb%26c" {
		t.Error(got)
	}
}
