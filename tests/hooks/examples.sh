# shellcheck shell=sh disable=SC2154
# Checks of examples/f3s, sourced by check.sh: every script over stand-ins of the
# programs that it starts, in every state that it can meet.

# A node: CARP's state or the address, the answers of the gates, what runs.
node() {
	rm -rf "$box/node"
	mkdir -p "$box/node/bin" "$box/node/running" "$box/node/data"
	node=$box/node
	: >"$node/log"
	echo 0 >"$node/lift"
	cat >"$node/bin/f3skeys" <<'STUB'
#!/bin/sh
node=$(dirname "$0")/..
echo "f3skeys $*" >>"$node/log"
[ "$1" = gate ] || { echo "something is wrong"; exit 69; }
[ ! -e "$node/after_gate" ] || cp "$node/after_gate" "$node/state"
exit "$(cat "$node/gate.$2")"
STUB
	# Another vhid, a master, on the same interface; a state that is set is taken.
	cat >"$node/bin/ifconfig" <<'STUB'
#!/bin/sh
node=$(dirname "$0")/..
if [ $# -gt 1 ]; then
	echo "ifconfig $*" >>"$node/log"
	echo "$5" | tr 'a-z' 'A-Z' >"$node/state"
	exit 0
fi
printf '%s: flags=8943<UP> metric 0 mtu 1500\n\tinet 10.0.0.1 netmask 0xffffff00 vhid 1\n' "$1"
printf '\tcarp: MASTER vhid 11 advbase 1 advskew 0\n\t      peer 224.0.0.18\n'
[ ! -s "$node/state" ] || printf '\tcarp: %s vhid 1 advbase 1 advskew 0\n' "$(cat "$node/state")"
STUB
	cat >"$node/bin/ip" <<'STUB'
#!/bin/sh
node=$(dirname "$0")/..
[ "$*" = "-o address show to 192.168.1.138" ] || { echo "ip $*" >>"$node/log"; exit 1; }
[ ! -e "$node/address" ] || echo "2: eth0    inet 192.168.1.138/24 scope global eth0"
STUB
	cat >"$node/bin/service" <<'STUB'
#!/bin/sh
node=$(dirname "$0")/..
case $2 in
onestatus)
	[ ! -e "$node/status/$1" ] || . "$node/status/$1"
	[ -e "$node/running/$1" ]
	exit
	;;
onestart) touch "$node/running/$1" ;;
onestop) rm "$node/running/$1" ;;
esac
echo "$2 $1" >>"$node/log"
STUB
	cat >"$node/bin/systemctl" <<'STUB'
#!/bin/sh
node=$(dirname "$0")/..
case $1 in
show)
	[ "$*" = "show -P ActiveState -- $5" ] || exit 1
	[ ! -e "$node/status/$5" ] || exec cat "$node/status/$5"
	[ -e "$node/running/$5" ] && echo active || echo inactive
	exit
	;;
start) touch "$node/running/$2" ;;
stop) rm "$node/running/$2" ;;
esac
echo "$1 $2" >>"$node/log"
STUB
	# Plays keepalived: who is lifted gets the address, if it listens.
	cat >"$node/bin/sleep" <<'STUB'
#!/bin/sh
node=$(dirname "$0")/..
[ "$(cat "$node/lift" 2>/dev/null)" = 20 ] || exit 0
echo "lifted" >>"$node/log"
[ -e "$node/deaf" ] || touch "$node/address"
STUB
	printf '#!/bin/sh\n' >"$node/bin/logger"
	chmod 755 "$node"/bin/*
}

# runs SYSTEM SCRIPT [ARGUMENT...]: a script of the examples on the node, with the
# configuration that is shipped but for the block file, and FAILBACK_GATE if set.
runs() {
	system=$1
	script=$2
	shift 2
	sed "s|^BLOCK_FILE=.*|BLOCK_FILE=$node/data/block|" "examples/f3s/$system/f3s.conf" >"$node/conf"
	[ -z "${standby-}" ] || sed -i 's/^\(FAILBACK_GATE\|FRESH_GATE\)=.*/\1=/' "$node/conf"
	sed -i "s|^FRESH=.*|FRESH=$node/fresh|" "$node/conf"
	F3S_LIB=$top/examples/f3s/freebsd F3S_CONF=$node/conf F3SKEYS=$node/bin/f3skeys \
	    F3S_LOCKS=$node/locks F3S_LIFT=$node/lift F3S_SWITCH=$node/bin/switch \
	    PATH=$node/bin:$PATH "examples/f3s/$system/$script" "$@"
}

