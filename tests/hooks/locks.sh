# shellcheck shell=sh disable=SC2154,SC2034
# Locks of scripts and jobs: no other user can take one, none is given up on
# silently, and CARP waits for none.  Read by check.sh; over the worlds of rc.sh and
# examples.sh, with real locks.

# ---- every lock in the tree

# Files that run a program which locks a file, or make a lock with mkdir or ln, in
# whatever is installed or shown; comments left out.
lock_takers() { # DIRECTORY
	(cd "$1" && grep -rIlE \
	    '^[^#]*((^|[^-._a-zA-Z])(lockf|flock|shlock|lockfile|dotlockfile|setlock)[[:space:]]+[-"$/0-9]|LOCK_EX|(mkdir|ln) .*lock|noclobber|set -C)' \
	    rc.d systemd loader packaging examples docs man completions install.sh Makefile README.md SECURITY.md | sort)
}

# The two whose directory is looked at below.
known_lock_takers() {
	same "examples/f3s/keepalived/f3s-switch rc.d/libexec/f3skeys-alone" "$(lock_takers . | paste -s -d ' ' -)"
}

# A lock anywhere else is found, in each kind of file.
lock_takers_are_found() {
	rm -rf "$box/tree"
	mkdir "$box/tree"
	cp -R rc.d systemd loader packaging examples docs man completions install.sh Makefile README.md SECURITY.md "$box/tree"
	lock_takers . >"$box/known"
	for file in rc.d/cron.d-f3skeys rc.d/devd/f3skeys.conf rc.d/f3sready systemd/f3skeys-late.service docs/monitoring.md \
	    examples/f3s/freebsd/cron.d-f3s examples/monitoring/f3skeys-metrics man/f3skeys.8; do
		for line in '* * * * * root /usr/bin/lockf -k -s -t 0 /var/run/f3sready.late /bin/true' \
		    'ExecStart=/usr/bin/flock /run/x /bin/true' '	flock 9' 'mkdir /run/x.lock || exit 1'; do
			cp "$file" "$box/tree/$file"
			echo "$line" >>"$box/tree/$file"
			lock_takers "$box/tree" | diff "$box/known" - | grep -qx "> $file" || { echo "$file: $line"; return 1; }
		done
		cp "$file" "$box/tree/$file"
	done
}

# ---- cron and devd

# lock_world: the node of rc.sh, with locks like FreeBSD's: opened for reading only,
# closed in the command.
lock_world() {
	rc_world
	rm -rf "$box/rc/run/f3skeys/locks"
	: >"$box/rc/syslog"
	cat >"$box/rc/bin/lockf" <<'STUB'
#!/bin/sh
[ "$1 $2 $3" = "-k -s -t" ] || exit 64
seconds=$4 file=$5
shift 5
stat -c '%F %a %u' "$(dirname "$file")" >>"$(dirname "$0")/../lock-directories"
# A run of the test is not to wait as long as devd's.
[ "$seconds" = 0 ] || seconds=0.2
exec flock -o -E 75 -w "$seconds" "$file" "$@"
STUB
	cat >"$box/rc/bin/logger" <<'STUB'
#!/bin/sh
echo "$*" >>"$(dirname "$0")/../syslog"
STUB
	chmod 755 "$box/rc/bin/lockf" "$box/rc/bin/logger"
	# Another user gets as far as to /var/run.
	chmod 755 "$box" "$box/rc" "$box/rc/run" "$box/rc/run/f3skeys"
}

# What cron and devd run, the lines of each in their order.
cron_turn() {
	grep -v -e '^#' -e '^[A-Z]*=' -e '^$' "$box/rc/usr/local/etc/cron.d/f3skeys" | cut -f 7 >"$box/rc/jobs"
	run_jobs
}
devd_turn() {
	sed -n 's/^	action "\(.*\)";$/\1/p' "$box/rc/usr/local/etc/devd/f3skeys.conf" >"$box/rc/jobs"
	run_jobs
}
run_jobs() {
	[ -s "$box/rc/jobs" ] || return 1
	while read -r job; do
		PATH=$box/rc/bin:$PATH rc_root=$box/rc "$rc_shell" -c "$job" </dev/null
	done <"$box/rc/jobs"
}

asked_for() { same "$1" "$(tr '\n' ';' <"$box/rc/log")"; }
told_times() { same "$1" "$(grep -c 'does not run' "$box/rc/syslog")" || { cat "$box/rc/syslog"; return 1; }; }

# Another user where the test may be one; else only what he could open is known.
as_user() {
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	else
		"$@"
	fi
}
if [ "$(id -u)" -eq 0 ]; then others_read=-readable; else others_read="-perm -004"; fi

