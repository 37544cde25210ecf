#!/bin/sh
# Checks the hooks without a node: shell, manual page, install.sh, units, the
# order of the rc.d scripts, what they and the periodic script ask of the program
# and of rc, the examples, metrics and alerts.
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

# Every verb, and every option, that the command line knows.
all_in_manual() {
	verbs=$(sed -n 's/.*argh(subcommand, name = "\([a-z-]*\)".*/\1/p' src/cli.rs)
	options=$(awk '/argh\((switch|option)/ { want = 1; if (match($0, /long = "[a-z-]*"/)) { print substr($0, RSTART + 8, RLENGTH - 9); want = 0 } next }
	    want && /^ +[a-z_]+:/ { name = $1; sub(/:.*/, "", name); gsub(/_/, "-", name); print name; want = 0 }' src/cli.rs | sort -u)
	[ "$(echo "$verbs" | wc -w)" -ge 18 ] && [ "$(echo "$options" | wc -w)" -ge 15 ] || return 1
	for verb in $verbs; do
		grep -q "^\.Cm $verb\b" man/f3skeys.8 || { echo "no $verb in the synopsis"; return 1; }
		grep -q "^\.It Cm $verb\b" man/f3skeys.8 || { echo "no $verb"; return 1; }
	done
	for option in $options; do
		grep -q "Fl Fl $option\b" man/f3skeys.8 || { echo "no --$option"; return 1; }
	done
}

lint() {
	need shellcheck shellcheck || echo "shellcheck is missing"
	need mandoc mandoc || echo "mandoc is missing"
	for script in install.sh rc.d/f3* rc.d/periodic/* rc.d/rc.conf.d/* tests/hooks/*.sh \
	    examples/f3s/f3s-fresh examples/f3s/*/f3s-switch examples/f3s/*/f3s-failback examples/f3s/keepalived/f3s-notify \
	    examples/f3s/freebsd/carp examples/f3s/freebsd/carp-state.sh examples/f3s/*/f3s.conf; do
		check "shellcheck $script" shellcheck -x -P SCRIPTDIR -s sh "$script"
	done
	check "mandoc lint" mandoc -T lint -W warning man/f3skeys.8
	check "the manual page has every verb and option" all_in_manual
	for script in rc.d/f3*; do
		check "$script ends in run_rc_command" same "run_rc_command \"\$1\"" "$(tail -n 1 "$script")"
	done
}

# ---- install.sh

# installer OS ROOT [ARGUMENT...]
installer() {
	os=$1
	root=$2
	shift 2
	[ $# -gt 0 ] || set -- "$box/program"
	F3SKEYS_OS=$os DESTDIR=$root "$top/install.sh" "$@"
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
644 /usr/lib/systemd/system/f3skeys.service
644 /usr/lib/systemd/system/f3sready.service
644 /usr/lib/systemd/system/f3skeys-late.service
644 /usr/lib/systemd/system/f3skeys-reconcile.service
644 /usr/lib/systemd/system/f3skeys-reconcile.timer
644 /usr/lib/systemd/system/f3skeys-daily.service
644 /usr/lib/systemd/system/f3skeys-daily.timer
755 /usr/lib/f3skeys/daily
644 /usr/lib/systemd/system/f3skeys-copies.service
644 /usr/lib/systemd/system/f3skeys-copies.timer
644 /usr/lib/systemd/system/nfs-server.service.d/f3skeys.conf
644 /usr/lib/systemd/system/nfs-mountd.service.d/f3skeys.conf
644 /usr/lib/systemd/system/zfs-mount.service.d/f3skeys.conf
644 /usr/lib/udev/rules.d/90-f3skeys.rules
644 /etc/default/f3skeys
644 /usr/share/man/man8/f3skeys.8
LIST
	for link in zfs.target.wants/f3skeys.service zfs.target.wants/f3sready.service \
	    timers.target.wants/f3skeys-reconcile.timer; do
		same "/usr/lib/systemd/system/${link#*/}" \
		    "$(readlink "$box/root/etc/systemd/system/$link")" || return 1
	done
	# A node without peers, or its stick, would complain each day: enabled by a person alone.
	same "" "$(find "$box/root/etc" -name '*copies*' -o -name '*daily*')" || return 1
	# An unknown gate keeps its service down for good: not without being asked for.
	same "" "$(find "$box/root" -path '*stunnel*' -o -path '*k3s*' -o -path '*kubelet*')"
}

installed_freebsd() {
	installer freebsd "$box/root" || return 1
	holds_files <<'LIST'
755 /usr/local/sbin/f3skeys
755 /etc/rc.d/f3skeys
755 /etc/rc.d/f3sready
755 /etc/rc.d/f3scarp
644 /etc/rc.conf.d/nfsd
644 /etc/rc.conf.d/mountd
644 /etc/rc.conf.d/rpcbind
644 /etc/rc.conf.d/nfsuserd
644 /etc/rc.conf.d/stunnel
644 /usr/local/etc/devd/f3skeys.conf
644 /usr/local/etc/cron.d/f3skeys
755 /usr/local/etc/periodic/daily/450.f3skeys
755 /usr/local/libexec/f3skeys-daily
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
	cp "$box/program" "$box/upgrade"
	echo "# newer" >>"$box/upgrade"
	installer "$1" "$box/root" "$box/upgrade" && cmp "$box/upgrade" "$box/root$2"
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
	unit=/usr/lib/systemd/system/f3skeys-late.service
	fresh
	installer linux "$box/root" || return 1
	echo "# mine" >>"$box/root$unit"
	says "$unit: changed or not ours, kept" installer linux "$box/root" || return 1
	says "$unit: changed since, kept" installer linux "$box/root" --uninstall || return 1
	nothing_left "$unit"
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

# gated UNIT...: what has a drop-in of ours, besides the NFS server and zfs-mount
gated() {
	same "$(printf '%s\n' "$@" | sort)" "$(cd "$box/root/usr/lib/systemd/system" &&
	    find . -name f3skeys.conf | sed 's|^\./||; s|\.d/.*||' | grep -v -e '^nfs-' -e '^zfs-mount' | sort)"
}

# with_gates LIST UNIT...: asked for once; later runs keep them up to date.
with_gates() {
	list=$1
	shift
	fresh
	installer linux "$box/root" --with "$list" "$box/program" && gated "$@" || return 1
	again_changes_nothing linux || return 1
	rm -rf "$box/newer"
	mkdir "$box/newer"
	cp -R install.sh rc.d loader systemd man "$box/newer"
	for unit; do
		echo "# newer" >>"$box/newer/systemd/$unit.d/f3skeys.conf"
	done
	F3SKEYS_OS=linux DESTDIR=$box/root "$box/newer/install.sh" "$box/program" || return 1
	same $# "$(grep -rl '^# newer' "$box/root/usr/lib/systemd/system" | wc -l)" || return 1
	uninstall_leaves linux
}

# with_refused PATTERN ARGUMENT...
with_refused() {
	fresh
	says "$@" && nothing_left
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
	check "install linux --with stunnel" \
	    with_gates stunnel stunnel.service stunnel4.service stunnel@.service
	check "install linux --with k3s,kubelet" \
	    with_gates k3s,kubelet k3s.service k3s-agent.service kubelet.service
	check "install linux --with: an unknown name is refused, nothing touched" with_refused \
	    "--with nfs: nothing of that name" installer linux "$box/root" --with k3s,nfs "$box/program"
	check "install linux --with: no list" with_refused \
	    "--with: no list" installer linux "$box/root" --with
	check "install freebsd --with is refused" with_refused \
	    "only for Linux" installer freebsd "$box/root" --with k3s "$box/program"
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
	for unit in stunnel4 stunnel@ k3s k3s-agent kubelet; do
		printf '[Service]\nExecStart=/usr/sbin/f3skeys version\n' >"$1/$unit.service"
	done
	mkdir -p "$1/multi-user.target.wants"
	ln -s ../zfs.target ../nfs-server.service "$1/multi-user.target.wants"
}

# A whole boot of this machine's systemd, our units in it: no word may be said.
verify_boot() {
	systemd-analyze --root="$box/root" --man=no verify multi-user.target \
	    f3skeys.service f3sready.service f3skeys-late.service f3skeys-reconcile.service \
	    f3skeys-reconcile.timer f3skeys-copies.service f3skeys-copies.timer \
	    f3skeys-daily.service f3skeys-daily.timer nfs-server.service stunnel4.service stunnel@nfs.service k3s.service \
	    k3s-agent.service kubelet.service >"$box/verify" 2>&1
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

# $NAME alone, not quoted and without braces: systemd makes a word of each unit,
# and none of an empty list.  Then a unit of ours must be there before it, or
# "systemctl start" fails for want of one.
late_unit() {
	command=$(sed -n 's/^ExecStart=//p' systemd/f3skeys-late.service)
	starts="/usr/sbin/f3skeys boot --late -- /usr/bin/systemctl start --no-block "
	unit=${command#"$starts"}
	# shellcheck disable=SC2016
	unit=${unit%' $F3SREADY_SERVICES'}
	# shellcheck disable=SC2016
	same "$starts$unit \$F3SREADY_SERVICES" "$command" && [ -f "systemd/$unit" ] || return 1
	# The installed list wins over the empty default, and sets that very name.
	same "Environment=F3SREADY_SERVICES= EnvironmentFile=-/etc/default/f3skeys" \
	    "$(grep -E '^Environment(File)?=' systemd/f3skeys-late.service | tr '\n' ' ' | sed 's/ $//')" &&
	    grep -q '^F3SREADY_SERVICES=' systemd/f3skeys.default
}

gate_in_front() {
	case $1 in *k3s* | *kubelet*) gate=k8s ;; *) gate=nfs ;; esac
	same "After=f3sready.service ExecStartPre=/usr/sbin/f3skeys gate $gate" \
	    "$(grep -E '^[A-Z][A-Za-z]*=' "$1" | tr '\n' ' ' | sed 's/ $//')"
}

# What the log drops must lie below the level at which the program's words come.
reconcile_unit() {
	unit=systemd/f3skeys-reconcile.service
	same "ExecStart=/usr/sbin/f3skeys reconcile" "$(grep ^Exec $unit)" &&
	    same "$(sed -n 's/^SyslogLevel=//p' $unit)" "$(sed -n 's/^LogLevelMax=//p' $unit)" &&
	    grep -q '^After=.*f3skeys-late.service' $unit
}

# Complaints are heard, and nothing else is; the program ends by itself first.
copies_unit() {
	unit=systemd/f3skeys-copies.service
	same "ExecStart=/usr/sbin/f3skeys backup" "$(grep ^Exec $unit)" &&
	    same "StandardOutput=null StandardError=journal" "$(grep -E '^Standard' $unit | paste -s -d ' ' -)" &&
	    same "$(sed -n 's/^SyslogLevel=//p' $unit)" "$(sed -n 's/^LogLevelMax=//p' $unit)" &&
	    [ "$(sed -n 's/^TimeoutStartSec=//p' $unit)" -gt \
	    "$(sed -n 's/^const WHOLE: Duration = Duration::from_secs(\([0-9]*\));/\1/p' src/backup.rs)" ] &&
	    grep -qx 'Persistent=true' systemd/f3skeys-copies.timer &&
	    grep -q '^RandomizedDelaySec=' systemd/f3skeys-copies.timer
}

# What the unit runs is what is installed; it ends by itself first.
daily_unit() {
	unit=systemd/f3skeys-daily.service
	same "ExecStart=/usr/lib/f3skeys/daily verify rehearse" "$(grep ^Exec $unit)" &&
	    grep -q 'f3skeys-daily" /usr/lib/f3skeys/daily$' install.sh &&
	    same "$(sed -n 's/^SyslogLevel=//p' $unit)" "$(sed -n 's/^LogLevelMax=//p' $unit)" &&
	    grep -qx 'Persistent=true' systemd/f3skeys-daily.timer &&
	    grep -q '^RandomizedDelaySec=' systemd/f3skeys-daily.timer
}

systemd_checks() {
	check "systemd: nothing requires our units" nothing_requires_us
	check "systemd: the late unit has a unit to start, whatever F3SREADY_SERVICES holds" late_unit
	for drop_in in systemd/nfs-*.d/f3skeys.conf systemd/stunnel*.d/f3skeys.conf \
	    systemd/k*.d/f3skeys.conf; do
		check "systemd: $drop_in has its gate in front" gate_in_front "$drop_in"
	done
	check "systemd: reconcile says what it does, and waits for a late stick" reconcile_unit
	check "systemd: copies are proven each day, and only complaints are heard" copies_unit
	check "systemd: the store is verified each day, and the node rehearsed" daily_unit
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
	check "systemd: install for the verification" \
	    installer linux "$box/root" --with stunnel,k3s,kubelet "$box/program"
	check "systemd: a whole boot verifies without a word" verify_boot
	check "systemd: the verification notices a cycle" verify_finds_a_cycle
}

# ---- rc order

rc_order() { # RELEASE SCRIPT...
	python3 "$here/rcorder.py" "$here/rc-headers.txt" "$@"
}

# broken RELEASE SCRIPT SED-COMMAND PATTERN: that header must be refused.
broken() {
	cp rc.d/f3skeys rc.d/f3sready rc.d/f3scarp "$box"
	sed -i "$3" "$box/$2"
	if cmp -s "rc.d/$2" "$box/$2"; then
		echo "the header was not changed"
		return 1
	fi
	says "$4" rc_order "$1" "$box/f3skeys" "$box/f3sready" "$box/f3scarp"
}

rc_checks() {
	need python3 python3 || echo "python3 is missing"
	for release in 13.2 14 15.1; do
		check "rc order $release" rc_order "$release" rc.d/f3skeys rc.d/f3sready rc.d/f3scarp
		check "rc order $release: without REQUIRE nfsd refused" \
		    broken "$release" f3scarp '/^# REQUIRE:/s/ nfsd//' 'nfsd is not before f3scarp'
		check "rc order $release: f3scarp before stunnel refused" \
		    broken "$release" f3scarp 's/^# REQUIRE: .*/# REQUIRE: netif/' 'stunnel is not before f3scarp'
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

# ---- rc.d, over stubs that only write down what is asked of them

# rc_world [PROCESS]: what runs under init
rc_world() {
	rm -rf "$box/rc"
	mkdir -p "$box/rc/bin" "$box/rc/running"
	printf '%s\n' "${1:-}" >"$box/rc/processes"
	: >"$box/rc/log"
	: >"$box/rc/slept"
	echo 0 >"$box/rc/carp"
	# The seconds after which rc is over.
	echo 3 >"$box/rc/ends"
	cat >"$box/rc/bin/f3skeys" <<'STUB'
#!/bin/sh
echo "$*" >>"$(dirname "$0")/../log"
echo "one pool is suspended"
exit 69
STUB
	cat >"$box/rc/bin/service" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
[ "$1" != f3scarp ] || echo "service $*" >>"$world/log"
case $2 in
quietreconcile) exit "$(cat "$world/carp")" ;;
status) [ -e "$world/running/$1" ] ;;
start) echo "start $1" >>"$world/log" ;;
esac
STUB
	cat >"$box/rc/bin/pgrep" <<'STUB'
#!/bin/sh
[ "$1 $2 $3" = "-P 1 -f" ] || exit 2
grep -E -e "$4" "$(dirname "$0")/../processes"
STUB
	cat >"$box/rc/bin/sleep" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
echo "$1" >>"$world/slept"
[ "$(wc -l <"$world/slept")" -lt "$(cat "$world/ends")" ] || : >"$world/processes"
STUB
	chmod 755 "$box"/rc/bin/*
	# As in rc: a command that is not standard must be announced.
	cat >"$box/rc/rc.subr" <<'STUB'
load_rc_config() { f3sready_services=${services-nfsd stunnel}; }
run_rc_command() {
	case " start stop $extra_commands " in
	*" $1 "*) eval "\$${1}_cmd" ;;
	*) echo "unknown directive '$1'"; return 64 ;;
	esac
}
warn() { echo "$*" >&2; }
STUB
}

# run_rc SCRIPT COMMAND: a script of rc.d/ over the stub of rc.subr
run_rc() {
	sed "s|^\. /etc/rc.subr|. $box/rc/rc.subr|; s|/usr/sbin/service f3scarp|service f3scarp|" \
	    "rc.d/$1" >"$box/rc/script"
	PATH=$box/rc/bin:$PATH f3skeys_command=${f3skeys_command:-$box/rc/bin/f3skeys} \
	    sh "$box/rc/script" "$2"
}

# asks SCRIPT COMMAND STATUS LOG: its exit status, and what it asked for
asks() {
	run_rc "$1" "$2"
	same "$3" "$?" && same "$4" "$(tr '\n' ';' <"$box/rc/log")"
}

# waits SECONDS LOG: how long "services" waited, and what it started then
waits() {
	asks f3sready services 0 "$2" && same "$1" "$(wc -l <"$box/rc/slept")"
}

program_is_named() {
	(f3skeys_command=$box/absent && says "absent is not there" run_rc "$1" start)
}

rc_script_checks() {
	both="start nfsd;start stunnel;"
	rc_world
	check "rc.d/f3skeys start: boot, status passed on" asks f3skeys start 69 "boot;"
	check "rc.d/f3skeys start: the program's words passed on" \
	    says "one pool is suspended" run_rc f3skeys start
	rc_world
	check "rc.d/f3skeys status" asks f3skeys status 69 "status;"
	rc_world
	check "rc.d/f3sready start: ready, status passed on" asks f3sready start 69 "ready;"
	rc_world
	check "rc.d/f3sready late: left to the program" \
	    asks f3sready late 69 "boot --late -- /usr/sbin/service f3sready services;"
	rc_world
	check "rc.d/f3sready: the command that late names exists, starts in order" waits 0 "$both"
	rc_world
	touch "$box/rc/running/nfsd"
	check "rc.d/f3sready services: what runs is left alone" waits 0 "start stunnel;"
	rc_world
	check "rc.d/f3sready services: an empty list starts nothing" services_empty
	for process in "sh /etc/rc autoboot" "/bin/sh /etc/rc"; do
		rc_world "$process"
		check "rc.d/f3sready services: waits for \`$process\`" waits 3 "$both"
	done
	for process in "sh /etc/rc.d/nfsd start" "/usr/bin/lockf -k /usr/sbin/service f3sready quietlate"; do
		rc_world "$process"
		check "rc.d/f3sready services: does not wait for \`$process\`" waits 0 "$both"
	done
	rc_world "sh /etc/rc autoboot"
	echo 1000 >"$box/rc/ends"
	check "rc.d/f3sready services: an rc that never ends is waited for 600 times" waits 600 "$both"
	rc_world
	check "rc.d/f3scarp start: carp, status passed on" asks f3scarp start 69 "carp;"
	rc_world
	check "rc.d/f3scarp reconcile: carp --reconcile" asks f3scarp reconcile 69 "carp --reconcile;"
	rc_world
	check "rc.d/f3sready reconcile: CARP also after a failure" \
	    asks f3sready reconcile 69 "reconcile;service f3scarp quietreconcile;"
	rc_world
	echo 71 >"$box/rc/carp"
	check "rc.d/f3sready reconcile: CARP's failure is told" \
	    asks f3sready reconcile 71 "reconcile;service f3scarp quietreconcile;"
	for process in "sh /etc/rc autoboot" "/bin/sh /etc/rc"; do
		rc_world "$process"
		check "rc.d/f3sready reconcile: nothing while \`$process\` runs" asks f3sready reconcile 0 ""
	done
	check "cron: one at a time, not while devd's run is at work, \`f3sready quietreconcile\`" cron_line
	for script in f3skeys f3sready f3scarp; do
		check "rc.d/$script: a missing program is named" program_is_named "$script"
	done
	check "devd: detached, one at a time, \`f3sready late\`" devd_action
}

services_empty() { (export services="" && waits 0 ""); }

# devd waits for its action and runs one at a time: daemon(8) has to come first.
devd_action() {
	grep -q '^	action "/usr/sbin/daemon -f .*/usr/bin/lockf .* /usr/sbin/service f3sready quietlate";$' \
	    rc.d/devd/f3skeys.conf
}

# Five fields of time, the user, the command.  The lock is devd's.
cron_line() {
	line=$(grep -v -e '^#' -e '^[A-Z]*=' -e '^$' rc.d/cron.d-f3skeys)
	lock=$(sed -n 's|.*lockf -k -s -t 600 \([^ ]*\) .*|\1|p' rc.d/devd/f3skeys.conf)
	same "* * * * * root /usr/bin/lockf -k -s -t 0 $lock /usr/sbin/service f3sready quietreconcile" \
	    "$(echo "$line" | tr -s '\t' ' ')"
}

# shellcheck source=examples.sh
. "$here/examples.sh"
# shellcheck source=daily.sh
. "$here/daily.sh"
# shellcheck source=monitoring.sh
. "$here/monitoring.sh"

cd "$top" || exit 1
lint
install_checks
systemd_checks
rc_checks
snippet_checks
rc_script_checks
daily_checks
example_checks
monitoring_checks
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