logged() { grep -c -e "$1" "$node/log" || :; }

# ---- FreeBSD

# One of all these cases takes the address.
carp_failback() {
	taken=0
	asked=0
	for state in MASTER BACKUP INIT ""; do
		for gate in 0 1 2; do
			for block in "" yes; do
				for standby in "" yes; do
					node
					echo "$state" >"$node/state"
					[ -n "$state" ] || : >"$node/state"
					echo "$gate" >"$node/gate.failback"
					[ -z "$block" ] || : >"$node/data/block"
					runs freebsd f3s-failback || return 1
					case "$state/$gate/$block/$standby" in BACKUP/0//) wanted=1 ;; *) wanted=0 ;; esac
					same "$state/$gate/$block/$standby: $wanted" \
					    "$state/$gate/$block/$standby: $(logged '^ifconfig re0 vhid 1 state master$')" || return 1
					same "$wanted" "$(logged ifconfig)" || return 1
					taken=$((taken + wanted))
					asked=$((asked + $(logged 'f3skeys gate failback')))
				done
			done
		done
	done
	standby=
	# Asked in the state BACKUP of the home node alone: three answers, with a block file and without.
	same "1 of 48, asked 6" "$taken of 48, asked $asked"
}

# The answer of the peer took its time, and meanwhile the link has gone.
carp_failback_late() {
	node
	echo BACKUP >"$node/state"
	echo INIT >"$node/after_gate"
	echo 0 >"$node/gate.failback"
	runs freebsd f3s-failback || return 1
	same 0 "$(logged ifconfig)"
}

# The gate may open only by what reconcile has found.
carp_failback_order() {
	node
	echo BACKUP >"$node/state"
	echo 0 >"$node/gate.failback"
	runs freebsd f3s-failback || return 1
	same "f3skeys reconcile;f3skeys gate failback;ifconfig re0 vhid 1 state master;" "$(tr '\n' ';' <"$node/log")"
}

carp_helper_sets() {
	for word in master backup; do
		for state in MASTER BACKUP INIT ""; do
			for gate in 0 1 2; do
				node
				printf '%s' "$state" >"$node/state"
				echo "$gate" >"$node/gate.nfs"
				runs freebsd carp "$word" >"$node/out" 2>&1
				status=$?
				case "$word/$state/$gate" in
				master/BACKUP/0 | backup/MASTER/?) wanted="0 1" ;;
				master/MASTER/? | backup/BACKUP/?) wanted="0 0" ;;
				*) wanted="1 0" ;;
				esac
				same "$word/$state/$gate: $wanted" \
				    "$word/$state/$gate: $status $(logged "^ifconfig re0 vhid 1 state $word\$")" || return 1
				[ "$status" = 0 ] || grep -q -e '-> ' "$node/out" || return 1
			done
		done
	done
}

carp_helper_blocks() {
	for gate in 0 1 2; do
		for before in "" yes; do
			for word in enable disable; do
				node
				echo MASTER >"$node/state"
				echo "$gate" >"$node/gate.nfs"
				[ -z "$before" ] || : >"$node/data/block"
				runs freebsd carp auto-failback "$word" >"$node/out" 2>&1
				status=$?
				after=$(ls "$node/data")
				case $gate in
				0) [ "$word" = disable ] && wanted="0 block" || wanted="0 " ;;
				*) wanted="1 ${before:+block}" ;;
				esac
				same "$gate/$before/$word: $wanted" "$gate/$before/$word: $status $after" || return 1
			done
		done
	done
}

