# shellcheck shell=sh disable=SC2154
# FreeBSD: the order of the rc.d scripts, and what they, the snippets of
# rc.conf.d, cron and devd ask of the program.  Part of check.sh.

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

# ---- rc.d, over a stand-in of rc.subr and stubs that write down what is asked

# The two services that FreeBSD has, in so far as a gate is before them: nfsd's
# start forces mountd's, and mountd requires /etc/exports.
rc_base_script() { # NAME VARIABLE BEFORE-CONFIGURATION AFTER
	cat <<SCRIPT
. /etc/rc.subr
name=$1
desc=$1
rcvar=$2
command="eval echo $1 >>$box/rc/served"
start_precmd=$1_precmd
$1_precmd() { $4; }
$3
load_rc_config $1
run_rc_command "\$1"
SCRIPT
}

# The identity of the boot, as rc-ended has it.
boot_id=303132333435363738396162636465ff

# rc_world [on-its-way]: a node with f3skeys installed and enabled, an hour after
# its boot and after the end of rc; or a minute after its boot, rc being on its way
rc_world() {
	rm -rf "$box/rc"
	mkdir -p "$box/rc/bin" "$box/rc/running" "$box/rc/etc/rc.d" "$box/rc/run/f3skeys"
	printf '0123456789abcde\377' >"$box/rc/boot_id"
	echo 1 >"$box/rc/allow"
	if [ "${1:-}" = on-its-way ]; then
		echo 60 >"$box/rc/up"
	else
		echo 3600 >"$box/rc/up"
		echo "$boot_id" >"$box/rc/run/f3skeys/rc-ended"
	fi
	: >"$box/rc/log"
	: >"$box/rc/slept"
	: >"$box/rc/served"
	# The seconds after which rc is over; the status of the gate.
	echo 3 >"$box/rc/ends"
	echo 1 >"$box/rc/gate"
	F3SKEYS_OS=freebsd DESTDIR=$box/rc ./install.sh --stage "$box/program" || return 1
	rc_base_script nfsd nfs_server_enable : "force_depend mountd" >"$box/rc/etc/rc.d/nfsd"
	rc_base_script mountd mountd_enable 'required_files=/etc/exports' : >"$box/rc/etc/rc.d/mountd"
	: >"$box/rc/etc/exports"
	cp "$here/rc.subr" "$box/rc/etc/rc.subr"
	cat >"$box/rc/etc/rc.conf" <<'CONF'
: "${f3skeys_enable=YES}" "${f3scarp_enable=YES}" "${f3sready_services=nfsd stunnel}"
nfs_server_enable=YES
mountd_enable=NO
CONF
	# What a script finds on a node is below the root here.
	sed -i "s|\([ \"=]\)/etc/|\1$box/rc/etc/|g; s|^/etc/|$box/rc/etc/|; s|/usr/sbin/service|service|; s|/usr/sbin/daemon|daemon|; s|/usr/bin/lockf|lockf|; s|/usr/local/sbin/f3skeys|$box/rc/bin/f3skeys|g; s|/usr/local/libexec|$box/rc&|g; s|/var/run|$box/rc/run|g" \
	    "$box"/rc/etc/rc.d/* "$box"/rc/etc/rc.conf.d/*/f3skeys "$box"/rc/usr/local/libexec/* \
	    "$box"/rc/usr/local/etc/cron.d/* "$box"/rc/usr/local/etc/devd/*
	cat >"$box/rc/bin/f3skeys" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
if [ "$1" = gate ]; then
	[ "$2 $3" = "nfs --" ] || exit 2
	shift 3
	[ "$(cat "$world/gate")" = 0 ] || exit 1
	exec "$@"
fi
echo "$*" >>"$world/log"
echo "one pool is suspended"
exit 69
STUB
	cat >"$box/rc/bin/eval" <<'STUB'
#!/bin/sh
eval "$@"
STUB
	cat >"$box/rc/bin/service" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
case $1 in
f3s*) script=$1; shift; exec sh "$world/etc/rc.d/$script" "$@" ;;
esac
case $2 in
status) [ -e "$world/running/$1" ] ;;
start)
	echo "start $1" >>"$world/log"
	[ ! -e "$world/hangs/$1" ] || { /usr/bin/sleep 5 && echo "waited for $1" >>"$world/log"; }
	;;
esac
STUB
	# As timeout(1) without "--foreground" is not: daemons of a service stay.
	cat >"$box/rc/bin/timeout" <<'STUB'
#!/bin/sh
[ "$1 $2 $3" = "--foreground -k 10" ] && [ "$4" -le 300 ] || exit 64
shift 4
exec /usr/bin/timeout --foreground -k 1 1 "$@"
STUB
	cat >"$box/rc/bin/daemon" <<'STUB'
#!/bin/sh
[ "$1" = -f ] || exit 64
[ "$2 $3" != "-o /dev/console" ] || shift 2
shift
exec "$@"
STUB
	cat >"$box/rc/bin/pwait" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
[ "$1 $2" = "-t 600" ] || exit 64
echo "$3" >>"$world/waited-for"
exit "$(cat "$world/pwait" 2>/dev/null || echo 0)"
STUB
	cat >"$box/rc/bin/sysctl" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
case $* in
"-bn kern.boot_id") cat "$world/boot_id" ;;
"-n kern.boottime") [ ! -e "$world/up" ] ||
	echo "{ sec = $(($(date +%s) - $(cat "$world/up"))), usec = 1 } Mon Nov 30 23:00:00 2026" ;;
"-n net.inet.carp.allow") cat "$world/allow" ;;
*) exit 1 ;;
esac
STUB
	cat >"$box/rc/bin/sleep" <<'STUB'
#!/bin/sh
world=$(dirname "$0")/..
echo "$1" >>"$world/slept"
[ "$(wc -l <"$world/slept")" -lt "$(cat "$world/ends")" ] || echo 3600 >"$world/up"
STUB
	chmod 755 "$box"/rc/bin/* "$box"/rc/etc/rc.d/*
}

# run_rc SCRIPT COMMAND: a script of /etc/rc.d
run_rc() {
	PATH=$box/rc/bin:$PATH rc_root=$box/rc "$rc_shell" "$box/rc/etc/rc.d/$1" "$2"
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
	rc_world
	rm "$box/rc/bin/f3skeys"
	says "bin/f3skeys is not there" run_rc "$1" start
}

# set_in FILE LINE...: of the node's configuration, nothing else being set there
set_in() {
	file=$box/rc/etc/$1
	shift
	mkdir -p "$(dirname "$file")"
	sed -i /f3skeys_enable/d "$box/rc/etc/rc.conf"
	printf '%s\n' "$@" >>"$file"
}

# off SCRIPT COMMAND OUTPUT: what is said when f3skeys is not enabled, nothing being asked
off() {
	rc_world
	set_in rc.conf "${4:-}"
	same "$3" "$(run_rc "$1" "$2" 2>&1 | sed 's/.*is not set properly.*/unset/' | tr '\n' ';')" &&
	    same "" "$(cat "$box/rc/log")"
}

