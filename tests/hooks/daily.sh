# shellcheck shell=sh
# The daily job: the script of both systems over a stub of the program, and the
# one of periodic(8) over a stub of what it reads first.  Read by check.sh.
: "${top:?}" "${box:?}"

# daily_world VERB=STATUS...: how the program ends; 0 for the others
daily_world() {
	rm -rf "$box/daily"
	mkdir "$box/daily"
	: >"$box/daily/log"
	for end; do
		echo "${end#*=}" >"$box/daily/${end%=*}"
	done
	cat >"$box/daily/f3skeys" <<STUB
#!/bin/sh
echo "\$*" >>"$box/daily/log"
echo "results of \$1"
echo "complaints of \$1" >&2
[ ! -e "$box/daily/\$1" ] || exit "\$(cat "$box/daily/\$1")"
STUB
	chmod 755 "$box/daily/f3skeys"
	sed "s|/usr/local/sbin/f3skeys|$box/daily/f3skeys|" rc.d/periodic/f3skeys-daily >"$box/daily/daily"
	chmod 755 "$box/daily/daily"
}

# ended STATUS OUTPUT ASKED: of what has just run; lines are joined by ";"
ended() {
	same "$1" "$daily_status" && same "$2" "$(grep -v '^$' "$box/daily/out" | tr '\n' ';')" &&
	    same "" "$(cat "$box/daily/err")" && same "$3" "$(tr '\n' ';' <"$box/daily/log")"
}

# daily_says "VERB=STATUS..." "VERB..." STATUS OUTPUT ASKED
daily_says() {
	# shellcheck disable=SC2086
	daily_world $1
	daily_status=0
	# shellcheck disable=SC2086
	"$box/daily/daily" $2 >"$box/daily/out" 2>"$box/daily/err" || daily_status=$?
	ended "$3" "$4" "$5"
}

# periodic_says CONFIGURATION "VERB=STATUS..." STATUS OUTPUT ASKED
periodic_says() {
	# shellcheck disable=SC2086
	daily_world $2
	{
		echo "$1"
		echo "source_periodic_confs() { :; }"
		echo "anticongestion() { echo slept >>'$box/daily/log'; }"
	} >"$box/daily/conf"
	sed "s|/etc/defaults/periodic.conf|$box/daily/conf|; s|/usr/local/libexec/f3skeys-daily|$box/daily/daily|" \
	    rc.d/periodic/450.f3skeys >"$box/daily/script"
	daily_status=0
	sh "$box/daily/script" >"$box/daily/out" 2>"$box/daily/err" || daily_status=$?
	ended "$3" "$4" "$5"
}

# The program that is not there is said.
daily_absent() {
	daily_world
	rm "$box/daily/f3skeys"
	says "daily/f3skeys: not found" "$box/daily/daily" rehearse
}

daily_checks() {
	all="verify --pools;backup;rehearse;"
	check "daily: without a word when all is well" \
	    daily_says "" "verify backup rehearse" 0 "" "$all"
	check "daily: what is wrong, with its status, and the others run all the same" \
	    daily_says "verify=65" "verify backup rehearse" 65 \
	    "f3skeys verify --pools:;results of verify;complaints of verify;" "$all"
	check "daily: each of several" \
	    daily_says "backup=69 rehearse=66" "verify backup rehearse" 66 \
	    "f3skeys backup:;results of backup;complaints of backup;f3skeys rehearse:;results of rehearse;complaints of rehearse;" "$all"
	check "daily: the peers can be asked without being given anything" \
	    daily_says "status=69" "peers" 69 \
	    "f3skeys status --peers:;results of status;complaints of status;" "status --peers;"
	check "daily: an unknown word is named, the rest is done" \
	    daily_says "" "verify lock rehearse" 64 \
	    "f3skeys-daily: lock: nothing of that name;  -> there are verify, backup, peers and rehearse;" \
	    "verify --pools;rehearse;"
	check "daily: a program that is not there is said" daily_absent
	head="What f3skeys finds wrong on this node:;"
	on='daily_f3skeys_enable="YES"'
	check "periodic: without a word when all is well" periodic_says "$on" "" 0 "" "slept;$all"
	check "periodic: all that was said and status 3 when it is not" periodic_says 'daily_f3skeys_enable="yes"' "backup=69" 3 \
	    "${head}f3skeys backup:;results of backup;complaints of backup;" "slept;$all"
	check "periodic: the verbs that a node without peers names" \
	    periodic_says "$on daily_f3skeys_verbs='verify rehearse'" "" 0 "" "slept;verify --pools;rehearse;"
	for setting in "" 'daily_f3skeys_enable="NO"' 'daily_f3skeys_enable=""' 'daily_f3skeys_enable="maybe"'; do
		check "periodic: nothing with '$setting'" periodic_says "$setting" "verify=65" 0 "" ""
	done
}
