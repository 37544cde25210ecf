#!/bin/sh
# Installs f3skeys with its hooks and its manual page, or takes them away again.
#
#	./install.sh [--with LIST] [BINARY]	default: target/release/f3skeys
#	./install.sh --uninstall
#
# --with stunnel,k3s,kubelet	Linux: gates for these, too; by default only NFS
#				waits, because a gate that the configuration
#				does not have never lets its service start
#
# DESTDIR=/some/root	installs below another root
# F3SKEYS_OS=linux|freebsd	default: this system
#
# Base files are never edited.  A receipt (a checksum and a path a line) says
# what is ours: a file that somebody else put there, or has changed since, is
# named and kept, and the exit status is 1.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
destdir=${DESTDIR:-}
destdir=${destdir%/}
os=${F3SKEYS_OS:-$(uname -s | tr '[:upper:]' '[:lower:]')}
failed=0

die() {
	echo "install.sh: $1" >&2
	echo "  -> $2" >&2
	exit "$3"
}

# A file that stays as it is, and the way out.
kept() {
	echo "install.sh: $destdir$1: $2, kept" >&2
	echo "  -> $3" >&2
	failed=1
}

case $os in
linux) receipt=/usr/lib/f3skeys/receipt ;;
freebsd) receipt=/usr/local/share/f3skeys/receipt ;;
*) die "$os: no such system here" "set F3SKEYS_OS to linux or freebsd" 64 ;;
esac
old=$destdir$receipt
work=$(mktemp -d)
new=$work/new
: >"$new"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

sum_of() { cksum <"$1" | tr ' ' '-'; }

# recorded PATH: the checksum or the word that the receipt has for it
recorded() {
	[ ! -f "$old" ] || awk -v path="$1" '$2 == path { print $1; exit }' "$old"
}

record() { printf '%s %s\n' "$1" "$2" >>"$new"; }

# Directories that are made here are recorded, to be removed when empty.
make_dirs() {
	if [ ! -d "$destdir$1" ]; then
		make_dirs "$(dirname "$1")"
		mkdir "$destdir$1"
		record dir "$1"
	fi
}

# is_ours PATH: unchanged since we put it
is_ours() {
	[ -f "$destdir$1" ] && [ ! -L "$destdir$1" ] && [ "$(recorded "$1")" = "$(sum_of "$destdir$1")" ]
}

# put MODE SOURCE PATH [WAY-OUT]
put() {
	target=$destdir$3
	if [ -L "$target" ] || [ -e "$target" ]; then
		# Already so.  An equal file that is not in the receipt is another's
		# and stays at uninstall.
		if [ ! -L "$target" ] && cmp -s "$2" "$target"; then
			return 0
		fi
		if ! is_ours "$3"; then
			kept "$3" "changed or not ours" "${4:-move what you need of it elsewhere, remove it, run again}"
			return 0
		fi
	fi
	make_dirs "$(dirname "$3")"
	# Renamed into place: a running program is not overwritten, and nobody
	# sees half a file.
	cp "$2" "$target.f3skeys-new"
	chmod "$1" "$target.f3skeys-new"
	mv -f "$target.f3skeys-new" "$target"
	record "$(sum_of "$target")" "$3"
	echo "installed $target"
}

# Configuration: an existing file is the administrator's, whatever it says.
put_default() {
	[ -e "$destdir$2" ] || put 644 "$1" "$2"
}

# rc reads a file /etc/rc.conf.d/NAME or, where that is a directory, all in it.
put_snippet() {
	place=/etc/rc.conf.d/$1
	[ ! -d "$destdir$place" ] || place=$place/f3skeys
	put 644 "$here/rc.d/rc.conf.d/$1" "$place" \
	    "make it a directory with your file in it (mv $1 $1.own; mkdir $1; mv $1.own $1/own), run again"
}

# Once, when the unit is new: an administrator may have disabled it since.
enable_unit() {
	[ "$(recorded "$1")" != enabled ] || return 0
	record enabled "$1"
	if [ -z "$destdir" ] && command -v systemctl >/dev/null; then
		systemctl enable "$1"
		return 0
	fi
	wants=/etc/systemd/system/$(sed -n 's/^WantedBy=//p' "$here/systemd/$1").wants
	make_dirs "$wants"
	[ -L "$destdir$wants/$1" ] || ln -s "/usr/lib/systemd/system/$1" "$destdir$wants/$1"
	record link "$wants/$1"
}

