#!/bin/sh
# Installs the real clients and peers that tests drive, from Debian's packages,
# starting none of their services. Without root it says what is missing and
# succeeds: the tests that need them skip, saying so.
set -eu
want="isync offlineimap3 imapfilter fetchmail getmail6 neomutt swaks libnet-ssleay-perl msmtp curl python3 openssl postgresql pgbouncer patroni etcd-server python3-etcd haproxy keepalived iproute2"
missing=""
for p in $want; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
# An S3 server (61 MB, a minute or two to build). It goes where "go install" puts things; the tests look there too.
s3=github.com/versity/versitygw/cmd/versitygw@v1.8.0
bin=$(go env GOPATH)/bin
if ! command -v versitygw >/dev/null && [ ! -x "$bin/versitygw" ]; then
	if [ "$(id -u)" = 0 ]; then
		CGO_ENABLED=0 nice go install $s3 || echo "could not build versitygw: the tests of S3 will skip"
	else
		echo "not installed, the tests of S3 will skip: go install $s3"
	fi
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "not installed, their tests will skip:$missing"
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
guard=/usr/sbin/policy-rc.d
if [ ! -e $guard ]; then
	printf '#!/bin/sh\nexit 101\n' >$guard
	chmod 755 $guard
	trap 'rm -f $guard' EXIT
fi
apt-get update -qq || true
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null || echo "could not install all of:$missing"