# A user locks all that he can open in a directory, until let_go.  Who is not root
# stands in for him: he leaves alone what root alone could enter.
user_locks() {
	holders=
	# shellcheck disable=SC2086
	as_user find "$1" -type d ! -perm -005 -prune -o -type f $others_read -print >"$box/open" 2>/dev/null
	while read -r file; do
		as_user flock -w 5 -F "$file" sleep 60 &
		holders="$holders $!"
		until ! flock -n "$file" true; do sleep 0.05; done
	done <"$box/open"
}
let_go() {
	for holder in $holders; do
		kill "$holder"
		wait "$holder" 2>/dev/null
	done
	holders=
}

late_run="boot --late -- service f3sready services;"

# Whatever a user keeps locked, where locks were and wherever he gets: before the first
# run, and after one has made its own.
users_stop_nothing() {
	for before in nothing runs; do
		lock_world
		[ "$before" = nothing ] || { cron_turn; devd_turn; } >/dev/null 2>&1
		: >"$box/rc/log"
		: >"$box/rc/run/f3sready.late"
		user_locks "$box/rc/run"
		grep -qx "$box/rc/run/f3sready.late" "$box/open" || return 1
		cron_turn >/dev/null 2>&1
		devd_turn >/dev/null 2>&1
		let_go
		asked_for "carp --reconcile;reconcile;$late_run" || return 1
		told_times 0 || return 1
	done
}

# The user of the test above does keep a job away whose lock he can open.
users_could() {
	lock_world
	mkdir -m 755 "$box/rc/run/f3skeys/locks"
	: >"$box/rc/run/f3skeys/locks/late"
	user_locks "$box/rc/run"
	PATH=$box/rc/bin:$PATH lockf -k -s -t 0 "$box/rc/run/f3skeys/locks/late" true
	status=$?
	let_go
	same 75 "$status"
}

# However the directory was, a lock in it is taken only where root alone can enter,
# and a lock that somebody has from before counts for nothing.
locks_are_private() {
	for how in missing kept open link file; do
		lock_world
		locks=$box/rc/run/f3skeys/locks
		case $how in
		missing) rm -r "$box/rc/run/f3skeys" ;;
		kept) mkdir -m 700 "$locks" ;;
		open)
			mkdir -m 755 "$locks"
			: >"$locks/late"
			user_locks "$locks"
			;;
		link)
			mkdir -m 755 "$box/rc/home"
			: >"$box/rc/home/late"
			ln -s "$box/rc/home" "$locks"
			user_locks "$box/rc/home"
			;;
		file)
			: >"$locks"
			chmod 700 "$locks"
			;;
		esac
		# Where rc-ended is gone with the directory, nobody waits: the boot was long ago.
		(umask "$1" && cron_turn) >/dev/null 2>&1
		[ -z "${holders-}" ] || let_go
		asked_for "carp --reconcile;reconcile;" || { echo "$how"; return 1; }
		same "directory 700 $(id -u)" "$(cat "$box/rc/lock-directories")" || { echo "$how"; return 1; }
		same "directory 700" "$(stat -c '%F %a' "$locks")" || return 1
		[ "$how" != missing ] || same 755 "$(stat -c %a "$box/rc/run/f3skeys")" || return 1
	done
}

# Where no directory can be made, a job runs without a lock.
no_lock_no_matter() {
	lock_world
	rm -r "$box/rc/run/f3skeys"
	: >"$box/rc/run/f3skeys"
	cron_turn >/dev/null 2>&1
	asked_for "carp --reconcile;reconcile;"
}

# Root's own run has the lock, as long as it is at work.
at_work() {
	lock_world
	mkdir -m 700 "$box/rc/run/f3skeys/locks"
	locked=$box/rc/run/f3skeys/locks/late
	flock -F "$locked" sleep 60 &
	holders=$!
	until [ -e "$locked" ] && ! flock -n "$locked" true; do sleep 0.05; done
}

# The address is given away meanwhile, and given to nobody who is not ready.
carp_never_waits() {
	for allow in 1 0; do
		at_work
		echo $allow >"$box/rc/allow"
		cron_turn >/dev/null 2>&1
		let_go
		case $allow in 1) asked_for "carp --reconcile;" ;; 0) asked_for "" ;; esac || return 1
	done
}

