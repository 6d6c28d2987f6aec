package directory

import "bahnpost/store/internal/db"

// steps are the migrations; never change one that was released.
//
// local_key is the folded local part (see package doc); in directory_aliases
// "" stands for the catch-all. Placements are columns of the account: one row
// is one home. Portable SQL.
//
// All of them are reference tables where the rows of accounts are spread over
// several servers (Citus): small (a million accounts are a gigabyte), looked up by
// address as often as by account, changed seldom. So a copy stands on each server, and
// addresses are unique over the whole cell, by a key.
//
// directory_changes has the last changes in the order of the directory's modseq, which is
// a counter: see follow.go.
func steps() []db.Step {
	return []db.Step{`
CREATE TABLE directory_domains (
	name    TEXT PRIMARY KEY,
	created INTEGER NOT NULL
);
CREATE TABLE directory_accounts (
	account_id  INTEGER PRIMARY KEY,
	domain      TEXT NOT NULL,
	local_key   TEXT NOT NULL,
	local       TEXT NOT NULL,
	name        TEXT NOT NULL,
	quota_bytes INTEGER NOT NULL,
	quota_count INTEGER NOT NULL,
	disabled    INTEGER NOT NULL,
	uidl_format TEXT NOT NULL,
	role        TEXT NOT NULL,
	created     INTEGER NOT NULL,
	home        TEXT NOT NULL,
	epoch       INTEGER NOT NULL,
	phase       INTEGER NOT NULL,
	moving_to   TEXT NOT NULL,
	UNIQUE (domain, local_key)
);
CREATE INDEX directory_admins ON directory_accounts (role, account_id) WHERE role <> 'user';
CREATE TABLE directory_credentials (
	account_id INTEGER PRIMARY KEY,
	hash       TEXT NOT NULL,
	salt       BLOB,
	iterations INTEGER NOT NULL,
	stored_key BLOB,
	server_key BLOB,
	changed    INTEGER NOT NULL
);
CREATE TABLE directory_aliases (
	domain    TEXT NOT NULL,
	local_key TEXT NOT NULL,
	position  INTEGER NOT NULL,
	local     TEXT NOT NULL,
	to_local  TEXT NOT NULL,
	to_domain TEXT NOT NULL,
	PRIMARY KEY (domain, local_key, position)
);
CREATE TABLE directory_counters (
	name  TEXT PRIMARY KEY,
	value INTEGER NOT NULL
);
INSERT INTO directory_counters (name, value) VALUES ('account', 0);
CREATE TABLE directory_secrets (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
);
`, `
CREATE TABLE directory_changes (
	modseq     INTEGER PRIMARY KEY,
	account_id INTEGER NOT NULL,
	what       INTEGER NOT NULL
);
INSERT INTO directory_counters (name, value) VALUES ('modseq', 0);
CREATE INDEX directory_scramless ON directory_credentials (account_id) WHERE stored_key IS NULL;
`}
}
