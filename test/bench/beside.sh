#!/bin/bash
# beside.sh PEER [PARTS]   PEER: dovecot | cyrus | none   PARTS: those of the harness' suite.sh, and curve
# Measures Bahnpost beside a peer in the same run with the load harness that
# lies beside the repository (../shared/bench): the same line of suite.sh for
# one and the other in turn. Results: $WORK/bench/out/*.json, and a table on standard output.
# The peer comes from Debian: run the harness's peers/install.sh once, as root (Cyrus also wants libpcre3). FILL=n: messages delivered beforehand
# [20000]; R=n: runs a figure [3]; WORK: where everything is kept [/var/tmp/bahnpost-bench]; OFFSET: of our ports [9000].
# Nothing else should run on the machine meanwhile.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
harness=${HARNESS:-$here/../shared/bench}
work=${WORK:-/var/tmp/bahnpost-bench}
peer=${1:-none} parts=${2:-lmtp,body,pop3,write,big,idle,mix}
[ -d "$harness" ] || { echo "the load harness is not beside the repository: $harness"; exit 1; }
mkdir -p "$work"
[ -x "$work/bench/mailbench" ] || { rm -rf "$work/bench"; cp -r "$harness" "$work/bench"; chmod -R u+w "$work/bench"; (cd "$work/bench" && go build -o mailbench .); }
make -s -C "$here" build

offset=${OFFSET:-9000}
imap=127.0.0.1:$((offset + 143)) pop=127.0.0.1:$((offset + 110)) lmtp=127.0.0.1:$((offset + 24))
node=$work/node

start_bahnpost() {
	ulimit -n "$(ulimit -Hn)"
	if [ ! -d "$node" ]; then
		"$here/bin/bahnpost" init "$node" --domain example.test --hostname mx.example.test --loopback --port-offset $offset >/dev/null
		# the harness's users: one hash, as the peers keep clear text; hashing is not what is measured
		hash=$(python3 -c 'import hashlib,base64,os; s=os.urandom(8); print("{SSHA512}"+base64.b64encode(hashlib.sha512(b"secret"+s).digest()+s).decode())')
		{ echo address,password; for i in $(seq 0 9999); do printf 'user%05d@example.test,%s\n' "$i" "$hash"; done; } >"$work/users.csv"
		"$here/bin/bahnpost" account import "$work/users.csv" --dir "$node" | tail -1
	fi
	"$here/bin/bahnpost" serve "$node" 2>"$work/bahnpost.log" &
	echo $! >"$work/bahnpost.pid"
	for _ in $(seq 200); do curl -fs "http://127.0.0.1:$((offset + 80))/readyz" >/dev/null && break; sleep 0.05; done
}
stop_bahnpost() { kill "$(cat "$work/bahnpost.pid")" 2>/dev/null || true; wait 2>/dev/null || true; }
stop_all() {
	stop_bahnpost
	[ "$peer" = none ] || (cd "$work/bench" && peers/"$peer".sh stop) || true
}
trap stop_all EXIT

cd "$work/bench"
mkdir -p /var/tmp/peers
[ -e /var/tmp/peers/corpus.mbc ] || ./mailbench gen --out /var/tmp/peers/corpus.mbc
prefill() { # once: mail for the readers, and for part big a mailbox of 100,000
	if [[ ,$parts, == *,big,* && ! -e $work/$1.big ]]; then
		./mailbench imap-append --addr "$2" --populate --count 100000 --users 1 --user-base 9000 --mailbox Big --create --conc 1 >/dev/null
		touch "$work/$1.big"
	fi
	if [ ! -e "$work/$1.filled" ]; then
		./mailbench lmtp --addr "$3" --conc 8 --count "${FILL:-20000}" >/dev/null
		touch "$work/$1.filled"
	fi
}
rm -f out/bahnpost.json out/peer.json
case $peer in
dovecot) peers/dovecot.sh start sdbox; pi=127.0.0.1:21143 pp=127.0.0.1:21110 pl=127.0.0.1:21024 pf=/var/tmp/peers/dovecot/run/master.pid ;;
cyrus)
	[ -e /var/tmp/peers/cyrus/sasldb2 ] || peers/cyrus.sh setup
	peers/cyrus.sh start
	[ -e "$work/cyrus.users" ] || python3 peers/cyrus_users.py 0 9999 >"$work/cyrus.users" # else first deliveries race for the INBOX
	pi=127.0.0.1:22143 pp=127.0.0.1:22110 pl=127.0.0.1:22024 pf=/var/tmp/peers/cyrus/master.pid ;;
esac
start_bahnpost
prefill bahnpost $imap $lmtp
[ "$peer" = none ] || prefill "$peer" $pi $pl
curve() { # NAME LMTP PIDFILE: deliveries a second with 1, 8 and 64 connections: do the commits group?
	for n in 1 8 64; do
		./mrep "${R:-3}" lmtp --addr "$2" --conc $n --count 20000 --duration 5s --label "$1 c$n" --json "out/$1.json" --server-pidfile "$3"
		./mrep "${R:-3}" lmtp --addr "$2" --conc $n --count 20000 --duration 5s --corpus small --label "$1 c$n small" --json "out/$1.json" --server-pidfile "$3"
	done
}
for part in ${parts//,/ }; do
	if [ "$part" = curve ]; then
		curve bahnpost $lmtp "$work/bahnpost.pid"
		[ "$peer" = none ] || curve peer $pl $pf
		continue
	fi
	R=${R:-3} ./suite.sh bahnpost $imap $pop $lmtp "$work/bahnpost.pid" "$part"
	[ "$peer" = none ] || R=${R:-3} ./suite.sh peer $pi $pp $pl $pf "$part"
done
./mailbench summary out/bahnpost.json $([ "$peer" = none ] || echo out/peer.json)
