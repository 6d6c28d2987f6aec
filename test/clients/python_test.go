package clients

import "testing"

// Python's smtplib, imaplib and poplib in one cycle.
func TestPython(t *testing.T) {
	t.Parallel()
	s := open(t, "python3")
	script := s.file("cycle.py", 0o600, pythonCycle)
	s.file("m.eml", 0o600, mailText("python-1"))
	s.run("", "python3", script)
	s.count("INBOX", 0)
	s.stored("Archive", 1)
}

const pythonCycle = `
import imaplib, poplib, smtplib, ssl
ctx = ssl._create_unverified_context()
user, pw = 'anna@example.org', '` + password + `'
msg = open('%DIR/m.eml', 'rb').read()
body = msg.split(b'\r\n\r\n', 1)[1]

with smtplib.SMTP('127.0.0.1', %PORT{submission}) as c:
    c.starttls(context=ctx)
    c.login('bert@example.org', pw)
    assert c.sendmail('bert@example.org', [user], msg) == {}
with smtplib.SMTP_SSL('127.0.0.1', %PORT{submissions}, context=ctx) as c:
    c.login('bert@example.org', pw)
    c.sendmail('bert@example.org', [user], msg)
with smtplib.LMTP('127.0.0.1', %PORT{lmtp}) as c:
    assert c.sendmail('x@elsewhere.example', [user], msg) == {} # with more recipients smtplib reads one reply only
try:
    smtplib.SMTP('127.0.0.1', %PORT{smtp}).sendmail('x@y.example', ['nobody@example.org'], msg)
    raise SystemExit('unknown recipient accepted')
except smtplib.SMTPRecipientsRefused as e:
    assert e.recipients['nobody@example.org'][0] == 550

c = imaplib.IMAP4('127.0.0.1', %PORT{imap})
c.starttls(ctx)
c.login(user, pw)
assert c.list()[0] == 'OK'
typ, n = c.select('INBOX')
assert n == [b'3'], n
typ, d = c.search(None, 'SUBJECT', 'python-1')
assert d[0].split() == [b'1', b'2', b'3'], d
typ, d = c.fetch('1', '(UID FLAGS RFC822.SIZE BODY.PEEK[TEXT])')
assert d[0][1] == body, d
assert c.store('1', '+FLAGS', '(\\Flagged $Work)')[0] == 'OK'
typ, d = c.fetch('1', '(FLAGS)')
assert b'$Work' in d[0] and b'\\Flagged' in d[0], d
assert c.append('INBOX', '(\\Seen)', imaplib.Time2Internaldate(1700000000), msg)[0] == 'OK'
assert c.copy('1', 'Archive')[0] == 'OK'
assert c.store('1', '+FLAGS', '\\Deleted')[0] == 'OK'
assert c.expunge()[1] == [b'1']
c.create('Tmp'); c.rename('Tmp', 'Tmp2'); c.subscribe('Tmp2'); c.delete('Tmp2')
c.close(); c.logout()

p = poplib.POP3('127.0.0.1', %PORT{pop3})
assert 'UIDL' in p.capa()
p.stls(ctx)
p.user(user); p.pass_(pw)
count, size = p.stat()
assert count == 3, count
uidls = p.uidl()[1]
assert len(set(uidls)) == 3
lines = p.retr(1)[1]
got = b'\r\n'.join(lines) + b'\r\n'
assert got.endswith(b'\r\n\r\n' + body), got
assert len(p.top(1, 2)[1]) < len(lines)
for i in range(count):
    p.dele(i + 1)
p.quit()
p = poplib.POP3_SSL('127.0.0.1', %PORT{pop3s}, context=ctx)
p.user(user); p.pass_(pw)
assert p.stat()[0] == 0
p.quit()
`
