# shellcheck shell=sh disable=SC2154
# The units, and what they are to one another.  Part of check.sh.

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

switched_on() {
	systemctl -q --root="$box/root" enable f3skeys.service &&
	    cp -R "$box"/root/usr/lib/f3skeys/drop-ins/* "$box/root/etc/systemd/system"
}

# Neither unit does anything when it is stopped: a loaded key stays loaded.
stopping_unloads_nothing() {
	if grep -nE '^(ExecStop|ExecStopPost|ExecReload)=' systemd/f3skeys.service systemd/f3sready.service; then return 1; fi
	for script in f3skeys f3sready f3scarp; do
		same 'stop_cmd=":"' "$(grep '^stop_cmd=' rc.d/$script)" || return 1
		if grep -n 'KEYWORD:.*shutdown' rc.d/$script; then return 1; fi
	done
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
	    grep -q 'f3skeys-daily /usr/lib/f3skeys/daily$' install.sh &&
	    same "$(sed -n 's/^SyslogLevel=//p' $unit)" "$(sed -n 's/^LogLevelMax=//p' $unit)" &&
	    grep -qx 'Persistent=true' systemd/f3skeys-daily.timer &&
	    grep -q '^RandomizedDelaySec=' systemd/f3skeys-daily.timer
}

systemd_checks() {
	check "systemd: nothing requires our units" nothing_requires_us
	check "stop and shutdown unload nothing" stopping_unloads_nothing
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
	# As f3skeys-generator would have them.
	check "systemd: enabled, with all drop-ins" switched_on
	check "systemd: a whole boot verifies without a word" verify_boot
	check "systemd: the verification notices a cycle" verify_finds_a_cycle
}
