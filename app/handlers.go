package app

import (
	"context"
	"time"

	"bahnpost/flow/intake"
	"bahnpost/mail"
	"bahnpost/serve/imapd"
	"bahnpost/serve/listen"
	"bahnpost/serve/pop3d"
	"bahnpost/serve/smtpd"
	"bahnpost/store/mailstore"
)

// handlers builds what serves each protocol, by its name in namedPort.
func handlers(n *Node, c *Config, in *intake.Intake, version string) map[string]listen.Handler {
	smtp := func(role smtpd.Role) listen.Handler {
		return smtpd.New(smtpd.Config{Role: role, Hostname: c.Node.Hostname, MaxMessageSize: c.maxMessage(),
			MaxRecipients: c.Mail.MaxRecipients, Log: n.log, Metrics: n.metrics}, in, n.gate)
	}
	imap := imapd.New(n.floor.mailstore, n.gate, imapd.Config{AutoLogout: c.IMAP.IdleTimeout.D(), PreAuthTimeout: c.IMAP.LoginTimeout.D(),
		MaxMessage: c.maxMessage(), Version: version, Hostname: c.Node.Hostname, Log: n.log,
		Metrics: imapd.Metrics{Command: n.observeCommand("imap")}})
	pop3 := pop3d.New(n.floor.mailstore, n.gate, pop3d.Config{IdleTimeout: c.POP3.IdleTimeout.D(), UIDLFormat: c.POP3.UIDLFormat,
		AccountUIDLFormat: n.uidlFormat, Hostname: c.Node.Hostname, Log: n.log,
		Metrics: pop3d.Metrics{Command: n.observeCommand("pop3")}})
	patientIMAP, patientPOP3 := patient{n.floor.mailstore, imap}, patient{n.floor.mailstore, pop3}
	metricsFrom, _ := parseNets(c.HTTP.MetricsFrom) // checked by LoadConfig
	web := newWebPorch(httpHandler(n.metrics, metricsFrom, n.ready))
	submission := smtp(smtpd.Submission)
	return map[string]listen.Handler{
		"lmtp": smtp(smtpd.LMTP), "smtp": smtp(smtpd.MX), "submission": submission, "submissions": submission,
		"imap": patientIMAP, "imaps": patientIMAP, "pop3": patientPOP3, "pop3s": patientPOP3, "http": web, "https": web,
	}
}

// patient sessions wait for a database that is away; who delivers tries another node.
type patient struct {
	store *mailstore.Store
	h     listen.Handler
}

// Serve implements listen.Handler.
func (p patient) Serve(ctx context.Context, c *listen.Conn) { p.h.Serve(p.store.Patient(ctx), c) }

func (n *Node) observeCommand(protocol string) func(string, time.Duration, bool) {
	return func(name string, took time.Duration, ok bool) {
		n.metrics.Command(protocol, name, took, ok)
		if logsIn[name] {
			n.metrics.Login(protocol, ok)
		}
	}
}

// logsIn are the commands of IMAP and POP3 that end with a login or without; SMTP counts its own.
var logsIn = map[string]bool{"LOGIN": true, "AUTHENTICATE": true, "PASS": true, "AUTH": true}

// uidlFormat is the account's own UIDL template, "" if it has none.
func (n *Node) uidlFormat(ctx context.Context, a mail.AccountID) (string, error) {
	acc, err := n.floor.directory.Account(ctx, a)
	return acc.UIDLFormat, err
}

// tooMany is what a connection over a limit hears, in its protocol's words.
var tooMany = map[string]string{
	"lmtp": smtpd.TooMany, "smtp": smtpd.TooMany, "submission": smtpd.TooMany,
	"imap": "* BYE [UNAVAILABLE] too many connections, try again later\r\n",
	"pop3": "-ERR [SYS/TEMP] too many connections, try again later\r\n",
}