one_is_enough() {
	rc_world
	set_in rc.conf 'f3skeys_enable=NO'
	asks f3skeys onestart 1 "boot;"
}

# nfs GATE-STATUS MARKER COMMAND SERVED: what nfsd's start brings up
nfs() {
	echo "$1" >"$box/rc/gate"
	: >"$box/rc/served"
	rm -rf "$box/rc/run"
	if [ "$2" = marker ]; then
		mkdir -p "$box/rc/run/f3skeys/gates"
		: >"$box/rc/run/f3skeys/gates/nfs"
	fi
	run_rc nfsd "$3" >"$box/rc/words" 2>&1
	same "$4" "$(tr '\n' ';' <"$box/rc/served")" || { cat "$box/rc/words"; return 1; }
}

gated_while_enabled() {
	rc_world
	nfs 0 marker start "mountd;nfsd;" || return 1
	nfs 1 marker start "" || return 1
	nfs 0 none start "" || return 1
	grep -q "gates/nfs is not readable" "$box/rc/words" || return 1
	# Forced past the marker, not past the gate.
	nfs 1 none forcestart "" || return 1
	nfs 1 none onestart "" || return 1
	nfs 0 none forcestart "mountd;nfsd;" || return 1
	run_rc mountd onestart 2>"$box/said" && return 1
	# mountd's own requirement is still asked for.
	mkdir -p "$box/rc/run/f3skeys/gates"
	: >"$box/rc/run/f3skeys/gates/nfs"
	rm "$box/rc/etc/exports"
	says "etc/exports is not readable" run_rc mountd onestart
}

