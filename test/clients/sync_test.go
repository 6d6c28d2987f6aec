package clients

import (
	"path/filepath"
	"strings"
	"testing"
)

// isync's mbsync, two-way (RFC 3501, RFC 4315, RFC 6851).
func TestMbsync(t *testing.T) {
	t.Parallel()
	s := open(t, "mbsync")
	s.deliver("mbsync-1")
	rc := s.file("mbsyncrc", 0o600, `
IMAPAccount a
Host 127.0.0.1
Port %PORT{imap}
User anna@example.org
Pass `+password+`
SSLType None
AuthMechs LOGIN

IMAPStore remote
Account a

MaildirStore local
Path %DIR/mb/
Inbox %DIR/mb/INBOX
SubFolders Verbatim

Channel c
Far :remote:
Near :local:
Patterns INBOX Archive
Create Both
Expunge Both
Sync All
SyncState *
`)
	s.run("", "mkdir", "mb")
	sync := func() { t.Helper(); s.run("", "mbsync", "-c", rc, "c") }
	sync()
	path, content := s.one("mb/INBOX")
	s.exact("mbsync", content, "\n")
	base, _, _ := strings.Cut(filepath.Base(path), ":")
	path = s.rename(path, "mb/INBOX", base, "FS")
	sync()
	s.holds("INBOX", "FETCH 1 FLAGS", `\Flagged`, `\Seen`)
	plain, _, _ := strings.Cut(base, ",") // without ,U=n: a new message in the other folder
	s.rename(path, "mb/Archive", plain, "FS")
	sync()
	s.count("INBOX", 0)
	s.count("Archive", 1)
	s.stored("Archive", 1)
	path, _ = s.one("mb/Archive")
	base, _, _ = strings.Cut(filepath.Base(path), ":")
	s.rename(path, "mb/Archive", base, "T")
	sync()
	s.count("Archive", 0)
}

// OfflineIMAP, two-way.
func TestOfflineIMAP(t *testing.T) {
	t.Parallel()
	s := open(t, "offlineimap")
	s.deliver("offlineimap-1")
	rc := s.file("offlineimaprc", 0o600, `
[general]
accounts = a
metadata = %DIR/meta
[Account a]
localrepository = l
remoterepository = r
[Repository l]
type = Maildir
localfolders = %DIR/oi
[Repository r]
type = IMAP
remotehost = 127.0.0.1
remoteport = %PORT{imap}
remoteuser = anna@example.org
remotepass = `+password+`
ssl = no
starttls = no
auth_mechanisms = PLAIN, LOGIN
folderfilter = lambda f: f in ['INBOX', 'Archive']
`)
	sync := func() { t.Helper(); s.run("", "offlineimap", "-c", rc, "-o", "-u", "quiet") }
	sync()
	path, content := s.one("oi/INBOX")
	s.exact("offlineimap", content, "\n")
	base, _, _ := strings.Cut(filepath.Base(path), ":")
	path = s.rename(path, "oi/INBOX", base, "FS")
	sync()
	s.holds("INBOX", "FETCH 1 FLAGS", `\Flagged`, `\Seen`)
	s.run("", "rm", path) // what a mail reader does when it expunges
	sync()
	s.count("INBOX", 0)
}

// imapfilter: search, flag, move, delete on the server.
func TestImapfilter(t *testing.T) {
	t.Parallel()
	s := open(t, "imapfilter")
	s.deliver("filter-1", "filter-2", "other")
	lua := s.file("config.lua", 0o600, `
options.timeout = 30
options.starttls = false
options.certificates = false
options.create = true
a = IMAP { server = '127.0.0.1', port = %PORT{imap}, username = 'anna@example.org', password = '`+password+`' }
found = a.INBOX:contain_subject('filter-')
print('found ' .. #found)
found:mark_flagged()
for _, m in ipairs(found) do
  mbox, uid = table.unpack(m)
  print(mbox[uid]:fetch_body())
end
a.INBOX:contain_subject('filter-1'):move_messages(a['Sorted'])
a.INBOX:contain_subject('other'):delete_messages()
`)
	out := s.run("", "imapfilter", "-c", lua)
	if !strings.Contains(out, "found 2") || !strings.Contains(out, "Grüße aus München.") {
		t.Errorf("imapfilter printed\n%s", out)
	}
	s.count("Sorted", 1)
	s.count("INBOX", 1)
	s.holds("INBOX", "FETCH 1 (FLAGS ENVELOPE)", `\Flagged`, "filter-2")
	s.stored("Sorted", 1)
}
