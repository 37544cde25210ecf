#!/bin/sh
# Checks the hooks without a node: shell, manual page, install.sh, units, the
# order of the rc.d scripts, and what the late path does.
# One line a check; exit 1 when one fails.
set -u

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

# check NAME COMMAND...: the command must succeed; else its output is shown.
check() {
	name=$1
	shift
	if "$@" >"$box/out" 2>&1; then
		passed=$((passed + 1))
		echo "ok    $name"
	else
		failed=$((failed + 1))
		echo "FAIL  $name"
		sed 's/^/      /' "$box/out"
	fi
}

# says PATTERN COMMAND...: the command must fail and say so.
says() {
	pattern=$1
	shift
	if "$@" >"$box/said" 2>&1; then
		cat "$box/said"
		echo "succeeded"
		return 1
	fi
	cat "$box/said"
	grep -q -e "$pattern" "$box/said"
}

# need TOOL PACKAGE
need() {
	command -v "$1" >/dev/null && return 0
	if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
		{ apt-get -qq update && apt-get -qq install -y "$2"; } >"$box/apt" 2>&1 || cat "$box/apt"
	fi
	command -v "$1" >/dev/null
}

same() {
	[ "$1" = "$2" ] || { printf 'wanted: %s\ngot:    %s\n' "$1" "$2"; return 1; }
}

# ---- shell and manual page

