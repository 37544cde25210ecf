# shellcheck shell=sh
# FreeBSD's blocks of the guides, word for word: in a root of their own, over
# stand-ins of FreeBSD's commands and of the program, and over the real install.sh,
# rc.d scripts and bmake.  It shows that the commands fit together, and that the way
# back is one; how FreeBSD itself takes them it cannot show.  Read by check.sh.
: "${top:?}" "${here:?}" "${box:?}"

# guide_blocks PAGE TAG: what a person is to type, of the blocks "sh freebsd TAG"
guide_blocks() {
	awk -v fence="\`\`\`sh freebsd $2" '/^```/ { inside = ($0 == fence); next } inside' "docs/guides/$1"
}

# stand_in NAME: a command of the host, from standard input
stand_in() {
	{
		echo '#!/bin/sh'
		cat
	} >"$host/stand-ins/$1"
	chmod 755 "$host/stand-ins/$1"
}

# The host of the guides: its own files, and no more of this machine than programs.
guide_host() {
	host=$box/host
	rm -rf "$host"
	for place in usr proc dev src etc/rc.d root tmp var/backups boot/loader.conf.d local/etc local/sbin state stand-ins; do
		mkdir -p "$host/$place"
	done
	for place in bin sbin lib lib64; do
		[ ! -L "/$place" ] || cp -P "/$place" "$host/$place"
	done
	cp -RP /etc/alternatives "$host/etc/" 2>/dev/null || :
	cp "$here/rc.subr" "$host/etc/rc.subr"
	printf '%s\n' 'hostname="f0.lan.buetow.org"' 'zfs_enable="YES"' 'zfskeys_enable="YES"' \
	    'zfskeys_datasets="zdata/enc zroot/bhyve"' 'nfs_server_enable="YES"' >"$host/etc/rc.conf"
	printf '%s\n' '# Device	Mountpoint	FStype	Options	Dump	Pass#' '/dev/ada0p2	none	swap	sw	0	0' \
	    '/dev/da0	/keys	ufs	rw	0	2' '/dev/ada0p1	/boot/efi	msdosfs	rw	2	2' >"$host/etc/fstab"
	printf '#!/bin/sh\n# PROVIDE: f3skeys\necho own >>/state/loaded\n' >"$host/etc/rc.d/f3skeys"
	cat >"$host/etc/rc.d/zfskeys" <<'SCRIPT'
. /etc/rc.subr
name=zfskeys
desc="Load the keys of encrypted datasets"
rcvar=zfskeys_enable
start_cmd=zfskeys_start
zfskeys_start() {
	# Its keys are where keylocation says: without the stick in its place it asks, and gets none.
	if [ -e /state/keys ]; then echo zfskeys; else echo "zfskeys in vain"; fi >>/state/loaded
}
load_rc_config $name
run_rc_command "$1"
SCRIPT
	: >"$host/state/keys"
	guide_commands
	cp -R "$host/etc" "$box/host-before"
}

guide_commands() {
	stand_in zfs <<'END'
[ "$1" = get ] || exit 2
printf 'zdata/enc\tkeylocation\tfile:///keys/f0.lan.buetow.org:zdata.key\tlocal\n'
END
	stand_in umount <<'END'
rm "/state$1"
END
	stand_in mount <<'END'
[ "$1 $2" = "/dev/da0 /keys" ] && [ ! -e /state/keys ] && : >/state/keys
END
	stand_in tunefs <<'END'
# Of a file system that is mounted for writing it would be refused.
[ "$1 $3" = "-L /dev/da0" ] && [ ! -e /state/keys ] && echo "$2" >/state/label
END
	stand_in sysrc <<'END'
for one; do
	name=${one%%=*}
	grep -v "^$name=" /etc/rc.conf >/tmp/rc.conf
	echo "$name=\"${one#*=}\"" >>/tmp/rc.conf
	cp /tmp/rc.conf /etc/rc.conf
done
END
	# BSD's -i takes the next word.
	stand_in sed <<'END'
[ "$1" != -i ] || { suffix=$2; shift 2; set -- "-i$suffix" "$@"; }
exec /usr/bin/sed "$@"
END
	stand_in make <<'END'
[ $# -gt 0 ] || exit 0
exec bmake -s "$@" F3SKEYS_OS=freebsd PROGRAM=/state/program
END
	stand_in shutdown <<'END'
[ "$1 $2" = "-r now" ] || exit 64
rm -f /state/keys /state/loaded
# In the order of rc: what is mounted, who loads.
! awk '$1 !~ /^#/ && $2 == "/keys" { found = 1 } END { exit !found }' /etc/fstab || : >/state/keys
for script in f3skeys zfskeys f3sready; do
	[ ! -x "/etc/rc.d/$script" ] && [ "$script" != zfskeys ] || sh "/etc/rc.d/$script" start || :
done
echo booted >>/state/loaded
END
	cat >"$host/state/program" <<'END'
#!/bin/sh
ron=/usr/local/etc/f3skeys.ron
case $1 in
adopt)
	[ -e /state/keys ] || { echo "no key store is mounted" >&2; exit 69; }
	: >/state/adopted
	echo '() // DECIDE'
	exit
	;;
esac
[ -s "$ron" ] || { echo "$ron: not there" >&2; exit 78; }
case $1 in
doctor | rehearse) [ ! -e /state/keys ] && grep -q '^f3skeys_enable="YES"' /etc/rc.conf ;;
boot | ready) echo "f3skeys $1" >>/state/loaded ;;
gate | status | rotate) ;;
*) exit 64 ;;
esac
END
	chmod 755 "$host/state/program"
}

