#!/usr/bin/env bash
# zfs-mount-generator of OpenZFS 2.3.2 (Debian 2.3.2-2~bpo12+2): what is left out of the mount units is not left out of
# the key units. An encryption root with org.openzfs.systemd:ignore=on, canmount=off or a legacy mountpoint gets no mount
# unit, and a zfs-load-key@ unit all the same, whose stop unloads the key. Debian 12, as root (for chroot).
set -euo pipefail
version=2.3.2-2~bpo12+2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 0755 .

# shellcheck disable=SC2016
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
mkdir -p apt/lists/partial apt/cache/archives/partial
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive bookworm-backports contrib" >apt/list
apt=(apt-get -qq -o Dir::Etc::sourcelist="$work/apt/list" -o Dir::Etc::sourceparts=/dev/null
	-o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update
for package in zfsutils-linux libzfs6linux libnvpair3linux libuutil3linux; do
	"${apt[@]}" download "$package=$version"
	dpkg-deb -x "$package"_*.deb tree
done

# A root of its own, since the generator reads /etc/zfs/zfs-list.cache and nowhere else.
generator=tree/lib/systemd/system-generators/zfs-mount-generator
mkdir -p root/lib root/lib64 root/etc/zfs/zfs-list.cache root/out root/dev
LD_LIBRARY_PATH=tree/lib/x86_64-linux-gnu:tree/usr/lib/x86_64-linux-gnu ldd "$generator" |
	awk '$3 ~ /\// { print $3 }' | xargs -I{} cp {} root/lib
cp /lib64/ld-linux-x86-64.so.2 root/lib64
cp "$generator" root/generator

# What zed writes there: twenty columns, the last one is org.openzfs.systemd:ignore.
row() { printf '%s\t%s\t%s\ton\toff\ton\ton\toff\ton\toff\t%s\t%s\t-\t-\t-\t-\t-\t-\t-\t%s\n' "$@"; }
{
	row tank/mounted /mounted on tank/mounted prompt off
	row tank/ignored /ignored on tank/ignored prompt on
	row tank/never /never off tank/never prompt off
	row tank/legacy legacy on tank/legacy prompt off
} >root/etc/zfs/zfs-list.cache/tank
chroot root /generator /out /out /out

wanted='mounted.mount
zfs-load-key@tank-ignored.service
zfs-load-key@tank-legacy.service
zfs-load-key@tank-mounted.service
zfs-load-key@tank-never.service
4 of them unload a key when they are stopped'
got=$(cd root/out; find . -maxdepth 1 -type f -printf '%f\n' | LC_ALL=C sort
	echo "$(grep -l '^ExecStop=.*unload-key' zfs-load-key@*.service | wc -l) of them unload a key when they are stopped")
printf 'zfsutils-linux %s\n%s\n' "$version" "$got"
[ "$got" = "$wanted" ] || { echo "this has changed; seen before:"; echo "$wanted"; exit 1; }
