package app

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"bahnpost/mail"
	"bahnpost/serve/admin"
	"bahnpost/store"
	"bahnpost/store/blob"
)

// ConfigFile is the name of the configuration within a node's directory.
const ConfigFile = "bahnpost.toml"

// Config is bahnpost.toml. Every key is optional; defaults() holds the values
// that config.tmpl shows, and a test keeps the two equal.
type Config struct {
	Node   NodeConfig   `toml:"node"`
	Listen ListenConfig `toml:"listen"`
	TLS    TLSConfig    `toml:"tls"`
	Login  LoginConfig  `toml:"login"`
	Mail   MailConfig   `toml:"mail"`
	Store  StoreConfig  `toml:"store"`
	IMAP   IMAPConfig   `toml:"imap"`
	POP3   POP3Config   `toml:"pop3"`
	Log    LogConfig    `toml:"log"`
	HTTP   HTTPConfig   `toml:"http"`
}

// NodeConfig names the node.
type NodeConfig struct {
	Hostname   string   `toml:"hostname"`
	DrainGrace Duration `toml:"drain_grace"`
}

// ListenConfig says where. A port of 0 turns the protocol off there.
type ListenConfig struct {
	Addresses     []string `toml:"addresses"`
	PortOffset    int      `toml:"port_offset"`
	LMTP          int      `toml:"lmtp"`
	SMTP          int      `toml:"smtp"`
	Submission    int      `toml:"submission"`
	Submissions   int      `toml:"submissions"`
	IMAP          int      `toml:"imap"`
	IMAPS         int      `toml:"imaps"`
	POP3          int      `toml:"pop3"`
	POP3S         int      `toml:"pop3s"`
	HTTP          int      `toml:"http"`
	HTTPS         int      `toml:"https"`
	LMTPAddresses []string `toml:"lmtp_addresses"`
	ProxyFrom     []string `toml:"proxy_protocol_from"`
	MaxConns      int      `toml:"max_connections"`
	MaxConnsPerIP int      `toml:"max_connections_per_ip"`
	MaxPerAccount int      `toml:"max_sessions_per_account"`
}

// TLSConfig names the certificate. Paths are relative to the node's directory.
type TLSConfig struct {
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
}

// LoginConfig bounds the login dialogue.
type LoginConfig struct {
	PlaintextOnLoopback bool     `toml:"plaintext_on_loopback"`
	SCRAM               string   `toml:"scram"`
	CacheFor            Duration `toml:"cache_for"`
	HashConcurrency     int      `toml:"hash_concurrency"`
	FailuresPerAccount  int      `toml:"failures_per_account"`
	FailuresPerIP       int      `toml:"failures_per_ip"`
	FailureWindow       Duration `toml:"failure_window"`
}

// MailConfig bounds mail on its way in.
type MailConfig struct {
	MaxMessage      Size   `toml:"max_message"`
	MaxRecipients   int    `toml:"max_recipients"`
	DetailSeparator string `toml:"detail_separator"`
	DetailToMailbox bool   `toml:"detail_to_mailbox"`
	OwnSenderOnly   bool   `toml:"own_sender_only"`
	DeliveredToLoop bool   `toml:"delivered_to_loop"`
}

// StoreConfig says where the mail store is, and tunes it.
type StoreConfig struct {
	Database       string   `toml:"database"`
	PasswordFile   string   `toml:"database_password_file"`
	Bodies         []string `toml:"bodies"`
	ReadCache      Size     `toml:"read_cache"`
	Spool          Size     `toml:"bodies_spool"`
	Degraded       bool     `toml:"bodies_degraded"`
	StartWait      Duration `toml:"start_wait"`
	Patience       Duration `toml:"patience"`
	DefaultQuota   Size     `toml:"default_quota"`
	QuotaWarn      []int    `toml:"quota_warn"`
	InlineMax      Size     `toml:"inline_max"`
	Compression    string   `toml:"compression"`
	ExpungeHistory Duration `toml:"expunge_history"`
	IndexMemory    Size     `toml:"index_memory"`
	SearchMemory   Size     `toml:"search_memory"`
	PageCache      Size     `toml:"page_cache"`
	BodyCache      Size     `toml:"body_cache"`
}

// IMAPConfig tunes IMAP sessions.
type IMAPConfig struct {
	IdleTimeout  Duration `toml:"idle_timeout"`
	LoginTimeout Duration `toml:"login_timeout"`
}

// POP3Config tunes POP3 sessions.
type POP3Config struct {
	IdleTimeout Duration `toml:"idle_timeout"`
	UIDLFormat  string   `toml:"uidl_format"`
}

// LogConfig chooses the log's form. Level is re-read at SIGHUP.
type LogConfig struct {
	Format string `toml:"format"`
	Level  string `toml:"level"`
}

// HTTPConfig says who may read metrics.
type HTTPConfig struct {
	MetricsFrom []string `toml:"metrics_from"`
}

// Duration is a time.Duration written as "30s", "5m", "60d".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no duration; right is for example \"90s\", \"5m\", \"60d\"", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration; right is for example \"90s\", \"5m\", \"60d\"", s)
	}
	*d = Duration(v)
	return nil
}

// D is the value as time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Size is a number of octets written as "150MB", "64KiB", "5GB", "0".
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := admin.ParseSize(string(b))
	*s = Size(n)
	return err
}

// ConfigError is a mistake in the configuration: where, and what would be right.
type ConfigError struct {
	File         string
	Line, Column int // from 1; 0: not in the file
	Key          string
	Text         string
}

func (e *ConfigError) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	if e.Key != "" {
		s += ": " + e.Key
	}
	return s + ": " + e.Text
}