# One turn after another: how many lines the log has then.
told_once() {
	at_work
	for told in 0 1 1 1; do
		cron_turn >/dev/null 2>&1
		told_times $told || return 1
	done
	# The other job of this lock has waited, and is told of at once, and once.
	for told in 2 2; do
		devd_turn >/dev/null 2>&1
		told_times $told || return 1
	done
	grep -q "quietreconcile.*fstat $locked" "$box/rc/syslog" && grep -q "quietlate" "$box/rc/syslog" || return 1
	let_go
	: >"$box/rc/log"
	: >"$box/rc/syslog"
	cron_turn >/dev/null 2>&1
	devd_turn >/dev/null 2>&1
	asked_for "carp --reconcile;reconcile;$late_run" || return 1
	told_times 0 || return 1
	# It is over: from now on it is news again.
	flock -F "$locked" sleep 60 &
	holders=$!
	while flock -n "$locked" true; do sleep 0.05; done
	for told in 0 1 1; do
		cron_turn >/dev/null 2>&1
		told_times $told || return 1
	done
	let_go
}

# alone STATUS: what f3skeys-alone makes of the status of a command
alone() {
	lock_world
	# shellcheck disable=SC2016
	PATH=$box/rc/bin:$PATH "$rc_shell" "$box/rc/usr/local/libexec/f3skeys-alone" 0 job sh -c 'exit "$0"' "$1"
	same "$2" "$?" && told_times 0
}

alone_says() {
	for status in 0 1 69; do
		alone $status $status || return 1
	done
	# It was not turned away.
	alone 75 1 || return 1
	says "usage: f3skeys-alone" "$rc_shell" "$box/rc/usr/local/libexec/f3skeys-alone" 0 job
}

# ---- the examples

# What cron and devd of the examples, and the metrics, run goes by the same script.
others_go_by_it() {
	jobs=$(grep -hE '^(\*.*root|	action)' examples/f3s/freebsd/cron.d-f3s examples/f3s/freebsd/devd-f3s-carp.conf docs/monitoring.md)
	same 4 "$(echo "$jobs" | wc -l)" &&
	    same 4 "$(echo "$jobs" | grep -c '/usr/local/libexec/f3skeys-alone [0-9]* [a-z0-9-]* /')" &&
	    same 2 "$(echo "$jobs" | grep -c 'f3skeys-alone [0-9]* f3s-switch /usr/local/sbin/f3s-switch')"
}

# Of keepalived's script, a lock that a user has, wherever he can.
switch_is_private() {
	for how in missing kept open link; do
		node
		chmod 755 "$box" "$node"
		echo 0 >"$node/gate.nfs"
		: >"$node/address"
		case $how in
		kept) mkdir -m 700 "$node/locks" ;;
		open | link)
			mkdir -m 755 "$node/home"
			: >"$node/home/switch"
			user_locks "$node/home"
			if [ $how = open ]; then mv "$node/home" "$node/locks"; else ln -s "$node/home" "$node/locks"; fi
			;;
		esac
		verb=start
		F3S_PATIENCE=0.2
		export F3S_PATIENCE
		switched keepalived "$(starts nfs-server.service)" 0
		done=$?
		unset F3S_PATIENCE
		[ -z "${holders-}" ] || let_go
		same "$how 0 directory 700" "$how $done $(stat -c '%F %a' "$node/locks")" || return 1
	done
}

switch_tells_once() {
	node
	printf '#!/bin/sh\necho "$*" >>%s\n' "$node/syslog" >"$node/bin/logger"
	mkdir -m 700 "$node/locks"
	flock -F "$node/locks/switch" sleep 60 &
	holders=$!
	until [ -e "$node/locks/switch" ] && ! flock -n "$node/locks/switch" true; do sleep 0.05; done
	F3S_PATIENCE=0.2
	export F3S_PATIENCE
	for turn in 1 2; do
		runs keepalived f3s-switch
		same "$turn: 75 1" "$turn: $? $(grep -c 'does not run' "$node/syslog")" || { let_go; return 1; }
	done
	let_go
	runs keepalived f3s-switch
	status=$?
	unset F3S_PATIENCE
	same "0 no" "$status $([ -e "$node/locks/told" ] || echo no)"
}

lock_checks() {
	rc_shell=$(command -v dash || command -v sh)
	check "locks: two scripts of all take one" known_lock_takers
	check "locks: one that is taken elsewhere is found" lock_takers_are_found
	check "locks: no user keeps reconcile, CARP or a late stick away" users_stop_nothing
	check "locks: he would, if he could open the file" users_could
	for mask in 022 077; do
		check "locks: where root alone can enter, umask $mask" locks_are_private $mask
	done
	check "locks: a job runs where no lock can be made" no_lock_no_matter
	check "locks: CARP waits for none" carp_never_waits
	check "locks: giving up is told, once" told_once
	check "locks: a command's own status" alone_says
	check "locks: the examples and the metrics have such ones" others_go_by_it
	check "locks: keepalived's, where root alone can enter" switch_is_private
	check "locks: keepalived's, giving up is told, once" switch_tells_once
}