lint() {
	need shellcheck shellcheck || echo "shellcheck is missing"
	need mandoc mandoc || echo "mandoc is missing"
	for script in install.sh rc.d/f3skeys rc.d/f3sready rc.d/rc.conf.d/* systemd/late tests/hooks/check.sh; do
		check "shellcheck $script" shellcheck -s sh "$script"
	done
	check "mandoc lint" mandoc -T lint -W warning man/f3skeys.8
	for script in rc.d/f3skeys rc.d/f3sready; do
		check "$script ends in run_rc_command" same "run_rc_command \"\$1\"" "$(tail -n 1 "$script")"
	done
}

# ---- install.sh

# installer OS ROOT [ARGUMENT]
installer() {
	F3SKEYS_OS=$1 DESTDIR=$2 "$top/install.sh" "${3:-$box/program}"
}

# Everything below a root: inode, mode, size, time, contents.
picture() {
	(cd "$1" && find . -exec ls -ldin {} + | sort -k 10 && find . -type f -exec cksum {} + | sort -k 3)
}

fresh() {
	rm -rf "$box/root"
	mkdir "$box/root"
}

holds_files() {
	while read -r mode path; do
		same "$mode $path" "$(stat -c %a "$box/root$path") $path" || return 1
	done
}

installed_linux() {
	installer linux "$box/root" || return 1
	holds_files <<'LIST'
755 /usr/sbin/f3skeys
755 /usr/lib/f3skeys/late
644 /usr/lib/systemd/system/f3skeys.service
644 /usr/lib/systemd/system/f3sready.service
644 /usr/lib/systemd/system/f3skeys-late.service
644 /usr/lib/systemd/system/nfs-server.service.d/f3skeys.conf
644 /usr/lib/systemd/system/nfs-mountd.service.d/f3skeys.conf
644 /usr/lib/systemd/system/zfs-mount.service.d/f3skeys.conf
644 /usr/lib/udev/rules.d/90-f3skeys.rules
644 /etc/default/f3skeys
644 /usr/share/man/man8/f3skeys.8
LIST
	wants=$box/root/etc/systemd/system/zfs.target.wants
	same /usr/lib/systemd/system/f3skeys.service "$(readlink "$wants/f3skeys.service")" &&
	    same /usr/lib/systemd/system/f3sready.service "$(readlink "$wants/f3sready.service")"
}

installed_freebsd() {
	installer freebsd "$box/root" || return 1
	holds_files <<'LIST'
755 /usr/local/sbin/f3skeys
755 /etc/rc.d/f3skeys
755 /etc/rc.d/f3sready
644 /etc/rc.conf.d/nfsd
644 /etc/rc.conf.d/mountd
644 /etc/rc.conf.d/rpcbind
644 /etc/rc.conf.d/nfsuserd
644 /etc/rc.conf.d/stunnel
644 /usr/local/etc/devd/f3skeys.conf
644 /boot/loader.conf.d/f3skeys.conf
644 /usr/local/share/man/man8/f3skeys.8
LIST
}

again_changes_nothing() {
	picture "$box/root" >"$box/before"
	installer "$1" "$box/root" || return 1
	picture "$box/root" | diff "$box/before" -
}

upgrade_replaces() {
	cp "$box/program" "$box/newer"
	echo "# newer" >>"$box/newer"
	installer "$1" "$box/root" "$box/newer" && cmp "$box/newer" "$box/root$2"
}

# nothing_left [PATH...]: these files, and else nothing but their directories
nothing_left() {
	same "$*" "$(cd "$box/root" && find . ! -type d | sed 's/^\.//' | sort | tr '\n' ' ' | sed 's/ $//')" || return 1
	[ $# -gt 0 ] || same 0 "$(find "$box/root" -mindepth 1 | wc -l)"
}

uninstall_leaves() {
	os=$1
	shift
	installer "$os" "$box/root" --uninstall && nothing_left "$@"
}

# foreign OS PATH: a file of another origin with one of our names
foreign() {
	fresh
	mkdir -p "$box/root$(dirname "$2")"
	echo "somebody else's" >"$box/root$2"
	says "$2: changed or not ours, kept" installer "$1" "$box/root" || return 1
	grep -q -e '-> ' "$box/said" || return 1
	same "somebody else's" "$(cat "$box/root$2")" || return 1
	[ "$(find "$box/root" -type f | wc -l)" -gt 5 ] || return 1
	uninstall_leaves "$1" "$2"
}

# A directory /etc/rc.conf.d/NAME is the way out of a foreign file.
snippet_directory() {
	fresh
	mkdir -p "$box/root/etc/rc.conf.d/nfsd"
	echo 'nfs_server_flags="-u"' >"$box/root/etc/rc.conf.d/nfsd/own"
	installer freebsd "$box/root" || return 1
	cmp rc.d/rc.conf.d/nfsd "$box/root/etc/rc.conf.d/nfsd/f3skeys" || return 1
	uninstall_leaves freebsd /etc/rc.conf.d/nfsd/own
}

edited_is_kept() {
	fresh
	installer linux "$box/root" || return 1
	echo "# mine" >>"$box/root/usr/lib/f3skeys/late"
	says "late: changed or not ours, kept" installer linux "$box/root" || return 1
	says "late: changed since, kept" installer linux "$box/root" --uninstall || return 1
	nothing_left /usr/lib/f3skeys/late
}

configuration_is_kept() {
	fresh
	installer linux "$box/root" || return 1
	echo 'F3SREADY_SERVICES=""' >"$box/root/etc/default/f3skeys"
	echo '()' >"$box/root/etc/f3skeys.ron"
	installer linux "$box/root" || return 1
	same 'F3SREADY_SERVICES=""' "$(cat "$box/root/etc/default/f3skeys")" || return 1
	uninstall_leaves linux /etc/default/f3skeys /etc/f3skeys.ron
}

# An administrator who disabled a unit is not overruled by the next install.
disabled_stays_disabled() {
	fresh
	installer linux "$box/root" || return 1
	rm "$box/root/etc/systemd/system/zfs.target.wants/f3sready.service"
	installer linux "$box/root" || return 1
	[ ! -e "$box/root/etc/systemd/system/zfs.target.wants/f3sready.service" ]
}

# A run that breaks off in the middle leaves nothing that uninstall cannot find.
broken_off() {
	fresh
	mkdir -p "$box/tree"
	cp -R install.sh rc.d loader systemd "$box/tree"
	if F3SKEYS_OS=freebsd DESTDIR=$box/root "$box/tree/install.sh" "$box/program"; then
		echo "succeeded without a manual page"
		return 1
	fi
	[ -f "$box/root/etc/rc.d/f3skeys" ] || return 1
	uninstall_leaves freebsd
}

no_program() {
	fresh
	says "no such program" installer linux "$box/root" "$box/absent" && nothing_left
}

install_checks() {
	printf '#!/bin/sh\n' >"$box/program"
	chmod 755 "$box/program"
	for os in linux freebsd; do
		fresh
		check "install $os: files, modes, links" "installed_$os"
		check "install $os: a second run changes nothing" again_changes_nothing "$os"
		case $os in linux) program=/usr/sbin/f3skeys ;; *) program=/usr/local/sbin/f3skeys ;; esac
		check "install $os: an upgrade replaces what is ours" upgrade_replaces "$os" "$program"
		check "uninstall $os: 0 files and directories left" uninstall_leaves "$os"
		check "uninstall $os: a second run says so" says "no receipt" installer "$os" "$box/root" --uninstall
	done
	for path in /etc/rc.d/f3skeys /etc/rc.conf.d/nfsd /boot/loader.conf.d/f3skeys.conf; do
		check "install freebsd: foreign $path is kept and named" foreign freebsd "$path"
	done
	check "install linux: a foreign unit is kept and named" \
	    foreign linux /usr/lib/systemd/system/f3skeys.service
	check "install freebsd: joins an /etc/rc.conf.d/nfsd directory" snippet_directory
	check "install linux: what was edited is kept and named" edited_is_kept
	check "install linux: configuration is left alone" configuration_is_kept
	check "install linux: a disabled unit stays disabled" disabled_stays_disabled
	check "install: a run that broke off can be taken back" broken_off
	check "install: without a program nothing is touched" no_program
}

# ---- systemd

# The units around ours, with the orders that count (OpenZFS and nfs-utils).
neighbours() {
	cat >"$1/zfs-mount.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=systemd-udev-settle.service zfs-import.target systemd-remount-fs.service
Before=local-fs.target systemd-random-seed.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/f3skeys version
UNIT
	cat >"$1/nfs-mountd.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=network-online.target local-fs.target
BindsTo=nfs-server.service
[Service]
ExecStart=/usr/sbin/f3skeys version
UNIT
	cat >"$1/nfs-server.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=network.target nfs-mountd.service
After=network-online.target local-fs.target nfs-mountd.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/f3skeys version
UNIT
	printf '[Unit]\nDefaultDependencies=no\n' >"$1/zfs-import.target"
	printf '[Unit]\nWants=zfs-mount.service zfs-import.target\n' >"$1/zfs.target"
	mkdir -p "$1/multi-user.target.wants"
	ln -s ../zfs.target ../nfs-server.service "$1/multi-user.target.wants"
}

# A whole boot of this machine's systemd, our units in it: no word may be said.
verify_boot() {
	systemd-analyze --root="$box/root" --man=no verify multi-user.target \
	    f3skeys.service f3sready.service f3skeys-late.service nfs-server.service >"$box/verify" 2>&1
	status=$?
	cat "$box/verify"
	[ $status -eq 0 ] && [ ! -s "$box/verify" ]
}

verify_finds_a_cycle() {
	unit=$box/root/usr/lib/systemd/system/f3skeys.service
	sed -i 's/^After=/After=local-fs.target /' "$unit"
	says "ordering cycle" verify_boot
}

nothing_requires_us() {
	if grep -rnE '^(Requires|Requisite|BindsTo|RequiredBy)=.*f3s' systemd; then return 1; fi
}

systemd_checks() {
	check "systemd: nothing requires our units" nothing_requires_us
	if ! command -v systemd-analyze >/dev/null; then
		echo "NOT RUN: systemd-analyze is not here, so the units are NOT VERIFIED"
		return
	fi
	base=/usr/lib/systemd/system
	[ -d "$base" ] || base=/lib/systemd/system
	fresh
	mkdir -p "$box/root/usr/lib/systemd"
	cp -R "$base" "$box/root/usr/lib/systemd/system"
	neighbours "$box/root/usr/lib/systemd/system"
	check "systemd: install for the verification" installer linux "$box/root"
	check "systemd: a whole boot verifies without a word" verify_boot
	check "systemd: the verification notices a cycle" verify_finds_a_cycle
}

# ---- rc order

rc_order() { # RELEASE F3SKEYS F3SREADY
	python3 "$here/rcorder.py" "$here/rc-headers.txt" "$@"
}

# broken RELEASE SCRIPT SED-COMMAND PATTERN: that header must be refused.
broken() {
	cp rc.d/f3skeys rc.d/f3sready "$box"
	sed -i "$3" "$box/$2"
	if cmp -s "rc.d/$2" "$box/$2"; then
		echo "the header was not changed"
		return 1
	fi
	says "$4" rc_order "$1" "$box/f3skeys" "$box/f3sready"
}

rc_checks() {
	need python3 python3 || echo "python3 is missing"
	for release in 13.2 14 15.1; do
		check "rc order $release" rc_order "$release" rc.d/f3skeys rc.d/f3sready
		check "rc order $release: BEFORE and REQUIRE FILESYSTEMS is a cycle" \
		    broken "$release" f3sready 's/^# BEFORE: .*/# BEFORE: FILESYSTEMS/' 'cycle: .*f3sready'
		check "rc order $release: without BEFORE netif refused" \
		    broken "$release" f3sready '/^# BEFORE:/d' 'f3sready is not before netif'
		check "rc order $release: without REQUIRE random refused" \
		    broken "$release" f3sready '/^# REQUIRE:/s/ random//' 'random is not before f3sready'
		check "rc order $release: without BEFORE zfs refused" \
		    broken "$release" f3skeys '/^# BEFORE:/d' 'f3skeys is not before zfs'
	done
	for release in 13.2 14; do
		check "rc order $release: REQUIRE zpool alone refused" \
		    broken "$release" f3skeys '/^# REQUIRE:/s/ mountcritlocal//' 'mountcritlocal is not before f3skeys'
	done
}

