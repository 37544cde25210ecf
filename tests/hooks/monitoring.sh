# shellcheck shell=sh
# The metrics of `status --prometheus`, the script that hands them over, the alert
# rules of docs/monitoring.md, and the pictures.  Read by check.sh.

: "${top:?}" "${box:?}"

# Debian's promtool, without the service around it; kept for the next time.
find_promtool() {
	promtool=$(command -v promtool) && return 0
	promtool=$top/target/promtool/usr/bin/promtool
	[ ! -x "$promtool" ] || return 0
	command -v apt-get >/dev/null || return 1
	(mkdir -p "$top/target/promtool" && cd "$box" && { [ "$(id -u)" -ne 0 ] || apt-get -qq update; } &&
	    apt-get -qq download prometheus && dpkg -x prometheus_*.deb "$top/target/promtool") >"$box/apt" 2>&1 ||
	    cat "$box/apt"
	[ -x "$promtool" ]
}

scenes="well no-stick suspended written"

metrics_of() {
	cargo run --quiet --example status -- "$1" prometheus
}

metrics_hold() {
	metrics_of "$1" >"$box/page" && [ -s "$box/page" ] && "$promtool" check metrics <"$box/page"
}

# The tool notices what is wrong with a page.
metrics_broken() {
	metrics_of well | sed "$1" >"$box/page"
	says "$2" "$promtool" check metrics <"$box/page"
}

alert_rules() {
	awk '/^```yaml$/ { on = 1; next } /^```$/ { on = 0 } on' docs/monitoring.md >"$box/rules.yml"
	cp tests/hooks/alerts.yml "$box"
	"$promtool" check rules "$box/rules.yml" && "$promtool" test rules "$box/alerts.yml"
}

# Every metric that a rule asks for is one that the documentation has.
rules_name_metrics() {
	awk '/^```yaml$/ { on = 1; next } /^```$/ { on = 0 } on' docs/monitoring.md |
	    grep 'expr:' | grep -o 'f3skeys_[a-z_]*' | sort -u >"$box/asked"
	[ "$(wc -l <"$box/asked")" -ge 10 ] || return 1
	while read -r metric; do
		grep -q "^| \`$metric\` |" docs/monitoring.md || { echo "no metric $metric"; return 1; }
	done <"$box/asked"
}

# hands_over STATUS PAGE WANTED-STATUS WANTED-PAGE: f3skeys ends so, after this page
hands_over() {
	rm -rf "$box/metrics"
	mkdir -p "$box/metrics/bin" "$box/metrics/to"
	printf 'old 1\n' >"$box/metrics/to/f3skeys.prom"
	cat >"$box/metrics/bin/f3skeys" <<STUB
#!/bin/sh
[ "\$*" = "status --prometheus" ] || exit 64
printf '$2'
# Nobody reads half of it meanwhile.
[ "\$(cat "$box/metrics/to/f3skeys.prom")" = "old 1" ] || exit 70
[ "\$(ls "$box/metrics/to")" = f3skeys.prom ] || exit 70
exit $1
STUB
	chmod 755 "$box/metrics/bin/f3skeys"
	F3SKEYS_PATH=$box/metrics/bin:$PATH examples/monitoring/f3skeys-metrics "$box/metrics/to"
	same "$3" "$?" && same "$4" "$(cat "$box/metrics/to/f3skeys.prom")" &&
	    same "f3skeys.prom" "$(ls -A "$box/metrics/to")" &&
	    same 644 "$(stat -c %a "$box/metrics/to/f3skeys.prom")"
}

# A copy of the tree's pictures in which a root is open that is not.
picture_lies() {
	mkdir -p "$box/docs/pictures"
	cp docs/pictures/*.svg "$box/docs/pictures"
	sed -i 's/LOCKED/open/' "$box/docs/pictures/no-stick.svg"
	sed "s|^HERE = .*|HERE = pathlib.Path('$box/docs/pictures')|; s|^TOP = .*|TOP = '$top'|" \
	    docs/pictures/render >"$box/render"
	says "not what the program prints: no-stick.svg$" python3 "$box/render" --check
}

monitoring_checks() {
	check "shellcheck examples/monitoring/f3skeys-metrics" shellcheck -s sh examples/monitoring/f3skeys-metrics
	check "metrics: the page takes the old one's place, whole" hands_over 0 'new 1\n' 0 'new 1'
	check "metrics: so does that of a node with a locked root" hands_over 69 'new 0\n' 0 'new 0'
	check "metrics: without a configuration the old page stays" hands_over 78 '' 78 'old 1'
	check "metrics: a half page is not handed over" hands_over 71 'ne' 71 'old 1'
	check "alerts: the rules ask for metrics that there are" rules_name_metrics
	if ! command -v cargo >/dev/null; then
		echo "NOT RUN: no cargo here, so pictures, metrics and alert rules are NOT VERIFIED"
		return
	fi
	need python3 python3 || echo "python3 is missing"
	check "pictures: they show what the program prints now" docs/pictures/render --check
	check "pictures: one that does not is named" picture_lies
	if ! find_promtool; then
		echo "NOT RUN: no promtool here, so metrics and alert rules are NOT VERIFIED"
		return
	fi
	for scene in $scenes; do
		check "promtool: the metrics of a node, $scene" metrics_hold "$scene"
	done
	check "promtool notices a page without HELP" metrics_broken '/^# HELP f3skeys_well/d' "no help text"
	check "promtool notices a label that is not closed" metrics_broken 's/"} /} /' "label value"
	check "promtool: the alert rules, of a healthy node and of one in trouble" alert_rules
}
