package mailstore

import "bahnpost/store/internal/db"

// steps is the schema (DESIGN.md has the picture). Every key leads with the
// account, so that an account is one stretch of each tree, and one partition or shard of a cluster.
//
// messages is keyed by one integer, account<<32 | message: the same order as
// (account_id, msg_id), but in SQLite a rowid table keeps 4 KB of a row in its
// leaf, a WITHOUT ROWID table only 1 KB: a summary would spill into overflow
// pages, one more page written per delivery and two more read per FETCH.
//
// messages, bodies and what hangs on bodies have a scope (scope.go). In SQLite that is 0 everywhere: a column that step 5
// added without touching a row, and that takes an octet in each. In PostgreSQL step 5 makes these tables anew, led by the account; no
// configuration led there before.
//
// accounts.shape is the modseq of the last step that changed more than messages and counters: mailboxes, keywords,
// subscriptions. Another node that has seen it can take the rest from the rows with a greater modseq (news.go).
//
// messages.origin is the id of what a message is a copy of, 0 if of none; a copy of a copy has the same (RFC 8474 §5.1).
//
// thread_ref knows the conversations by hashes of message id and subject; threads.go says how its rows end.
//
// summaries holds what was read from a body at arrival, once for all messages that have it. Rows of messages from before
// step 4 have their own in messages.summary; in all others that is empty.
//
// copied counts the messages that COPY made of a body, beside bodies.refs: rows of bodies are wide, and a COPY that
// changed them would write all octets kept in them anew.
//
// msgidx is slim: the only table that a mailbox open reads. added is the modseq
// of its arrival; it rises with uid, so arrivals need no row in changelog.
var steps = []db.Step{`
CREATE TABLE accounts (
	account_id INTEGER PRIMARY KEY,
	epoch BIGINT NOT NULL, modseq BIGINT NOT NULL,
	next_mailbox BIGINT NOT NULL, next_msg BIGINT NOT NULL, next_thread BIGINT NOT NULL, uidvalidity_next BIGINT NOT NULL,
	used_bytes BIGINT NOT NULL, used_msgs BIGINT NOT NULL,
	quota_bytes BIGINT NOT NULL, quota_msgs BIGINT NOT NULL, quota_warn TEXT NOT NULL,
	log_floor BIGINT NOT NULL, removed BIGINT NOT NULL
);
CREATE TABLE mailboxes (
	account_id BIGINT NOT NULL, mailbox_id BIGINT NOT NULL,
	parent_id BIGINT NOT NULL, name TEXT NOT NULL, special_use TEXT NOT NULL, noselect BIGINT NOT NULL,
	uidvalidity BIGINT NOT NULL, created BIGINT NOT NULL,
	uidnext BIGINT NOT NULL, modseq BIGINT NOT NULL,
	msgs BIGINT NOT NULL, unseen BIGINT NOT NULL, deleted BIGINT NOT NULL, bytes BIGINT NOT NULL,
	PRIMARY KEY (account_id, mailbox_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX mailboxes_name ON mailboxes (account_id, parent_id, name);
CREATE TABLE subscriptions (
	account_id BIGINT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (account_id, name)
) WITHOUT ROWID;
CREATE TABLE keywords (
	account_id BIGINT NOT NULL, kw_id BIGINT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (account_id, kw_id)
) WITHOUT ROWID;
CREATE TABLE acl (
	account_id BIGINT NOT NULL, mailbox_id BIGINT NOT NULL, identifier TEXT NOT NULL, rights TEXT NOT NULL,
	PRIMARY KEY (account_id, mailbox_id, identifier)
) WITHOUT ROWID;
CREATE TABLE metadata (
	account_id BIGINT NOT NULL, mailbox_id BIGINT NOT NULL, entry TEXT NOT NULL, value BLOB NOT NULL,
	PRIMARY KEY (account_id, mailbox_id, entry)
) WITHOUT ROWID;
CREATE TABLE msgidx (
	account_id BIGINT NOT NULL, mailbox_id BIGINT NOT NULL, uid BIGINT NOT NULL,
	msg_id BIGINT NOT NULL, modseq BIGINT NOT NULL, flags BIGINT NOT NULL, size BIGINT NOT NULL,
	idate BIGINT NOT NULL, sdate BIGINT NOT NULL, added BIGINT NOT NULL, kw_more BLOB,
	PRIMARY KEY (account_id, mailbox_id, uid)
) WITHOUT ROWID;
CREATE TABLE messages (
	id INTEGER PRIMARY KEY,
	mailbox_id BIGINT NOT NULL, uid BIGINT NOT NULL, thread_id BIGINT NOT NULL, body_id BIGINT NOT NULL,
	pop_order BIGINT NOT NULL, uidl TEXT NOT NULL, prefix BLOB, summary BLOB NOT NULL
);
CREATE TABLE bodies (
	body_id INTEGER PRIMARY KEY,
	refs BIGINT NOT NULL, codec BIGINT NOT NULL, rawsize BIGINT NOT NULL, crc BIGINT NOT NULL,
	sha256 BLOB NOT NULL, ref TEXT NOT NULL, data BLOB
);
CREATE INDEX bodies_ref ON bodies (ref) WHERE ref <> '';
CREATE TABLE thread_ref (
	account_id BIGINT NOT NULL, ref BIGINT NOT NULL, thread_id BIGINT NOT NULL, PRIMARY KEY (account_id, ref)
) WITHOUT ROWID;
CREATE TABLE dedup (
	account_id BIGINT NOT NULL, token BLOB NOT NULL,
	mailbox_id BIGINT NOT NULL, uid BIGINT NOT NULL, msg_id BIGINT NOT NULL, thread_id BIGINT NOT NULL, modseq BIGINT NOT NULL,
	expires BIGINT NOT NULL, PRIMARY KEY (account_id, token)
) WITHOUT ROWID;
CREATE TABLE changelog (
	account_id BIGINT NOT NULL, modseq BIGINT NOT NULL, mailbox_id BIGINT NOT NULL, kind BIGINT NOT NULL,
	at BIGINT NOT NULL, uids BLOB, PRIMARY KEY (account_id, modseq, mailbox_id, kind)
) WITHOUT ROWID;
CREATE TABLE gone (
	account_id BIGINT NOT NULL, modseq BIGINT NOT NULL, part BIGINT NOT NULL, mailbox_id BIGINT NOT NULL, msgs BLOB,
	PRIMARY KEY (account_id, modseq, part)
) WITHOUT ROWID;
CREATE TABLE gone_refs (ref TEXT PRIMARY KEY, at BIGINT NOT NULL) WITHOUT ROWID;
`, `
CREATE INDEX messages_imported ON messages (mailbox_id, id) WHERE uidl<>'' OR pop_order<>0;
`, `
ALTER TABLE messages ADD COLUMN origin BIGINT NOT NULL DEFAULT 0;
CREATE INDEX messages_origin ON messages (origin) WHERE origin<>0;
`, `
CREATE TABLE summaries (body_id INTEGER PRIMARY KEY, summary BLOB NOT NULL);
CREATE TABLE copied (body_id INTEGER PRIMARY KEY, refs BIGINT NOT NULL);
`,
	db.Engines(scopeSQLite, scopePostgres),
}