carp_helper_shows() {
	node
	echo BACKUP >"$node/state"
	: >"$node/data/block"
	same "vhid 1 on re0: BACKUP;auto-failback is disabled: $node/data/block;" \
	    "$(runs freebsd carp | tr '\n' ';')" && same "" "$(cat "$node/log")" || return 1
	: >"$node/state"
	says "no such vhid" runs freebsd carp || return 1
	says "usage: carp" runs freebsd carp auto-failback
}

freebsd_services="rpcbind mountd nfsd nfsuserd stunnel"
starts() { for service; do printf 'f3skeys gate nfs;%s %s;' "$verb" "$service"; done; }
stops() { for service; do printf '%s %s;' "$verb" "$service"; done; }

# switched SYSTEM WANTED STATUS
switched() {
	runs "$1" f3s-switch
	same "$3 $2" "$? $(tr '\n' ';' <"$node/log")"
}

carp_switch() {
	node
	echo 0 >"$node/gate.nfs"
	echo MASTER >"$node/state"
	verb=onestart
	# shellcheck disable=SC2086
	switched freebsd "$(starts $freebsd_services)" 0 || return 1
	: >"$node/log"
	switched freebsd "" 0 || { echo "not the same twice"; return 1; }
	verb=onestop
	for state in BACKUP INIT; do
		for service in $freebsd_services; do : >"$node/running/$service"; done
		: >"$node/log"
		echo "$state" >"$node/state"
		switched freebsd "$(stops stunnel nfsuserd nfsd mountd rpcbind)" 0 || return 1
		: >"$node/log"
		switched freebsd "" 0 || return 1
	done
	# No telling: neither started nor stopped.
	: >"$node/running/nfsd"
	: >"$node/state"
	switched freebsd "" 1
}

# What is not known to be stopped is stopped: a script without a "status", and one that
# fails in another way.
carp_switch_unknown() {
	node
	mkdir "$node/status"
	echo "echo \"\$0: unknown directive 'status'.\" >&2; exit 1" >"$node/status/nfsd"
	echo "exit 64" >"$node/status/mountd"
	echo "exit 3" >"$node/status/rpcbind"
	: >"$node/running/nfsd"
	: >"$node/running/mountd"
	echo BACKUP >"$node/state"
	verb=onestop
	switched freebsd "$(stops nfsd mountd)" 0
}

carp_switch_gated() {
	for gate in 1 2; do
		node
		echo "$gate" >"$node/gate.nfs"
		echo MASTER >"$node/state"
		switched freebsd "f3skeys gate nfs;" 1 || return 1
	done
}

carp_devd() {
	for type in MASTER BACKUP INIT; do
		grep -q "match \"type\".*[(|]${type}[|)]" examples/f3s/freebsd/devd-f3s-carp.conf || return 1
	done
	grep -q '^	action "/usr/sbin/daemon -f /usr/local/libexec/f3skeys-alone 300 f3s-switch /usr/local/sbin/f3s-switch";$' \
	    examples/f3s/freebsd/devd-f3s-carp.conf
}

# ---- both

# The file stands for what the standby has said in this boot: made by a yes, removed
# by a no, left alone by silence.
fresh_file() {
	for system in freebsd keepalived; do
		for gate in 0 1 2; do
			for before in "" yes; do
				for standby in "" yes; do
					node
					echo "$gate" >"$node/gate.fresh"
					[ -z "$before" ] || : >"$node/fresh"
					runs "$system" ../f3s-fresh || return 1
					case "$gate/$before/$standby" in
					0// | 0/yes/ | ?/yes/yes | 2/yes/) wanted=yes ;;
					*) wanted= ;;
					esac
					after=$([ ! -e "$node/fresh" ] || echo yes)
					same "$gate/$before/$standby: $wanted" "$gate/$before/$standby: $after" || return 1
					# What has changed reaches the gate "home" at once.
					[ "$before" = "$after" ] && wanted=1 || wanted=2
					[ -z "$standby" ] || wanted=0
					same "$wanted" "$(logged 'f3skeys reconcile')" || return 1
				done
			done
		done
	done
	standby=
}

