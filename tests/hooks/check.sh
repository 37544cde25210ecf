#!/bin/sh
# Checks the hooks without a node: shell, manual pages, install.sh, units, the
# order of the rc.d scripts, what they and the daily job ask of the program and
# of rc, the locks of jobs, packages, completions, the examples, FreeBSD's blocks
# of the guides, metrics, alerts and pictures, and what the lab does before it has
# a machine.  One line a check; exit 1 when one fails.
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

# ---- shell and manual pages

lint() {
	need shellcheck shellcheck || echo "shellcheck is missing"
	need mandoc mandoc || echo "mandoc is missing"
	for script in install.sh rc.d/f3* rc.d/periodic/* rc.d/libexec/* rc.d/rc.conf.d/* tests/hooks/*.sh tests/hooks/rc.subr systemd/f3skeys-generator \
	    packaging/freebsd/crates packaging/freebsd/pkg-install packaging/debian/build packaging/debian/p* \
	    examples/f3s/f3s-fresh examples/f3s/*/f3s-switch examples/f3s/*/f3s-failback examples/f3s/keepalived/f3s-notify \
	    examples/f3s/freebsd/carp examples/f3s/freebsd/carp-state.sh examples/f3s/*/f3s.conf; do
		check "shellcheck $script" shellcheck -x -P SCRIPTDIR -s sh "$script"
	done
	for page in man/*; do
		check "mandoc lint $page" mandoc -T lint -W warning "$page"
	done
	for script in rc.d/f3*; do
		check "$script ends in run_rc_command" same "run_rc_command \"\$1\"" "$(tail -n 1 "$script")"
	done
}

# shellcheck source=installing.sh
. "$here/installing.sh"
# shellcheck source=systemd.sh
. "$here/systemd.sh"
# shellcheck source=rc.sh
. "$here/rc.sh"
# shellcheck source=locks.sh
. "$here/locks.sh"
# shellcheck source=daily.sh
. "$here/daily.sh"
# shellcheck source=packages.sh
. "$here/packages.sh"
# shellcheck source=completions.sh
. "$here/completions.sh"
# shellcheck source=examples.sh
. "$here/examples.sh"
# shellcheck source=guides.sh
. "$here/guides.sh"
# shellcheck source=monitoring.sh
. "$here/monitoring.sh"
# shellcheck source=lab.sh
. "$here/lab.sh"

cd "$top" || exit 1
lint
completion_checks
install_checks
systemd_checks
rc_checks
rc_script_checks
snippet_checks
lock_checks
daily_checks
package_checks
example_checks
guide_checks
monitoring_checks
lab_checks
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
