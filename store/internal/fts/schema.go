package fts

import "bahnpost/store/internal/db"

// Component is the name of these tables for db.Migrate.
const Component = "fts"

// Steps are the migrations. fts_block is a rowid table in SQLite on purpose:
// its rows are a few KB, which a table without rowid would pad to whole overflow pages.
func Steps() []db.Step {
	return []db.Step{`
CREATE TABLE fts_account(
	account_id INTEGER NOT NULL PRIMARY KEY,
	high       INTEGER NOT NULL, -- all messages up to this id are in segments
	next_seg   INTEGER NOT NULL  -- never given out again
) WITHOUT ROWID;
CREATE TABLE fts_seg(
	account_id INTEGER NOT NULL,
	seg        INTEGER NOT NULL,
	state      INTEGER NOT NULL, -- 0 being built, 1 live, 2 to be swept
	level      INTEGER NOT NULL,
	base       INTEGER NOT NULL, -- ids in lists count from here
	last       INTEGER NOT NULL, -- no id is above
	docs       INTEGER NOT NULL, -- messages, as of the writing
	blocks     INTEGER NOT NULL,
	bytes      INTEGER NOT NULL,
	over       INTEGER NOT NULL, -- 1: has messages whose terms are not all here
	PRIMARY KEY(account_id, seg)
) WITHOUT ROWID;
CREATE TABLE fts_block(
	account_id INTEGER NOT NULL,
	seg        INTEGER NOT NULL,
	first      BLOB    NOT NULL, -- first term
	terms      BLOB    NOT NULL,
	posts      BLOB    NOT NULL,
	PRIMARY KEY(account_id, seg, first)
);`,
		// texts is the Config.Texts that the segments are of.
		`ALTER TABLE fts_account ADD COLUMN texts INTEGER NOT NULL DEFAULT 1`}
}

const (
	building = 0
	live     = 1
	dead     = 2
)

const (
	sqlHigh       = `SELECT high FROM fts_account WHERE account_id=?`
	sqlTakeSeg    = `INSERT INTO fts_account(account_id, high, next_seg, texts) VALUES(?1,0,?3+1,?2) ON CONFLICT(account_id) DO UPDATE SET next_seg=fts_account.next_seg+1 RETURNING next_seg-1`
	sqlSetHigh    = `UPDATE fts_account SET high=?3 WHERE account_id=?1 AND high=?2`
	sqlFirstHigh  = `INSERT INTO fts_account(account_id, high, next_seg, texts) VALUES(?1,?2,?4,?3) ON CONFLICT(account_id) DO NOTHING`
	sqlState      = `SELECT state FROM fts_seg WHERE account_id=? AND seg=?`
	sqlAddSeg     = `INSERT INTO fts_seg(account_id, seg, state, level, base, last, docs, blocks, bytes, over) VALUES(?,?,0,?,?,?,?,?,?,?)`
	sqlGoLive     = `UPDATE fts_seg SET state=1, docs=?3, blocks=?4, bytes=?5, over=?6 WHERE account_id=?1 AND seg=?2 AND state=0`
	sqlRetire     = `UPDATE fts_seg SET state=2 WHERE account_id=?1 AND seg=?2 AND state=1`
	sqlGiveUp     = `UPDATE fts_seg SET state=2 WHERE account_id=?1 AND seg=?2 AND state=0`
	sqlLive       = `SELECT seg, level, base, last, docs, blocks, over FROM fts_seg WHERE account_id=? AND state=1 ORDER BY base`
	sqlDead       = `SELECT seg FROM fts_seg WHERE account_id=? AND state<>1 ORDER BY seg LIMIT 1`
	sqlAnySeg     = `SELECT seg FROM fts_seg WHERE account_id=? ORDER BY seg LIMIT 1`
	sqlDropSeg    = `DELETE FROM fts_seg WHERE account_id=?1 AND seg=?2`
	sqlAddBlock   = `INSERT INTO fts_block(account_id, seg, first, terms, posts) VALUES(?,?,?,?,?)`
	sqlFirsts     = `SELECT first FROM fts_block WHERE account_id=? AND seg=? ORDER BY first`
	sqlTerms      = `SELECT terms FROM fts_block WHERE account_id=? AND seg=? AND first>=? ORDER BY first LIMIT ?`
	sqlPosts      = `SELECT posts FROM fts_block WHERE account_id=? AND seg=? AND first=?`
	sqlBlocks     = `SELECT first, terms, posts FROM fts_block WHERE account_id=? AND seg=? AND first>=? ORDER BY first LIMIT ?`
	sqlDropBlocks = `DELETE FROM fts_block WHERE account_id=?1 AND seg=?2 AND first IN (SELECT first FROM fts_block WHERE account_id=?1 AND seg=?2 ORDER BY first LIMIT ?3)`
	sqlDropHigh   = `DELETE FROM fts_account WHERE account_id=?`
	sqlZeroHigh   = `UPDATE fts_account SET high=0 WHERE account_id=?`
	sqlRenew      = `UPDATE fts_account SET high=0, texts=?2 WHERE account_id=?1`
	sqlRetireAll  = `UPDATE fts_seg SET state=2 WHERE account_id=?`
	sqlSizes      = `SELECT count(*), coalesce(sum(blocks),0), coalesce(sum(bytes),0), coalesce(sum(docs),0) FROM fts_seg WHERE account_id=? AND state=1`
)