// LoadConfig reads dir/bahnpost.toml over the defaults. All mistakes found are returned, joined.
func LoadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s is not there; make one with: bahnpost init %s --domain … --hostname …", path, dir)
		}
		return nil, err
	}
	return parseConfig(path, b)
}

func parseConfig(path string, b []byte) (*Config, error) {
	c := defaults()
	dec := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, explain(path, err)
	}
	if err := c.check(path, b); err != nil {
		return nil, err
	}
	return &c, nil
}

// explain turns the parser's errors into ConfigErrors.
func explain(path string, err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var all []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			line, column := e.Position()
			key := strings.Join(e.Key(), ".")
			all = append(all, &ConfigError{path, line, column, key, "there is no such key" + didYouMean(key)})
		}
		return errors.Join(all...)
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		return &ConfigError{path, line, column, strings.Join(e.Key(), "."), strings.TrimPrefix(e.Error(), "toml: ")}
	}
	return &ConfigError{File: path, Text: err.Error()}
}

// check verifies what the grammar can't. Each complaint names its line.
func (c *Config) check(path string, b []byte) error {
	var all []error
	bad := func(key, text string) {
		line, column := placeOf(b, key)
		all = append(all, &ConfigError{path, line, column, key, text})
	}
	if d, err := mail.ParseDomain(c.Node.Hostname); err != nil || !strings.Contains(d, ".") && d != "localhost" {
		bad("node.hostname", fmt.Sprintf("%q is no host name; right is the full name of this machine, like \"mx.example.org\"", c.Node.Hostname))
	}
	for _, p := range c.Listen.ports() {
		if n := p.port + c.Listen.PortOffset; p.port != 0 && (p.port < 0 || n < 1 || n > 65535) {
			bad("listen."+p.name, fmt.Sprintf("port %d with port_offset %d is not between 1 and 65535", p.port, c.Listen.PortOffset))
		}
	}
	if len(c.Listen.Addresses) == 0 {
		bad("listen.addresses", `must name at least one address; right is for example ["0.0.0.0", "::"]`)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", fmt.Sprintf("%q is unknown; right is \"text\" or \"json\"", c.Log.Format))
	}
	if _, ok := logLevels[c.Log.Level]; !ok {
		bad("log.level", fmt.Sprintf("%q is unknown; right is \"debug\", \"info\", \"warn\" or \"error\"", c.Log.Level))
	}
	if c.Store.Database != "" {
		if _, err := store.ParseDatabase(c.Store.Database); err != nil {
			bad("store.database", err.Error())
		}
		for _, u := range c.Store.Bodies {
			if err := blob.CheckURL(u); err != nil {
				bad("store.bodies", err.Error())
			}
		}
		if len(c.Store.Bodies) > 2 {
			bad("store.bodies", "names more than two places; right is one, or two that mirror each other")
		}
	} else if len(c.Store.Bodies) > 0 {
		bad("store.bodies", "needs database: a node without one keeps bodies in its directory")
	}
	if c.Store.Compression != "auto" && c.Store.Compression != "off" {
		bad("store.compression", fmt.Sprintf("%q is unknown; right is \"auto\" or \"off\"", c.Store.Compression))
	}
	if c.Login.SCRAM != "auto" && c.Login.SCRAM != "on" && c.Login.SCRAM != "off" {
		bad("login.scram", fmt.Sprintf("%q is unknown; right is \"auto\", \"on\" or \"off\"", c.Login.SCRAM))
	}
	if len(c.Mail.DetailSeparator) > 1 {
		bad("mail.detail_separator", `must be one character or ""; right is "+"`)
	}
	if c.Mail.MaxMessage <= 0 || c.Mail.MaxMessage > 150<<20 {
		bad("mail.max_message", `must be between 1 and "150MiB"`)
	}
	for _, w := range c.Store.QuotaWarn {
		if w < 1 || w > 100 {
			bad("store.quota_warn", fmt.Sprintf("%d is no per cent value between 1 and 100", w))
		}
	}
	for _, k := range []struct {
		key  string
		nets []string
	}{{"listen.proxy_protocol_from", c.Listen.ProxyFrom}, {"http.metrics_from", c.HTTP.MetricsFrom}} {
		if _, err := parseNets(k.nets); err != nil {
			bad(k.key, err.Error())
		}
	}
	return errors.Join(all...)
}

// placeOf finds the line where "table.key" is set and the column of its value, 0 if it is not.
func placeOf(b []byte, key string) (line, column int) {
	table, name, _ := strings.Cut(key, ".")
	in := false
	for i, l := range strings.Split(string(b), "\n") {
		if t := strings.TrimSpace(l); strings.HasPrefix(t, "[") {
			in = strings.HasPrefix(t, "["+table+"]")
			continue
		}
		if k, v, ok := strings.Cut(l, "="); ok && in && strings.TrimSpace(k) == name {
			return i + 1, len(l) - len(strings.TrimLeft(v, " \t")) + 1
		}
	}
	return 0, 0
}

type namedPort struct {
	name, protocol string
	port           int
	implicit       bool
}

// ports lists every protocol's port in the order a table shows them.
func (l *ListenConfig) ports() []namedPort {
	return []namedPort{
		{"lmtp", "lmtp", l.LMTP, false}, {"smtp", "smtp", l.SMTP, false},
		{"submission", "submission", l.Submission, false}, {"submissions", "submissions", l.Submissions, true},
		{"imap", "imap", l.IMAP, false}, {"imaps", "imaps", l.IMAPS, true},
		{"pop3", "pop3", l.POP3, false}, {"pop3s", "pop3s", l.POP3S, true},
		{"http", "http", l.HTTP, false}, {"https", "https", l.HTTPS, true},
	}
}
