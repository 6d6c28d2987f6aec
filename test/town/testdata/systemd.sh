# systemd.sh DIR SOURCE BINARY: boots the machine's own systemd in namespaces of its own, on a copy of the root that goes
# with it: nothing outside sees it. Run by unshare.
set -eu
dir=$1 source=$2 binary=$3
root=$dir/root
mkdir -p "$root" "$dir/over"
mount -t tmpfs -o mode=755 over "$dir/over"
mkdir "$dir/over/upper" "$dir/over/work"
mount -t overlay -o "lowerdir=/,upperdir=$dir/over/upper,workdir=$dir/over/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs run "$root/run"
mount -t tmpfs tmp "$root/tmp"
mount --rbind /dev "$root/dev"
ip link set lo up
rm -f "$root"/etc/systemd/system/*.wants/* # what else is installed here stays off
mkdir -p "$root/opt/src/bin"
cp -r "$source/deploy" "$root/opt/src/"
cp "$binary" "$root/opt/src/bin/bahnpost"
exec chroot "$root" env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target