# Installed and not enabled, in every way to say so: as if it were not there.
not_gated_before() {
	for line in '' 'f3skeys_enable=NO' 'f3skeys_enable="off"'; do
		rc_world
		set_in rc.conf "$line"
		nfs 1 none start "mountd;nfsd;" || return 1
	done
}

# Wherever it is enabled, and when that cannot be told, the gate is asked.
gated_wherever_enabled() {
	for place in rc.conf rc.conf.local rc.conf.d/f3skeys; do
		rc_world
		set_in $place 'f3skeys_enable="YES"'
		nfs 1 marker start "" || { echo "$place"; return 1; }
	done
	for script in "exit 2" "exit 127" ". /no/such/file"; do
		rc_world
		echo "$script" >"$box/rc/etc/rc.d/f3skeys"
		nfs 1 marker start "" || { echo "$script"; return 1; }
	done
	rc_world
	rm "$box/rc/etc/rc.d/f3skeys"
	nfs 1 marker start ""
}

# What 15.1 does: mountd reads nfsd's file after its own.
mountd_reads_nfsds_too() {
	rc_world
	sed -i 's|^load_rc_config mountd|&; load_rc_config nfsd|' "$box/rc/etc/rc.d/mountd"
	nfs 0 marker start "mountd;nfsd;" || return 1
	rm "$box/rc/etc/exports"
	says "etc/exports is not readable" run_rc mountd onestart
}

snippet_checks() {
	for service in nfsd mountd rpcbind nfsuserd stunnel; do
		check "snippet $service: the gate in front" grep -qx \
		    "${service}_prepend=\"/usr/local/sbin/f3skeys gate nfs --\"" "rc.d/rc.conf.d/$service"
		check "snippet $service: only while f3skeys is enabled" same 1 \
		    "$(grep -v -e '^#' -e '^$' "rc.d/rc.conf.d/$service" | grep -n enabled | cut -d : -f 1)"
	done
	for service in nfsd rpcbind nfsuserd mountd; do
		check "snippet $service: marker required" grep -q \
		    '^required_files=".* /var/run/f3skeys/gates/nfs"$' "rc.d/rc.conf.d/$service"
	done
	check "nfsd and mountd: gate and marker, whoever starts them" gated_while_enabled
	check "nfsd and mountd: no gate before f3skeys is enabled" not_gated_before
	check "nfsd and mountd: gated wherever it is enabled, and when nobody can tell" gated_wherever_enabled
	check "mountd of 15.1 keeps /etc/exports" mountd_reads_nfsds_too
}