# ---- snippets

# required_files after rc has read these snippets, in this order
required_after() {
	required_files=$1
	shift
	for snippet; do
		# shellcheck source=/dev/null
		. "$top/rc.d/rc.conf.d/$snippet"
	done
	echo "$required_files"
}

keeps_word() {
	case " $2 " in *" $1 "*) ;; *) echo "no $1 in: $2"; return 1 ;; esac
}

snippet_checks() {
	marker=/var/run/f3skeys/gates/nfs
	for service in nfsd mountd rpcbind nfsuserd stunnel; do
		check "snippet $service: the gate in front" grep -qx \
		    "${service}_prepend=\"/usr/local/sbin/f3skeys gate nfs --\"" "rc.d/rc.conf.d/$service"
	done
	for service in nfsd rpcbind nfsuserd; do
		check "snippet $service: marker required" keeps_word "$marker" "$(required_after "" $service)"
	done
	check "snippet mountd: marker required" keeps_word "$marker" "$(required_after /etc/exports mountd)"
	check "snippet mountd: /etc/exports kept" keeps_word /etc/exports "$(required_after /etc/exports mountd)"
	check "snippet mountd 15.1, nfsd's read too: /etc/exports kept" \
	    keeps_word /etc/exports "$(required_after /etc/exports mountd nfsd)"
}

