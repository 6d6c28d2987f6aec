package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"crypto/sha256"
)

func (c *Client) path(key string) string {
	if c.cfg.Prefix == "" {
		return key
	}
	return c.cfg.Prefix + "/" + key
}

// Put stores body, whose SHA-256 is sum, under key. fresh: only if the key is not taken, else ErrExists.
func (c *Client) Put(ctx context.Context, key string, body io.ReaderAt, size int64, sum [32]byte, fresh bool) error {
	c.stats.puts.Add(1)
	r := &request{method: http.MethodPut, key: c.path(key), header: http.Header{}, body: body, size: size, sum: hex.EncodeToString(sum[:]), travel: size, take: drain}
	if fresh && !c.plain.Load() {
		r.header.Set("If-None-Match", "*")
	}
	err := c.do(ctx, c.writes, r)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusPreconditionFailed {
		return err
	}
	if !r.unsure {
		return fmt.Errorf("s3: put %s: %w", key, ErrExists)
	}
	// An earlier attempt of ours has come through: nobody else knows the key. That it is whole, its length tells.
	n, err := c.Size(ctx, key)
	if err == nil && n != size {
		err = fmt.Errorf("s3: put %s: %w, with %d octets", key, ErrExists, n)
	}
	return err
}

// Size asks for the length of an object. One that is not there: an error that is no fs.ErrNotExist, since
// the answer to HEAD does not tell a missing object from a missing bucket.
func (c *Client) Size(ctx context.Context, key string) (n int64, err error) {
	r := &request{method: http.MethodHead, key: c.path(key), take: func(a *http.Response) error {
		n = a.ContentLength
		return nil
	}}
	return n, c.do(ctx, c.reads, r)
}

// errForeign says that an answer is none to our question.
var errForeign = errors.New("answer does not fit the question")

// Get fills dst with the octets of an object from off on, and returns the object's whole length. An object that
// is not there: wraps fs.ErrNotExist; one that ends too soon: ErrRange. dst must not be empty.
func (c *Client) Get(ctx context.Context, key string, off int64, dst []byte) (total int64, err error) {
	c.stats.gets.Add(1)
	r := &request{method: http.MethodGet, key: c.path(key), header: http.Header{}, travel: int64(len(dst))}
	r.header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(len(dst))-1))
	r.take = func(a *http.Response) error {
		from := int64(0)
		total = a.ContentLength
		if a.StatusCode == http.StatusPartialContent {
			var ok bool
			if from, total, ok = parseContentRange(a.Header.Get("Content-Range")); !ok {
				return errForeign
			}
		}
		if from != off {
			return errForeign
		}
		if total >= 0 && total < off+int64(len(dst)) {
			return ErrRange
		}
		if _, err := io.ReadFull(a.Body, dst); err != nil {
			return fmt.Errorf("%w: %w", errShort, plainly(err))
		}
		if a.StatusCode == http.StatusPartialContent {
			io.Copy(io.Discard, io.LimitReader(a.Body, 1)) // the end, so that the connection can be used again
		}
		return nil
	}
	err = c.do(ctx, c.reads, r)
	if e, ok := errors.AsType[*Error](err); ok {
		switch {
		case e.Code == "NoSuchKey":
			return 0, missing(key)
		case e.Status == http.StatusRequestedRangeNotSatisfiable:
			return 0, fmt.Errorf("s3: get %s: %w", key, ErrRange)
		}
	}
	return total, err
}

// parseContentRange understands "bytes 0-9/443" (RFC 9110 §14.4).
func parseContentRange(s string) (from, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, all, ok2 := strings.Cut(s, "/")
	first, last, ok3 := strings.Cut(span, "-")
	f, err1 := strconv.ParseUint(first, 10, 63)
	l, err2 := strconv.ParseUint(last, 10, 63)
	n, err3 := strconv.ParseUint(all, 10, 63)
	if !ok || !ok2 || !ok3 || err1 != nil || err2 != nil || err3 != nil || f > l || l >= n {
		return 0, 0, false
	}
	return int64(f), int64(n), true
}

func drain(a *http.Response) error {
	_, err := io.Copy(io.Discard, io.LimitReader(a.Body, maxAnswer))
	return err
}

