# After the lines of docs/operations/install.md: what a supervisor must see of the unit.
curl -fsS http://127.0.0.1/readyz >/dev/null
systemctl reload bahnpost
printf 'From: a@elsewhere.example\r\nSubject: t\r\n\r\nhello\r\n' >/tmp/mail
curl -fsS smtp://127.0.0.1:25 --mail-from a@elsewhere.example --mail-rcpt you@example.org -T /tmp/mail
pid=$(systemctl show bahnpost -p MainPID --value)
[ "$(awk '/^Uid/ {print $2}' "/proc/$pid/status")" = "$(id -u bahnpost)" ]
[ "$(awk '/^CapBnd/ {print $2}' "/proc/$pid/status")" = 0000000000000400 ] # to bind low ports, and nothing else
systemctl kill -s KILL bahnpost
for _ in $(seq 100); do
	[ "$(systemctl show bahnpost -p MainPID --value)" != "$pid" ] && curl -fs http://127.0.0.1/readyz >/dev/null && break
	sleep 0.1
done
curl -fsS http://127.0.0.1/readyz >/dev/null
systemctl stop bahnpost
[ "$(systemctl show bahnpost -p Result --value)" = success ]
sudo -u bahnpost bahnpost check /var/lib/bahnpost
echo walked