# ---- the late path, with a program that only writes down what is asked of it

# late_world BOOT-STATUS BOOT-OUTPUT: nothing is open, "ready" opens the gate nfs
late_world() {
	rm -rf "$box/late"
	mkdir -p "$box/late/bin" "$box/late/run/gates" "$box/late/open" "$box/late/running"
	echo "$1" >"$box/late/status"
	printf '%s' "$2" >"$box/late/output"
	: >"$box/late/log"
	cat >"$box/late/bin/f3skeys" <<'STUB'
#!/bin/sh
world=$(dirname "$(dirname "$0")")
case $1 in
gate) [ -e "$world/open/$2" ]; exit ;;
boot) cat "$world/output"; exit "$(cat "$world/status")" ;;
ready) echo ready >>"$world/log"; touch "$world/open/nfs" "$world/run/gates/nfs" ;;
esac
STUB
	cat >"$box/late/bin/service" <<'STUB'
#!/bin/sh
world=$(dirname "$(dirname "$0")")
case $2 in
status) [ -e "$world/running/$1" ] ;;
start) echo "start $1" >>"$world/log" ;;
esac
STUB
	cat >"$box/late/bin/systemctl" <<'STUB'
#!/bin/sh
world=$(dirname "$(dirname "$0")")
echo "$*" >>"$world/log"
STUB
	# rc is over.
	printf '#!/bin/sh\nexit 1\n' >"$box/late/bin/pgrep"
	cat >"$box/late/rc.subr" <<'STUB'