# put_gate UNIT: the drop-in for a unit
put_gate() {
	put 644 "$here/systemd/$1.d/f3skeys.conf" "$units/$1.d/f3skeys.conf"
}

# What "--with" knows, and the units that go by that name.
with_units() {
	case $1 in
	stunnel) echo stunnel.service stunnel4.service stunnel@.service ;;
	k3s) echo k3s.service k3s-agent.service ;;
	kubelet) echo kubelet.service ;;
	*) die "--with $1: nothing of that name" "there are stunnel, k3s and kubelet" 64 ;;
	esac
}

# Asked for now, or by an earlier run: what is there is kept up to date.
put_with() {
	for name in stunnel k3s kubelet; do
		for unit in $(with_units "$name"); do
			case ",$with," in
			*",$name,"*) put_gate "$unit" ;;
			*) [ -z "$(recorded "$units/$unit.d/f3skeys.conf")" ] || put_gate "$unit" ;;
			esac
		done
	done
}

install_linux() {
	units=/usr/lib/systemd/system
	put 755 "$binary" /usr/sbin/f3skeys
	for unit in f3skeys.service f3sready.service f3skeys-late.service \
	    f3skeys-reconcile.service f3skeys-reconcile.timer \
	    f3skeys-daily.service f3skeys-daily.timer \
	    f3skeys-copies.service f3skeys-copies.timer; do
		put 644 "$here/systemd/$unit" "$units/$unit"
	done
	put 755 "$here/rc.d/periodic/f3skeys-daily" /usr/lib/f3skeys/daily
	for unit in nfs-server.service nfs-mountd.service zfs-mount.service; do
		put_gate "$unit"
	done
	put_with
	put 644 "$here/systemd/90-f3skeys.rules" /usr/lib/udev/rules.d/90-f3skeys.rules
	put_default "$here/systemd/f3skeys.default" /etc/default/f3skeys
	put 644 "$here/man/f3skeys.8" /usr/share/man/man8/f3skeys.8
	enable_unit f3skeys.service
	enable_unit f3sready.service
	enable_unit f3skeys-reconcile.timer
	# For a person to enable: a node without peers, or without its stick in, would
	# complain each day.
	record offered f3skeys-daily.timer
	record offered f3skeys-copies.timer
}

install_freebsd() {
	put 755 "$binary" /usr/local/sbin/f3skeys
	for script in f3skeys f3sready f3scarp; do
		put 755 "$here/rc.d/$script" "/etc/rc.d/$script"
	done
	for service in nfsd mountd rpcbind nfsuserd stunnel; do
		put_snippet "$service"
	done
	put 644 "$here/rc.d/devd/f3skeys.conf" /usr/local/etc/devd/f3skeys.conf
	put 644 "$here/rc.d/cron.d-f3skeys" /usr/local/etc/cron.d/f3skeys
	put 755 "$here/rc.d/periodic/450.f3skeys" /usr/local/etc/periodic/daily/450.f3skeys
	put 755 "$here/rc.d/periodic/f3skeys-daily" /usr/local/libexec/f3skeys-daily
	put 644 "$here/loader/f3skeys.conf" /boot/loader.conf.d/f3skeys.conf
	put 644 "$here/man/f3skeys.8" /usr/local/share/man/man8/f3skeys.8
}

# The old receipt with this run's entries put over it.  Called by a trap.
# shellcheck disable=SC2317
write_receipt() {
	[ -s "$new" ] || return 0
	make_dirs "$(dirname "$receipt")"
	[ -f "$old" ] || : >"$old"
	awk 'NR == FNR { seen[$2]; print; next } !($2 in seen)' "$new" "$old" | sort -k 2 >"$work/receipt"
	cp "$work/receipt" "$old"
}

tell_system() {
	[ "$os" = linux ] && [ -z "$destdir" ] && [ -d /run/systemd/system ] || return 0
	systemctl daemon-reload
	udevadm control --reload
}

next_steps() {
	case $os in
	linux) cat <<'TEXT' ;;