// Delete removes objects. One that is not there is no error.
func (c *Client) Delete(ctx context.Context, keys ...string) error {
	c.stats.deletes.Add(1)
	var errs []error
	for len(keys) > 1 {
		n := min(len(keys), deleteMost)
		errs = append(errs, c.deleteMany(ctx, keys[:n]))
		keys = keys[n:]
	}
	for _, key := range keys {
		err := c.do(ctx, c.writes, &request{method: http.MethodDelete, key: c.path(key), take: drain})
		if e, ok := errors.AsType[*Error](err); ok && e.Code == "NoSuchKey" {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Client) deleteMany(ctx context.Context, keys []string) error {
	type object struct{ Key string }
	ask := struct {
		XMLName xml.Name `xml:"Delete"`
		Quiet   bool
		Object  []object
	}{Quiet: true}
	for _, k := range keys {
		ask.Object = append(ask.Object, object{c.path(k)})
	}
	b, err := xml.Marshal(ask)
	if err != nil {
		return err
	}
	digest := md5.Sum(b) // S3 wants one of its checksums here, and all servers know this one
	sum := sha256.Sum256(b)
	r := &request{method: http.MethodPost, query: "delete=", header: http.Header{}, body: bytes.NewReader(b), size: int64(len(b)), sum: hex.EncodeToString(sum[:])}
	r.header.Set("Content-Md5", base64.StdEncoding.EncodeToString(digest[:]))
	r.header.Set("Content-Type", "application/xml")
	r.take = func(a *http.Response) error {
		b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
		if err != nil {
			return err
		}
		return parseDeleted(b)
	}
	return c.do(ctx, c.writes, r)
}

// parseDeleted reads the answer to a deletion of many: an error if one of them failed.
func parseDeleted(b []byte) error {
	var x struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Error   []struct{ Key, Code, Message string }
	}
	if err := xml.Unmarshal(b, &x); err != nil {
		return fmt.Errorf("answer to a deletion: %w", err)
	}
	for _, e := range x.Error {
		if e.Code != "NoSuchKey" {
			return &Error{Status: http.StatusOK, Code: printable(e.Code), Message: printable(e.Message)}
		}
	}
	return nil
}

// Object is an entry of a listing.
type Object struct {
	Key  string // without Config.Prefix
	Size int64
	Age  time.Duration // by the server's clock
	Time time.Time     // it was stored, by the server's clock
}

// List yields the objects below prefix in the order of their keys.
func (c *Client) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for token := ""; ; {
			c.stats.lists.Add(1)
			var page page
			var now time.Time
			err := c.do(ctx, c.reads, c.listing(c.path(prefix), token, 0, func(a *http.Response) error {
				b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
				if err != nil {
					return err
				}
				if now, err = http.ParseTime(a.Header.Get("Date")); err != nil {
					now = time.Now()
				}
				page, err = parsePage(b)
				return err
			}))
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, o := range page.Contents {
				key := o.Key
				if c.cfg.Prefix != "" {
					key = strings.TrimPrefix(key, c.cfg.Prefix+"/")
				}
				if !yield(Object{Key: key, Size: o.Size, Age: max(now.Sub(o.LastModified), 0), Time: o.LastModified}, nil) {
					return
				}
			}
			if token = page.NextContinuationToken; !page.IsTruncated || token == "" {
				return
			}
		}
	}
}

// listing is a request for a page of the listing; most 0: as many as the server gives.
func (c *Client) listing(prefix, token string, most int, take func(*http.Response) error) *request {
	var q []string
	if token != "" {
		q = append(q, "continuation-token", token)
	}
	q = append(q, "list-type", "2")
	if most > 0 {
		q = append(q, "max-keys", strconv.Itoa(most))
	}
	if prefix != "" {
		q = append(q, "prefix", prefix)
	}
	return &request{method: http.MethodGet, query: queryString(q...), take: take}
}

type page struct {
	XMLName  xml.Name `xml:"ListBucketResult"`
	Contents []struct {
		Key          string
		Size         int64
		LastModified time.Time
	}
	IsTruncated           bool
	NextContinuationToken string
}

func parsePage(b []byte) (p page, err error) {
	if err := xml.Unmarshal(b, &p); err != nil {
		return page{}, fmt.Errorf("listing: %w", err)
	}
	return p, nil
}

// Ready asks whether the bucket can be listed: it is there and the credentials are right.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, c.reads, c.listing(c.path(""), "", 1, drain))
}