# Whoever may not have the address is not in the race: both systems ask the gate that
# needs the file.
# shellcheck disable=SC2016
fresh_is_asked() {
	for system in freebsd keepalived; do
		grep -qx 'FRESH_GATE=fresh' "examples/f3s/$system/f3s.conf" &&
		    grep -qx 'FRESH=/var/run/f3s-fresh' "examples/f3s/$system/f3s.conf" || return 1
	done
	grep -q '(name: "fresh", needs: \[not_promoted(peer: ' examples/f3s/f0.ron &&
	    grep -q '(name: "home", needs: \[gate("nfs"), present("/var/run/f3s-fresh")\])' examples/f3s/f0.ron &&
	    grep -q 'carp: (gate: "home")' examples/f3s/f0.ron &&
	    grep -qx '$CHECK="/usr/sbin/f3skeys gate home"' examples/f3s/keepalived/keepalived.conf &&
	    grep -qx '    script $CHECK' examples/f3s/keepalived/keepalived.conf &&
	    grep -q '/usr/local/sbin/f3s-fresh; exec /usr/local/sbin/f3s-failback' examples/f3s/freebsd/cron.d-f3s &&
	    grep -qx 'ExecStart=-/usr/local/sbin/f3s-fresh' examples/f3s/keepalived/f3s-failback.service
}

# ---- keepalived

vrrp_failback() {
	taken=0
	for address in "" yes; do
		for gate in 0 1 2; do
			for block in "" yes; do
				for standby in "" yes; do
					node
					[ -z "$address" ] || : >"$node/address"
					echo "$gate" >"$node/gate.failback"
					[ -z "$block" ] || : >"$node/data/block"
					# What a run has left that was killed.
					echo 20 >"$node/lift"
					[ -z "$standby" ] || echo 0 >"$node/lift"
					runs keepalived f3s-failback || return 1
					case "$address/$gate/$block/$standby" in /0//) wanted=1 ;; *) wanted=0 ;; esac
					same "$address/$gate/$block/$standby: $wanted, 0" \
					    "$address/$gate/$block/$standby: $(logged lifted), $(cat "$node/lift")" || return 1
					taken=$((taken + wanted))
				done
			done
		done
	done
	standby=
	same "1 of 24" "$taken of 24"
}

# keepalived does not react: the lift ends all the same, and the run has failed.
vrrp_failback_deaf() {
	node
	: >"$node/deaf"
	echo 0 >"$node/gate.failback"
	runs keepalived f3s-failback && return 1
	same "10 0" "$(logged lifted) $(cat "$node/lift")"
}

# Nobody listens: no file is made that keepalived would find at its start.
vrrp_failback_without() {
	node
	rm "$node/lift"
	echo 0 >"$node/gate.failback"
	runs keepalived f3s-failback || return 1
	[ ! -e "$node/lift" ]
}

vrrp_notify() {
	for state in MASTER BACKUP FAULT STOP; do
		node
		printf '#!/bin/sh\necho switched >>%s\n' "$node/log" >"$node/bin/switch"
		chmod 755 "$node/bin/switch"
		echo 20 >"$node/lift"
		runs keepalived f3s-notify INSTANCE nfs "$state" 90 || return 1
		[ "$state" = MASTER ] && wanted=20 || wanted=0
		same "$state $wanted switched" "$state $(cat "$node/lift") $(cat "$node/log")" || return 1
	done
}

