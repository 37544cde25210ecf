#!/bin/sh
# Installs f3skeys with its hooks and its manual pages, or takes them away again.
# `make install` and `make uninstall` call this.
#
#	./install.sh [--with LIST] [BINARY]	default: target/release/f3skeys
#	./install.sh --stage [BINARY]		for packages: no receipt, no words
#	./install.sh --uninstall
#
# --with stunnel,k3s,kubelet	Linux: gates for these, too; by default only NFS
#				waits, because a gate that the configuration
#				does not have never lets its service start
#
# PREFIX=/usr/local		of the program, its manual pages and completions;
#				default: /usr/local on FreeBSD, /usr on Linux.
#				Hooks go where rc or systemd looks for them.
# DESTDIR=/some/root		installs below another root
# F3SKEYS_OS=linux|freebsd	default: this system
#
# Nothing that is installed has an effect before somebody enables f3skeys.
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
linux)
	usual=/usr
	receipt=/usr/lib/f3skeys/receipt
	config=/etc/f3skeys.ron
	state=/var/lib/f3skeys
	;;
freebsd)
	usual=/usr/local
	receipt=/usr/local/share/f3skeys/receipt
	config=/usr/local/etc/f3skeys.ron
	state=/var/db/f3skeys
	;;
*) die "$os: no such system here" "set F3SKEYS_OS to linux or freebsd" 64 ;;
esac
prefix=${PREFIX:-$usual}
prefix=${prefix%/}
old=$destdir$receipt
work=$(mktemp -d)
new=$work/new
: >"$new"
: >"$work/placed"
: >"$work/gone"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM PIPE

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
	echo "$3" >>"$work/placed"
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
	[ -n "$stage" ] || echo "installed $target"
}

# fit SOURCE: a text of ours, with the program's path; it may name that of the
# other system.
fit() { sed "s|/usr\(/local\)\{0,1\}/sbin/f3skeys|$prefix/sbin/f3skeys|g" "$here/$1" >"$work/fitted"; }

# put_fitted MODE SOURCE PATH [WAY-OUT]
put_fitted() {
	fit "$2"
	put "$1" "$work/fitted" "$3" "${4:-}"
}

# Configuration: an existing file is the administrator's, whatever it says.
put_default() {
	echo "$2" >>"$work/placed"
	[ -e "$destdir$2" ] || put 644 "$1" "$2"
}

# rc reads a file /etc/rc.conf.d/NAME or, where that is a directory, all in it.
# A package must not take the place of a file of somebody else.
put_snippet() {
	place=/etc/rc.conf.d/$1
	[ -z "$stage" ] && [ ! -d "$destdir$place" ] || place=$place/f3skeys
	put_fitted 644 "rc.d/rc.conf.d/$1" "$place" \
	    "make it a directory with your file in it (mv $1 $1.own; mkdir $1; mv $1.own $1/own), run again"
}

# put_gate UNIT: the drop-in for a unit, for f3skeys-generator to link
put_gate() {
	put_fitted 644 "systemd/$1.d/f3skeys.conf" "$drop_ins/$1.d/f3skeys.conf"
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
			*) [ -z "$(recorded "$drop_ins/$unit.d/f3skeys.conf")" ] || put_gate "$unit" ;;
			esac
		done
	done
}

# Debian's zsh looks below /usr/share in a directory of its own.
zsh_directory() {
	case $os$prefix in
	linux/usr) [ ! -e /etc/debian_version ] || { echo vendor-completions; return; } ;;
	esac
	echo site-functions
}

# What both systems have, below the prefix.
put_common() {
	put 755 "$binary" "$prefix/sbin/f3skeys"
	put 644 "$here/man/f3skeys.8" "$prefix/share/man/man8/f3skeys.8"
	put 644 "$here/man/f3skeys.ron.5" "$prefix/share/man/man5/f3skeys.ron.5"
	put 644 "$here/completions/f3skeys.bash" "$prefix/share/bash-completion/completions/f3skeys"
	put 644 "$here/completions/_f3skeys" "$prefix/share/zsh/$(zsh_directory)/_f3skeys"
	put 644 "$here/completions/f3skeys.fish" "$prefix/share/fish/vendor_completions.d/f3skeys.fish"
}

