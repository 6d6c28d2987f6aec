package app

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// defaults are the values bahnpost.toml shows.
func defaults() Config {
	return Config{
		Node: NodeConfig{Hostname: "localhost", DrainGrace: Duration(10 * time.Second)},
		Listen: ListenConfig{
			Addresses: []string{"0.0.0.0", "::"}, LMTPAddresses: []string{"127.0.0.1", "::1"},
			LMTP: 24, SMTP: 25, Submission: 587, Submissions: 465, IMAP: 143, IMAPS: 993, POP3: 110, POP3S: 995, HTTP: 80, HTTPS: 443,
			ProxyFrom: []string{}, MaxConns: 20000, MaxConnsPerIP: 1000, MaxPerAccount: 100,
		},
		TLS: TLSConfig{Certificate: "tls/cert.pem", Key: "tls/key.pem"},
		Login: LoginConfig{SCRAM: "auto", CacheFor: Duration(5 * time.Minute), HashConcurrency: 0,
			FailuresPerAccount: 10, FailuresPerIP: 100, FailureWindow: Duration(5 * time.Minute)},
		Mail: MailConfig{MaxMessage: 150 << 20, MaxRecipients: 1000, DetailSeparator: "+", DetailToMailbox: true, OwnSenderOnly: true, DeliveredToLoop: true},
		Store: StoreConfig{Bodies: []string{}, ReadCache: 1 << 30, StartWait: Duration(2 * time.Minute), Patience: Duration(30 * time.Second),
			QuotaWarn: []int{80, 95}, Compression: "auto", ExpungeHistory: Duration(60 * 24 * time.Hour),
			IndexMemory: 16 << 20, SearchMemory: 32 << 20, PageCache: 16 << 20, BodyCache: 1 << 30},
		IMAP: IMAPConfig{IdleTimeout: Duration(30 * time.Minute), LoginTimeout: Duration(time.Minute)},
		POP3: POP3Config{IdleTimeout: Duration(10 * time.Minute), UIDLFormat: "%v.%u"},
		Log:  LogConfig{Format: "text", Level: "info"},
		HTTP: HTTPConfig{MetricsFrom: []string{"127.0.0.0/8", "::1/128"}},
	}
}

var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// parseNets reads CIDR networks; a bare address is a network of one.
func parseNets(list []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no network; right is for example \"10.0.0.0/8\"", s)
		}
		nets = append(nets, p)
	}
	return nets, nil
}

// didYouMean suggests the known key nearest to a wrong one.
func didYouMean(key string) string {
	best, dist := "", 4
	for _, k := range configKeys() {
		if d := distance(key, k); d < dist {
			best, dist = k, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	table, _, _ := strings.Cut(key, ".")
	var known []string
	for _, k := range configKeys() {
		if strings.HasPrefix(k, table+".") {
			known = append(known, strings.TrimPrefix(k, table+"."))
		}
	}
	if known == nil {
		return "; the tables are node, listen, tls, login, mail, store, imap, pop3, log, http"
	}
	return "; [" + table + "] knows " + strings.Join(known, ", ")
}

// configKeys lists all keys as "table.key".
func configKeys() []string {
	var keys []string
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		table := t.Field(i)
		for j := range table.Type.NumField() {
			keys = append(keys, table.Tag.Get("toml")+"."+table.Type.Field(j).Tag.Get("toml"))
		}
	}
	return keys
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost++
			}
			prev = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
