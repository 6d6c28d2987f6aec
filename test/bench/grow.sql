-- grow.sql: makes a cell on PostgreSQL large, for cluster.py growth; psql -v accounts=N (in the directory in all) -v boxes=B -v each=M
-- gives the first B accounts M more messages in their INBOX: rows as deliveries of one small mail make them, all nodes stopped.
-- user00000 is the template; it has been delivered one mail.
SET synchronous_commit = off;
CREATE TEMP TABLE was AS SELECT max(account_id) AS id FROM directory_accounts;
CREATE TEMP TABLE template AS SELECT account_id FROM directory_accounts WHERE local_key = 'user00000';
CREATE TEMP TABLE fresh AS
	SELECT (SELECT id FROM was) + row_number() OVER () AS account_id, 'user' || lpad(i::text, greatest(5, length(i::text)), '0') AS name
	FROM generate_series(0, :accounts - 1) i
	WHERE NOT EXISTS (SELECT 1 FROM directory_accounts d WHERE d.domain = 'example.test' AND d.local_key = 'user' || lpad(i::text, greatest(5, length(i::text)), '0'));

INSERT INTO directory_accounts
	SELECT f.account_id, t.domain, f.name, f.name, t.name, t.quota_bytes, t.quota_count, t.disabled, t.uidl_format, t.role, t.created, t.home, t.epoch, t.phase, t.moving_to
	FROM fresh f, directory_accounts t WHERE t.account_id = (SELECT account_id FROM template);
INSERT INTO directory_credentials
	SELECT f.account_id, t.hash, t.salt, t.iterations, t.stored_key, t.server_key, t.changed
	FROM fresh f, directory_credentials t WHERE t.account_id = (SELECT account_id FROM template);
UPDATE directory_counters SET value = (SELECT max(account_id) FROM directory_accounts) WHERE name = 'account';
INSERT INTO accounts (account_id, epoch, modseq, next_mailbox, next_msg, next_thread, uidvalidity_next, used_bytes, used_msgs, quota_bytes, quota_msgs,
		quota_warn, log_floor, removed)
	SELECT f.account_id, t.epoch, 1, t.next_mailbox, 1, 1, t.uidvalidity_next, 0, 0, t.quota_bytes, t.quota_msgs, t.quota_warn, 0, 0
	FROM fresh f, accounts t WHERE t.account_id = (SELECT account_id FROM template);
INSERT INTO mailboxes (account_id, mailbox_id, parent_id, name, special_use, noselect, uidvalidity, created, uidnext, modseq, msgs, unseen, deleted, bytes)
	SELECT f.account_id, t.mailbox_id, t.parent_id, t.name, t.special_use, t.noselect, t.uidvalidity, 1, 1, 1, 0, 0, 0, 0
	FROM fresh f, mailboxes t WHERE t.account_id = (SELECT account_id FROM template);
INSERT INTO subscriptions SELECT f.account_id, t.name FROM fresh f, subscriptions t WHERE t.account_id = (SELECT account_id FROM template);

CREATE TEMP TABLE grown AS
	SELECT a.account_id, b.mailbox_id, b.uidnext, a.next_msg, a.next_thread, a.modseq + 1 AS modseq
	FROM directory_accounts d JOIN accounts a USING (account_id) JOIN mailboxes b USING (account_id)
	WHERE d.domain = 'example.test' AND b.parent_id = 0 AND b.name = 'INBOX' AND :each > 0 ORDER BY d.local_key LIMIT :boxes;
CREATE TEMP TABLE mail AS
	SELECT i.size, i.idate, i.sdate, b.codec, b.rawsize, b.crc, b.sha256, b.data, s.summary
	FROM msgidx i JOIN messages m ON m.account_id = i.account_id AND m.id = (i.account_id << 32 | i.msg_id)
	JOIN bodies b ON b.account_id = m.account_id AND b.body_id = m.body_id JOIN summaries s ON s.account_id = m.account_id AND s.body_id = m.body_id
	WHERE i.account_id = (SELECT account_id FROM template) AND b.ref = '' ORDER BY i.uid LIMIT 1;

INSERT INTO msgidx (account_id, mailbox_id, uid, msg_id, modseq, flags, size, idate, sdate, added, kw_more)
	SELECT g.account_id, g.mailbox_id, g.uidnext + n, g.next_msg + n, g.modseq, 0, mail.size, mail.idate, mail.sdate, g.modseq, NULL
	FROM grown g, mail, generate_series(0, :each - 1) n;
INSERT INTO messages (account_id, id, mailbox_id, uid, thread_id, body_id, pop_order, uidl, prefix, summary)
	SELECT g.account_id, g.account_id << 32 | (g.next_msg + n), g.mailbox_id, g.uidnext + n, g.next_thread + n, g.next_msg, 0, '', NULL, ''
	FROM grown g, generate_series(0, :each - 1) n;
INSERT INTO thread_ref (account_id, ref, thread_id)
	SELECT g.account_id, hashint8extended(g.account_id << 32 | (g.next_msg + n), 0), g.next_thread + n FROM grown g, generate_series(0, :each - 1) n;
INSERT INTO bodies (account_id, body_id, refs, codec, rawsize, crc, sha256, ref, data)
	SELECT g.account_id, g.next_msg, 1, mail.codec, mail.rawsize, mail.crc, mail.sha256, '', mail.data FROM grown g, mail;
INSERT INTO copied (account_id, body_id, refs) SELECT g.account_id, g.next_msg, :each - 1 FROM grown g;
INSERT INTO summaries (account_id, body_id, summary) SELECT g.account_id, g.next_msg, mail.summary FROM grown g, mail;
UPDATE mailboxes b SET uidnext = g.uidnext + :each, modseq = g.modseq, msgs = msgs + :each, unseen = unseen + :each, bytes = bytes + :each * mail.size
	FROM grown g, mail WHERE b.account_id = g.account_id AND b.mailbox_id = g.mailbox_id;
UPDATE accounts a SET next_msg = g.next_msg + :each, next_thread = g.next_thread + :each, modseq = g.modseq,
		used_msgs = used_msgs + :each, used_bytes = used_bytes + :each * mail.size
	FROM grown g, mail WHERE a.account_id = g.account_id;
VACUUM (ANALYZE);
CHECKPOINT;