# In the host: what is typed, from standard input, in the source of f3skeys.
guide_types() {
	cat >"$host/tmp/typed"
	# shellcheck disable=SC2016,SC2086
	unshare $apart sh -eu -c '
		mount --rbind /usr "$1/usr"
		mount --bind "$1/local" "$1/usr/local"
		mount --rbind /proc "$1/proc"
		mount --rbind /dev "$1/dev"
		mount --bind "$2" "$1/src"
		rm -f "$1/state/ended"
		exec chroot "$1" /usr/bin/env -i rc_root= HOME=/root PATH=/stand-ins:/usr/bin:/usr/sbin:/usr/local/sbin \
		    sh -c "cd /src && sh -e /tmp/typed && : >/state/ended"
	' sh "$host" "$top" && [ -e "$host/state/ended" ]
}

# loads WORDS: who loaded the keys at the last boot, and no other
loads() { same "$* booted" "$(paste -s -d ' ' "$host/state/loaded")"; }

# guide_on PAGE [SED-COMMAND]: the way there; afterwards f3skeys alone boots the host
guide_on() {
	guide_host
	guide_blocks "$1" on | sed "${2:-}" | guide_types || return 1
	loads f3skeys boot f3skeys ready || return 1
	same "3c3" "$(diff "$box/host-before/fstab" "$host/etc/fstab" | head -n 1)" || return 1
	same "#/dev/da0	/keys	ufs	rw	0	2" "$(sed -n 3p "$host/etc/fstab")" || return 1
	[ ! -e "$host/state/keys" ] && [ -e "$host/state/adopted" ] && [ -s "$host/root/zfs-before" ] || return 1
	cmp "rc.d/f3skeys" "$host/etc/rc.d/f3skeys" || return 1
	cmp "$box/host-before/rc.d/f3skeys" "$host/var/backups/etc-rc.d-f3skeys" || return 1
	# All other lines of rc.conf are as they were.
	same "$(grep -v -e zfs "$box/host-before/rc.conf")" "$(grep -v -e zfs -e f3s "$host/etc/rc.conf")"
}

# The label by which the stick is found, which the articles' has not.
guide_labels() { guide_on from-f3s.md && same F3S_KEYS "$(cat "$host/state/label")"; }

# guide_off PAGE [SED-COMMAND]: there and back; afterwards zfskeys alone boots the host
guide_off() {
	guide_on "$1" || return 1
	guide_blocks from-zfskeys.md off | sed "${2:-}" | guide_types || return 1
	loads zfskeys || return 1
	cmp "$box/host-before/fstab" "$host/etc/fstab" || return 1
	same "$(sort "$box/host-before/rc.conf")" "$(grep -v '^f3skeys_enable="NO"$' "$host/etc/rc.conf" | sort)" || return 1
	# What the guide says is left, and no more.
	same "./etc/fstab.before-f3skeys ./local/etc/f3skeys.ron ./root/zfs-before ./var/backups/etc-rc.d-f3skeys" \
	    "$(cd "$host" && find boot etc local root var -name '*f3s*' -o -path 'root/*' | sort | sed 's|^|./|' | paste -s -d ' ' -)"
}

# says_no COMMAND...: the guide is worse without a line, and that is noticed
says_no() {
	if "$@"; then
		echo "went on as if nothing were missing"
		return 1
	fi
}

guide_checks() {
	apart=--mount
	[ "$(id -u)" -eq 0 ] || apart="--mount --map-root-user"
	# shellcheck disable=SC2086
	if ! unshare $apart true 2>/dev/null; then
		echo "NOT RUN: no mount namespaces here, so FreeBSD's blocks of the guides are NOT TRIED"
		return
	fi
	need bmake bmake || echo "bmake is missing"
	check "from-f3s.md, on: over stand-ins, f3skeys alone boots the host" guide_on from-f3s.md
	check "from-f3s.md, on: the stick has its label" guide_labels
	check "from-zfskeys.md, FreeBSD, on: over stand-ins, f3skeys alone boots the host" guide_on from-zfskeys.md
	for page in from-f3s.md from-zfskeys.md; do
		check "$page, off again: over stand-ins, zfskeys alone boots the host, files as before" guide_off "$page"
		for line in 'sysrc zfskeys_enable=NO' 'sed -i' 'f3skeys adopt' 'make install' 'shutdown'; do
			check "$page, on: without its line \"$line\" refused" says_no guide_on "$page" "/^$line/d"
		done
		for line in 'sysrc zfskeys_enable=YES' 'cp /etc/fstab' 'make uninstall' 'shutdown'; do
			check "$page, off again: without \"$line\" refused" says_no guide_off "$page" "\\|^$line|d"
		done
	done
}