rc_script_checks() {
	# The shell of rc.d is FreeBSD's sh, which knows no more than dash.
	rc_shell=$(command -v dash || command -v sh)
	both="start nfsd;start stunnel;"
	rc_world
	check "rc.d/f3skeys start: boot, a failure is one" asks f3skeys start 1 "boot;"
	check "rc.d/f3skeys start: the program's words passed on" \
	    says "one pool is suspended" run_rc f3skeys start
	rc_world
	check "rc.d/f3skeys status" asks f3skeys status 1 "status;"
	cannot="Cannot 'start' NAME. Set f3skeys_enable to YES in /etc/rc.conf or use 'onestart' instead of 'start'.;"
	for script in f3skeys f3sready; do
		words=$(echo "$cannot" | sed "s/NAME/$script/")
		check "rc.d/$script: nothing before it is enabled, and says how" off $script start "$words"
		check "rc.d/$script: nothing when it is off" off $script start "$words" f3skeys_enable=NO
		check "rc.d/$script faststart, as at boot: not a word when it is off" off $script faststart "" f3skeys_enable=NO
	done
	check "rc.d/f3skeys: a value that is none is named" off f3skeys faststart "unset;" f3skeys_enable=maybe
	check "rc.d/f3sready: devd and cron ask for nothing when it is off" off f3sready quietlate ""
	check "rc.d/f3sready: cron asks for nothing when it is off" off f3sready quietreconcile ""
	check "rc.d/f3sready: cron asks for no CARP when it is off" off f3sready quietrelease ""
	check "rc.d/f3skeys onestart" one_is_enough
	rc_world
	check "rc.d/f3skeys stop: asks for nothing" asks f3skeys stop 0 ""
	rc_world
	check "rc.d/f3skeys restart is no command of ours" asks f3skeys restart 0 ""
	rc_world
	check "rc.d/f3skeys rcvar" same 'f3skeys_enable="YES"' "$(run_rc f3skeys rcvar)"
	check "rc.d/f3skeys enabled" asks f3skeys enabled 0 ""
	check "rc.d/f3skeys: an unknown command is refused" says "unknown directive" run_rc f3skeys unload
	rc_world
	check "rc.d/f3sready start: ready, a failure is one" asks f3sready start 1 "ready;"
	rc_world
	check "rc.d/f3sready late: left to the program" \
	    asks f3sready late 1 "boot --late -- service f3sready services;"
	rc_world
	check "rc.d/f3sready: the command that late names exists, starts in order" waits 0 "$both"
	rc_world
	touch "$box/rc/running/nfsd"
	check "rc.d/f3sready services: what runs is left alone" waits 0 "start stunnel;"
	rc_world
	check "rc.d/f3sready services: an empty list starts nothing" services_empty
	rc_world on-its-way
	check "rc.d/f3sready services: waits for rc" waits 3 "$both"
	rc_world on-its-way
	echo "$boot_id" >"$box/rc/run/f3skeys/rc-ended"
	check "rc.d/f3sready services: waits no more once rc has ended" waits 0 "$both"
	rc_world on-its-way
	echo 1000 >"$box/rc/ends"
	check "rc.d/f3sready services: an rc that never ends is waited for 600 times" waits 600 "$both"
	rc_world
	mkdir "$box/rc/hangs"
	: >"$box/rc/hangs/nfsd"
	check "rc.d/f3sready services: one that hangs is given up on, and the next is started" waits 0 "$both"
	rc_world
	check "rc.d/f3scarp start: carp, a failure is one" asks f3scarp start 1 "carp;"
	rc_world
	check "rc.d/f3scarp reconcile: carp --reconcile" asks f3scarp reconcile 1 "carp --reconcile;"
	check "rc.d/f3sready: of the two, only reconcile lets in, only release gives away" in_and_out
	for allow in 0 1; do
		rc_world
		echo $allow >"$box/rc/allow"
		echo f3scarp_enable=NO >"$box/rc/etc/rc.conf.local"
		check "rc.d/f3sready: no CARP where it is off, net.inet.carp.allow=$allow" \
		    asks_both 0 1 "reconcile;"
	done
	for name in missing empty other unseeded; do
		check "rc.d/f3sready reconcile: rc on its way, rc-ended $name: the address alone" \
		    on_its_way $name
	done
	for name in up-long up-unknown up-backwards; do
		check "rc.d/f3sready reconcile: rc-ended missing, $name: nobody waits for ever" \
		    not_for_ever $name
	done
	check "rc.d: no name of a process stops reconcile and CARP" names_of_processes
	for enabled in YES NO; do
		check "rc.d/f3scarp: the end of rc's own process is written down, f3scarp_enable=$enabled" \
		    rc_has_ended "$enabled"
	done
	check "rc.d/f3scarp: a person's start says nothing of rc" a_person_starts
	check "rc.d: nothing goes by the name of a process or a file that all may write" by_no_name
	check "cron: CARP always; one at a time, not while devd's run is at work, \`f3sready quietreconcile\`" cron_lines
	for script in f3skeys f3sready f3scarp; do
		check "rc.d/$script: a missing program is named" program_is_named "$script"
	done
	check "devd: detached, one at a time, \`f3sready late\`" devd_action
}

# asks_both STATUS STATUS LOG: of what cron runs each minute, release and reconcile
asks_both() {
	run_rc f3sready quietrelease
	same "$1" "$?" || return 1
	asks f3sready quietreconcile "$2" "$3"
}

# Also after a failure of reconcile; and CARP is asked once a minute.
in_and_out() {
	for allow in 1 unknown; do
		rc_world
		echo $allow >"$box/rc/allow"
		asks f3sready quietrelease 1 "carp --reconcile;" || return 1
		: >"$box/rc/log"
		asks f3sready quietreconcile 1 "reconcile;" || return 1
	done
	rc_world
	echo 0 >"$box/rc/allow"
	asks f3sready quietrelease 0 "" || return 1
	asks f3sready quietreconcile 1 "reconcile;carp --reconcile;"
}

# on_its_way RC-ENDED: reconcile waits; CARP gives away what the node has, and lets it not in
on_its_way() {
	for allow in 1 0 unknown; do
		rc_world on-its-way
		echo $allow >"$box/rc/allow"
		case $1 in
		empty) : >"$box/rc/run/f3skeys/rc-ended" ;;
		other) echo "00$boot_id" >"$box/rc/run/f3skeys/rc-ended" ;;
		# Sixteen zeros are no boot, in the file either.
		unseeded)
			head -c 16 /dev/zero >"$box/rc/boot_id"
			printf '%032d\n' 0 >"$box/rc/run/f3skeys/rc-ended"
			;;
		esac
		case $allow in
		0) asks_both 0 0 "" || return 1 ;;
		*) asks_both 1 0 "carp --reconcile;" || return 1 ;;
		esac
	done
}