load_rc_config() { f3sready_services="nfsd stunnel"; }
run_rc_command() { eval "\$${1}_cmd"; }
warn() { echo "$*" >&2; }
STUB
	chmod 755 "$box"/late/bin/*
}

# run_rc SCRIPT COMMAND: a script of rc.d/ over the stub of rc.subr
run_rc() {
	sed "s|^\. /etc/rc.subr|. $box/late/rc.subr|" "rc.d/$1" >"$box/late/script"
	PATH=$box/late/bin:$PATH f3skeys_command=${f3skeys_command:-$box/late/bin/f3skeys} \
	    f3skeys_rundir=$box/late/run sh "$box/late/script" "$2"
}

late_freebsd() { run_rc f3sready late; }

late_linux() {
	PATH=$box/late/bin:$PATH F3SKEYS_COMMAND=$box/late/bin/f3skeys F3SKEYS_RUNDIR=$box/late/run \
	    F3SREADY_SERVICES="nfs-server.service" sh systemd/late
}

# late_does OS STATUS LOG: runs the late path, compares exit status and what it asked for
late_does() {
	"late_$1"
	same "$2" "$?" && same "$3" "$(tr '\n' ';' <"$box/late/log")"
}

late_checks() {
	for os in freebsd linux; do
		case $os in
		freebsd) starts="start nfsd;start stunnel;" ;;
		linux) starts="start --no-block nfs-server.service;" ;;
		esac
		late_world 0 ""
		check "late $os: no root missing, nothing done" late_does "$os" 0 ""
		late_world 66 ""
		check "late $os: no key device, nothing done" late_does "$os" 66 ""
		late_world 75 "busy"
		check "late $os: lock held, nothing done" late_does "$os" 75 ""
		late_world 0 "loaded"
		check "late $os: the gate opens, services start" late_does "$os" 0 "ready;$starts"
		late_world 65 "loaded one of two"
		check "late $os: one root stays locked, the gate opens, services start" late_does "$os" 65 "ready;$starts"
		late_world 0 "loaded"
		touch "$box/late/run/gates/nfs"
		check "late $os: a stale marker is no open gate, services start" late_does "$os" 0 "ready;$starts"
		late_world 0 "loaded"
		touch "$box/late/run/gates/nfs" "$box/late/open/nfs"
		check "late $os: the gate was open, nothing is started" late_does "$os" 0 "ready;"
	done
	late_world 0 "loaded"
	touch "$box/late/running/nfsd"
	check "late freebsd: what runs is not started again" late_does freebsd 0 "ready;start stunnel;"
	late_world 69 "one pool is suspended"
	check "rc.d/f3skeys: passes the program's words on" \
	    says "one pool is suspended" run_rc f3skeys start
	f3skeys_command=$box/absent
	export f3skeys_command
	check "rc.d/f3skeys: a missing program is named" says "absent is not there" run_rc f3skeys start
	check "rc.d/f3sready: a missing program is named" says "absent is not there" run_rc f3sready start
	unset f3skeys_command
}

cd "$top" || exit 1
lint
install_checks
systemd_checks
rc_checks
snippet_checks
late_checks
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