const (
	scopeSQLite = `
ALTER TABLE messages ADD COLUMN account_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bodies ADD COLUMN account_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE summaries ADD COLUMN account_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE copied ADD COLUMN account_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE gone_refs ADD COLUMN account_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN shape BIGINT NOT NULL DEFAULT 0;
`
	// unixepoch is SQLite's name for the database's clock.
	scopePostgres = `
DROP TABLE messages;
CREATE TABLE messages (
	account_id BIGINT NOT NULL, id BIGINT NOT NULL,
	mailbox_id BIGINT NOT NULL, uid BIGINT NOT NULL, thread_id BIGINT NOT NULL, body_id BIGINT NOT NULL,
	pop_order BIGINT NOT NULL, uidl TEXT NOT NULL, prefix BLOB, summary BLOB NOT NULL, origin BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (account_id, id)
);
CREATE INDEX messages_imported ON messages (account_id, mailbox_id, id) WHERE uidl<>'' OR pop_order<>0;
CREATE INDEX messages_origin ON messages (account_id, origin) WHERE origin<>0;
DROP TABLE bodies;
CREATE TABLE bodies (
	account_id BIGINT NOT NULL, body_id BIGINT NOT NULL,
	refs BIGINT NOT NULL, codec BIGINT NOT NULL, rawsize BIGINT NOT NULL, crc BIGINT NOT NULL,
	sha256 BLOB NOT NULL, ref TEXT NOT NULL, data BLOB,
	PRIMARY KEY (account_id, body_id)
);
CREATE INDEX bodies_ref ON bodies (ref) WHERE ref <> '';
DROP TABLE summaries;
CREATE TABLE summaries (
	account_id BIGINT NOT NULL, body_id BIGINT NOT NULL, summary BLOB NOT NULL, PRIMARY KEY (account_id, body_id)
);
DROP TABLE copied;
CREATE TABLE copied (
	account_id BIGINT NOT NULL, body_id BIGINT NOT NULL, refs BIGINT NOT NULL, PRIMARY KEY (account_id, body_id)
);
DROP TABLE gone_refs;
CREATE TABLE gone_refs (account_id BIGINT NOT NULL, ref TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (account_id, ref));
CREATE INDEX gone_refs_at ON gone_refs (at);
ALTER TABLE accounts ADD COLUMN shape BIGINT NOT NULL DEFAULT 0;
CREATE FUNCTION unixepoch() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$SELECT floor(extract(epoch FROM clock_timestamp()))::BIGINT$$;
`
)
