# shellcheck shell=sh disable=SC2034
# /usr/local/libexec/f3s/carp-state.sh: what carp, f3s-switch and f3s-failback
# have in common.

# shellcheck source=f3s.conf
. "${F3S_CONF:-/usr/local/etc/f3s.conf}"

f3skeys=${F3SKEYS:-/usr/local/sbin/f3skeys}

# MASTER, BACKUP or INIT; nothing when there is no such vhid, or no telling.
# ifconfig says "carp: STATE vhid N ..." of each vhid of the interface.
carp_state() {
	ifconfig "$INTERFACE" 2>/dev/null |
	    awk -v vhid="$VHID" '$1 == "carp:" && $3 == "vhid" && $4 == vhid { print $2; exit }'
}

# Refused right out of INIT by those who ask: the kernel ignores it there, and
# says that it went well.
carp_set() { ifconfig "$INTERFACE" vhid "$VHID" state "$1"; }