Still to do, by a person:
  write /etc/f3skeys.ron (f3skeys adopt prints one), with a gate named "nfs": the
  NFS server starts only while it is open;
  start the timer that holds the gates from then on, or reboot:
  systemctl start f3skeys-reconcile.timer;
  have the stick verified each day, and with peers their copies of the keys:
  systemctl enable --now f3skeys-daily.timer f3skeys-copies.timer;
  then ask whether this node would come back: f3skeys doctor; f3skeys rehearse
TEXT
	freebsd) cat <<'TEXT' ;;
Still to do, by a person:
  write /usr/local/etc/f3skeys.ron (f3skeys adopt prints one), with a gate named "nfs":
  rpcbind, mountd, nfsd, nfsuserd and stunnel start only while it is open
  (remove from /etc/rc.conf.d the files of services that need not wait);
  add to /etc/rc.conf:
    zfs_enable="YES"
    f3skeys_enable="YES"
  name the services of each gate in f3skeys.ron, e.g. services: ["nfsd", "stunnel"]:
  they start when it opens late and stop when it closes;
  have the stick, and the copies of its keys on the peers, verified each day, in
  /etc/periodic.conf:
    daily_f3skeys_enable="YES"
    daily_f3skeys_verbs="verify rehearse"	# without peers
  for the hold of CARP see /boot/loader.conf.d/f3skeys.conf;
  take the key device out of /etc/fstab; service devd restart;
  then ask whether this node would come back: f3skeys doctor; f3skeys rehearse
TEXT
	esac
}

do_install() {
	[ -f "$binary" ] || die "$binary: no such program" "cargo build --release, or name the program" 66
	# Also when the run breaks off: what is there already must be removable.
	trap 'write_receipt; rm -rf "$work"' EXIT
	case $os in
	linux) install_linux ;;
	freebsd) install_freebsd ;;
	esac
	tell_system
	next_steps
}

remove_file() {
	if is_ours "$1"; then
		rm -f "$destdir$1"
	elif [ "$1" != /etc/default/f3skeys ] && [ -e "$destdir$1" ]; then
		kept "$1" "changed since" "remove it yourself if it is not needed"
	fi
}

do_uninstall() {
	[ -f "$old" ] || die "$old: no receipt" "nothing was installed here by this script" 66
	# systemctl wants to see a unit's file when it disables it: units first, also
	# those that only a person may have enabled.
	awk '$1 == "enabled" || $1 == "offered" { print $2 }' "$old" >"$work/units"
	while read -r unit; do
		# A timer that goes on would start what is no longer there.
		case $unit in *.timer) now=--now ;; *) now= ;; esac
		[ -n "$destdir" ] || ! command -v systemctl >/dev/null || systemctl disable $now "$unit"
	done <"$work/units"
	while read -r what path; do
		case $what in
		dir | enabled | offered) ;;
		link) [ ! -L "$destdir$path" ] || rm -f "$destdir$path" ;;
		*) remove_file "$path" ;;
		esac
	done <"$old"
	# Deepest first; a directory that others use by now is not empty and stays.
	awk '$1 == "dir" { print $2 }' "$old" | sort -r >"$work/dirs"
	rm -f "$old"
	while read -r path; do
		rmdir "$destdir$path" 2>/dev/null || :
	done <"$work/dirs"
	tell_system
}

[ -d "$destdir/" ] || die "$destdir: no such directory" "make it first" 66
[ -n "$destdir" ] || [ "$(id -u)" -eq 0 ] || die "not root" "run as root, or set DESTDIR" 77
usage="usage: install.sh [--with LIST] [BINARY] | --uninstall"
with=
if [ "${1:-}" = --with ]; then
	[ "$os" = linux ] || die "--with: only for Linux" "on FreeBSD the files are in rc.conf.d anyway" 64
	[ $# -ge 2 ] || die "--with: no list" "$usage" 64
	with=$2
	shift 2
	for name in $(echo "$with" | tr ',' ' '); do
		with_units "$name" >/dev/null
	done
fi
case ${1:-} in
--uninstall) do_uninstall ;;
-*) die "$1: unknown option" "$usage" 64 ;;
*)
	binary=${1:-$here/target/release/f3skeys}
	do_install
	;;
esac
exit "$failed"