install_linux() {
	units=/usr/lib/systemd/system
	drop_ins=/usr/lib/f3skeys/drop-ins
	put_common
	for unit in f3skeys.service f3sready.service f3skeys-late.service \
	    f3skeys-reconcile.service f3skeys-reconcile.timer \
	    f3skeys-daily.service f3skeys-daily.timer \
	    f3skeys-copies.service f3skeys-copies.timer; do
		put_fitted 644 "systemd/$unit" "$units/$unit"
	done
	put_fitted 755 rc.d/periodic/f3skeys-daily /usr/lib/f3skeys/daily
	put 644 "$here/systemd/90-f3skeys.preset" /usr/lib/systemd/system-preset/90-f3skeys.preset
	for unit in nfs-server.service nfs-mountd.service zfs-mount.service; do
		put_gate "$unit"
	done
	put_with
	put_fitted 755 systemd/f3skeys-generator /usr/lib/systemd/system-generators/f3skeys-generator
	put 644 "$here/systemd/90-f3skeys.rules" /usr/lib/udev/rules.d/90-f3skeys.rules
	put_default "$here/systemd/f3skeys.default" /etc/default/f3skeys
}

install_freebsd() {
	put_common
	for script in f3skeys f3sready f3scarp; do
		set_aside "/etc/rc.d/$script"
		set_aside "/usr/local/etc/rc.d/$script"
		put_fitted 755 "rc.d/$script" "/etc/rc.d/$script"
	done
	for service in nfsd mountd rpcbind nfsuserd stunnel; do
		put_snippet "$service"
	done
	put 644 "$here/rc.d/devd/f3skeys.conf" /usr/local/etc/devd/f3skeys.conf
	put 644 "$here/rc.d/cron.d-f3skeys" /usr/local/etc/cron.d/f3skeys
	put 755 "$here/rc.d/periodic/450.f3skeys" /usr/local/etc/periodic/daily/450.f3skeys
	put_fitted 755 rc.d/periodic/f3skeys-daily /usr/local/libexec/f3skeys-daily
	put 755 "$here/rc.d/libexec/f3skeys-alone" /usr/local/libexec/f3skeys-alone
	put 644 "$here/loader/f3skeys.conf" /boot/loader.conf.d/f3skeys.conf
}