vrrp_switch() {
	node
	echo 0 >"$node/gate.nfs"
	: >"$node/address"
	verb=start
	switched keepalived "$(starts nfs-server.service)" 0 || return 1
	: >"$node/log"
	switched keepalived "" 0 || return 1
	rm "$node/address"
	verb=stop
	switched keepalived "$(stops nfs-server.service)" 0 || return 1
	: >"$node/log"
	switched keepalived "" 0 || return 1
	: >"$node/address"
	echo 1 >"$node/gate.nfs"
	switched keepalived "f3skeys gate nfs;" 1
}

# A service on its way is neither started twice nor left to come up without the address.
vrrp_switch_on_the_way() {
	verb=stop
	for state in activating deactivating reloading odd ""; do
		node
		mkdir "$node/status"
		echo "$state" >"$node/status/nfs-server.service"
		: >"$node/running/nfs-server.service"
		switched keepalived "$(stops nfs-server.service)" 0 || return 1
	done
	for state in inactive failed; do
		echo "$state" >"$node/status/nfs-server.service"
		: >"$node/log"
		switched keepalived "" 0 || return 1
	done
	node
	mkdir "$node/status"
	: >"$node/address"
	for state in active activating reloading; do
		echo "$state" >"$node/status/nfs-server.service"
		switched keepalived "" 0 || return 1
	done
}

# The lift must reach over the standby, and only for a while; see keepalived.conf.
vrrp_priorities() {
	conf=examples/f3s/keepalived/keepalived.conf
	grep -q '^# Home node: 90 and preempt.  Standby: 100 and nopreempt.$' $conf &&
	    grep -q '^by=20$' examples/f3s/keepalived/f3s-failback || return 1
	# The words of the home node as they are, those of a standby put in.
	for words in "90 preempt" "100 nopreempt"; do
		sed -e "s/^\$PRIORITY=.*/\$PRIORITY=${words% *}/; s/^\$PREEMPT=.*/\$PREEMPT=${words#* }/" \
		    -e "s/^\$INTERFACE=.*/\$INTERFACE=$interface/; s|/usr/sbin/f3skeys|/bin/true|" \
		    -e "s|/usr/local/sbin/f3s-notify|/bin/true|" $conf >"$box/keepalived.conf"
		keepalived -t -f "$box/keepalived.conf" || return 1
	done
}

example_checks() {
	check "examples carp: of 48 cases one takes the address" carp_failback
	check "examples carp: not when the state has changed meanwhile" carp_failback_late
	check "examples carp: reconcile, gate, then the address" carp_failback_order
	check "examples carp: the helper sets a state in the right ones only" carp_helper_sets
	check "examples carp: the block file only while the dataset is there" carp_helper_blocks
	check "examples carp: the helper shows, and touches nothing" carp_helper_shows
	check "examples carp: services where the address is, in order, once" carp_switch
	check "examples carp: what is not known to be stopped is stopped" carp_switch_unknown
	check "examples carp: a closed gate starts nothing" carp_switch_gated
	check "examples carp: devd, detached, for each state" carp_devd
	check "examples: the home node takes part only once the standby has said no" fresh_file
	check "examples: both systems ask for that" fresh_is_asked
	check "examples keepalived: of 24 cases one takes the address" vrrp_failback
	check "examples keepalived: a lift ends when nothing follows" vrrp_failback_deaf
	check "examples keepalived: no lift where nobody listens" vrrp_failback_without
	check "examples keepalived: a change of state ends the lift" vrrp_notify
	check "examples keepalived: services where the address is" vrrp_switch
	check "examples keepalived: a service on its way is stopped, and not started twice" vrrp_switch_on_the_way
	interface=$(find /sys/class/net -mindepth 1 ! -name lo 2>/dev/null | sed 's|.*/||; q')
	if command -v keepalived >/dev/null && [ -n "$interface" ]; then
		check "examples keepalived: keepalived reads the configuration" vrrp_priorities
	else
		echo "NOT RUN: keepalived or an interface is not here, so its configuration is NOT READ"
	fi
}