not_for_ever() {
	rc_world on-its-way
	case $1 in
	up-long) echo 601 >"$box/rc/up" ;;
	up-unknown) rm "$box/rc/up" ;;
	up-backwards) echo -100 >"$box/rc/up" ;;
	esac
	asks_both 1 1 "carp --reconcile;reconcile;"
}

# Processes that any user may start, named as rc is, while all is asked for.
names_of_processes() {
	rc_world
	mkdir -p "$box/rc/home/etc"
	printf 'sleep 30\n' >"$box/rc/home/etc/rc"
	sh "$box/rc/home/etc/rc" autoboot &
	fake=$!
	asks_both 1 1 "carp --reconcile;reconcile;"
	done=$?
	kill "$fake"
	return $done
}

# As rc does it: it reads the script in a shell that has rc's number.
as_rc() {
	# The inner shell expands it, which has the number.
	# shellcheck disable=SC2016
	(cd / && PATH=$box/rc/bin:$PATH rc_root=$box/rc "$rc_shell" -c \
	    'echo $$ >"$rc_root/number"; ( set "$1"; . "$rc_root/etc/rc.d/f3scarp" ); :' rc "$1")
}

rc_has_ended() {
	for how in faststart quietstart; do
		# How waiting ends: rc has ended, had ended before, or is there after ten minutes.
		for status in 0 1 124; do
			rc_world on-its-way
			chmod 755 "$box/rc/etc/rc.d/f3sready"
			echo "f3scarp_enable=$1" >"$box/rc/etc/rc.conf.local"
			echo $status >"$box/rc/pwait"
			as_rc $how >/dev/null 2>&1
			same "$(cat "$box/rc/number")" "$(cat "$box/rc/waited-for")" || return 1
			case $status in 124) expected= ;; *) expected=$boot_id ;; esac
			same "$expected" "$(cat "$box/rc/run/f3skeys/rc-ended" 2>/dev/null)" || return 1
		done
	done
	# And where nothing may be written.
	rc_world on-its-way
	echo f3skeys_enable=NO >"$box/rc/etc/rc.conf.local"
	as_rc faststart >/dev/null 2>&1
	same "" "$(cat "$box/rc/waited-for" 2>/dev/null)"
}

a_person_starts() {
	for how in start onestart forcestart reconcile quietreconcile; do
		rc_world on-its-way
		run_rc f3scarp $how >/dev/null 2>&1
		same "" "$(cat "$box/rc/waited-for" "$box/rc/run/f3skeys/rc-ended" 2>/dev/null)" ||
		    return 1
	done
}

by_no_name() {
	found=$(grep -rnE '(^|[^a-z])(pgrep|pkill|pidof|killall|ps|fuser)( |$)|/tmp|/var/tmp|/dev/shm' \
	    rc.d systemd loader packaging examples | grep -vE '^[^:]*:[0-9]+:[[:space:]]*#|packaging/debian/build')
	same "" "$found"
}

services_empty() {
	echo 'f3sready_services=""' >"$box/rc/etc/rc.conf.local"
	waits 0 ""
}

# devd waits for its action and runs one at a time: daemon(8) has to come first.
devd_action() {
	grep -q '^	action "/usr/sbin/daemon -f -o /dev/console /usr/local/libexec/f3skeys-alone 600 late /usr/sbin/service f3sready quietlate";$' \
	    rc.d/devd/f3skeys.conf
}

# Five fields of time, the user, the command.  The lock is devd's, and CARP has none.
cron_lines() {
	lock=$(sed -n 's|.*f3skeys-alone 600 \([^ ]*\) .*|\1|p' rc.d/devd/f3skeys.conf)
	same "* * * * * root /usr/sbin/service f3sready quietrelease;* * * * * root /usr/local/libexec/f3skeys-alone 0 $lock /usr/sbin/service f3sready quietreconcile;" \
	    "$(grep -v -e '^#' -e '^[A-Z]*=' -e '^$' rc.d/cron.d-f3skeys | tr '\t\n' ' ;')"
}