# set_aside PATH: a script of another origin under one of our names is kept where
# rc does not run it.  One of ours that was edited is left to "put".
set_aside() {
	stranger=$destdir$1
	[ -L "$stranger" ] || [ -e "$stranger" ] || return 0
	[ -z "$(recorded "$1")" ] || return 0
	fit "rc.d/${1##*/}"
	case $1 in
	/etc/rc.d/*) ! cmp -s "$work/fitted" "$stranger" || return 0 ;;
	esac
	[ -z "$stage" ] || return 0
	make_dirs /var/backups
	aside=/var/backups/$(echo "${1#/}" | tr / -)
	while [ -e "$destdir$aside" ] || [ -L "$destdir$aside" ]; do
		aside=$aside.old
	done
	mv "$stranger" "$destdir$aside"
	[ -L "$destdir$aside" ] || chmod a-x "$destdir$aside"
	echo "install.sh: $stranger: of another origin, moved to $destdir$aside" >&2
	echo "  -> it runs no more; bring what you need of it to f3skeys, then remove it" >&2
}

# The old receipt with this run's entries put over it.  Called by a trap.
# shellcheck disable=SC2317
write_receipt() {
	cat "$new" "$work/gone" | grep -q . && [ -z "$stage" ] || return 0
	make_dirs "$(dirname "$receipt")"
	[ -f "$old" ] || : >"$old"
	cat "$new" "$work/gone" >"$work/known"
	awk 'NR == FNR { seen[$2]; if ($1 != "gone") print; next } !($2 in seen)' "$work/known" "$old" |
	    sort -k 2 >"$work/receipt"
	cp "$work/receipt" "$old"
}

tell_system() {
	[ "$os" = linux ] && [ -z "$destdir$stage" ] && [ -d /run/systemd/system ] || return 0
	systemctl daemon-reload
	udevadm control --reload
}

next_steps() {
	case $os in
	linux) cat <<'TEXT' ;;
Nothing has changed yet.  Still to do, by a person:
  write /etc/f3skeys.ron (f3skeys adopt prints one), with a gate named "nfs";
  switch it on; from then on the NFS server starts only while that gate is open:
    systemctl enable f3skeys.service
    systemctl start f3sready.service f3skeys-reconcile.timer    (or reboot)
  have the stick verified each day, and with peers their copies of the keys proven:
    systemctl enable --now f3skeys-daily.timer
    systemctl enable --now f3skeys-copies.timer
  then ask whether this node would come back: f3skeys doctor; f3skeys rehearse
`systemctl disable f3skeys.service` takes all of it off again, but for the timers
of each day.
TEXT
	freebsd) cat <<'TEXT' ;;
Nothing has changed yet.  Still to do, by a person:
  write /usr/local/etc/f3skeys.ron (f3skeys adopt prints one), with a gate named "nfs";
  take the key device out of /etc/fstab;
  switch it on; from then on rpcbind, mountd, nfsd, nfsuserd and stunnel start only
  while that gate is open (remove from /etc/rc.conf.d the files of services that
  need not wait):
    sysrc zfs_enable=YES f3skeys_enable=YES
    service devd restart; service f3skeys start; service f3sready start    (or reboot)
  name the services of each gate in f3skeys.ron, e.g. services: ["nfsd", "stunnel"]:
  they start when it opens late and stop when it closes;
  have the stick verified each day, and the copies of its keys on the peers proven:
    sysrc -f /etc/periodic.conf daily_f3skeys_enable=YES
    sysrc -f /etc/periodic.conf daily_f3skeys_verbs="verify rehearse"    (without peers)
  for the hold of CARP see /boot/loader.conf.d/f3skeys.conf;
  then ask whether this node would come back: f3skeys doctor; f3skeys rehearse
TEXT
	esac
}

# An older version's files that this one has no more.
remove_obsolete() {
	[ -f "$old" ] || return 0
	while read -r what path; do
		if [ "$what" != dir ] && ! grep -Fqx -e "$path" "$work/placed"; then
			remove_file "$path"
			echo "gone $path" >>"$work/gone"
			rmdir "$destdir$(dirname "$path")" 2>/dev/null || :
		fi
	done <"$old"
}

do_install() {
	[ -f "$binary" ] || die "$binary: no such program" "cargo build --release, or name the program" 66
	# Also when the run breaks off: what is there already must be removable.
	trap 'write_receipt; rm -rf "$work"' EXIT
	case $os in
	linux) install_linux ;;
	freebsd) install_freebsd ;;
	esac
	remove_obsolete
	tell_system
	[ -n "$stage" ] || next_steps
}

remove_file() {
	if is_ours "$1"; then
		rm -f "$destdir$1"
	elif [ "$1" != /etc/default/f3skeys ] && [ -e "$destdir$1" ]; then
		kept "$1" "changed since" "remove it yourself if it is not needed"
	fi
}

# is_enabled: whether the next boot would run what is taken away
is_enabled() {
	case $os in
	linux) [ -L "$destdir/etc/systemd/system/zfs.target.wants/f3skeys.service" ] ;;
	freebsd) grep -Eqsi '^ *f3skeys_enable=["'\'']?(yes|true|on|1)' \
	    "$destdir/etc/rc.conf" "$destdir/etc/rc.conf.local" "$destdir/etc/rc.conf.d/f3skeys" ;;
	esac
}

# Before the units go: systemctl wants to see the file of what it disables.
disable() {
	is_enabled || return 0
	echo "install.sh: f3skeys was still enabled: from the next boot on nothing loads the keys," >&2
	echo "  and NFS asks no gate" >&2
	case $os in
	linux) off="systemctl disable f3skeys.service" ;;
	freebsd) off="sysrc -x f3skeys_enable" ;;
	esac
	if [ "$os" = linux ] && [ -z "$destdir" ] && command -v systemctl >/dev/null; then
		# A timer that goes on would start what is no longer there.
		systemctl disable --now f3skeys-reconcile.timer f3skeys-daily.timer f3skeys-copies.timer || :
		systemctl disable f3skeys.service f3sready.service || :
	else
		echo "  -> $off" >&2
	fi
}

do_uninstall() {
	[ -f "$old" ] || die "$old: no receipt" "nothing was installed here by this script" 66
	disable
	while read -r what path; do
		case $what in
		dir) ;;
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
	echo "Left as they are: the configuration ($config), key stores, reports, receipts and"
	echo "the audit log ($state), and every key that is loaded."
}

case $prefix in /*) ;; *) die "PREFIX=$prefix: no absolute path" "begin it with /" 64 ;; esac
[ -d "$destdir/" ] || die "$destdir: no such directory" "make it first" 66
[ -n "$destdir" ] || [ "$(id -u)" -eq 0 ] || die "not root" "run as root, or set DESTDIR" 77
usage="usage: install.sh [--with LIST] [BINARY] | --stage [BINARY] | --uninstall"
with=
stage=
if [ "${1:-}" = --stage ]; then
	[ -n "$destdir" ] || die "--stage: no DESTDIR" "set DESTDIR to the root of the package" 64
	stage=yes
	shift
fi
if [ "${1:-}" = --with ]; then
	[ "$os" = linux ] || die "--with: only for Linux" "on FreeBSD the files are in rc.conf.d anyway" 64
	[ -n "${2:-}" ] || die "--with: no list" "$usage" 64
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
