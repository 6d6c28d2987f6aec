package s3

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ParseURL understands
//
//	s3://bucket/prefix?endpoint=https://a:9000,https://b:9000&region=eu-1&style=path&credentials=/file&profile=x&ca=/file.pem
//
// Everything but the bucket may be left out. Credentials in the URL are refused: it is shown in logs.
func ParseURL(s string) (Config, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "s3" {
		return Config{}, errors.New("s3: not an s3:// URL")
	}
	if u.User != nil {
		return Config{}, errors.New("s3: credentials belong into the environment or a file (credentials=), not into the URL")
	}
	cfg := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if !validBucket(cfg.Bucket) {
		return Config{}, fmt.Errorf("s3: %.80q is no name of a bucket", cfg.Bucket)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, errors.New("s3: malformed parameters in the URL")
	}
	for k, values := range query {
		if len(values) != 1 && k != "endpoint" {
			return Config{}, fmt.Errorf("s3: parameter %.40q is there twice", k)
		}
		v := values[0]
		switch k {
		case "endpoint":
			for _, v := range values {
				cfg.Endpoints = append(cfg.Endpoints, strings.Split(v, ",")...)
			}
			for _, e := range cfg.Endpoints {
				if _, err := endpointURL(e); err != nil {
					return Config{}, err
				}
			}
		case "region":
			cfg.Region = v
		case "credentials":
			cfg.Credentials = v
		case "profile":
			cfg.Profile = v
		case "ca":
			cfg.CA = v
		case "style":
			if v != "path" && v != "host" {
				return Config{}, errors.New("s3: style is path or host")
			}
			cfg.HostStyle = v == "host"
		default:
			return Config{}, fmt.Errorf("s3: unknown parameter %.40q; known are endpoint, region, style, credentials, profile, ca", k)
		}
	}
	return cfg, nil
}

func validBucket(s string) bool {
	return len(s) >= 3 && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}
