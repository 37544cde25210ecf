# shellcheck shell=sh
# What the lab does before it has a machine: it waits for apt, and its limits fit a
# slow one.  Read by check.sh.

: "${top:?}" "${box:?}"

# lab_python PROGRAM: with the lab's modules, and a cache of its own.
lab_python() {
	rm -rf "$box/cache"
	XDG_CACHE_HOME=$box/cache PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$top/tests/lab \
	    PATH=$box/lab-bin:$PATH python3 -c "$1"
}

lab_limits() {
	lab_python '
import pace
first = pace.Pace()
assert (first.of_a_start(300), first.scaled(300)) == (pace.FIRST, 300)
first.measured(45)
assert (first.of_a_start(300), first.scaled(120)) == (300, 120), "never shorter"
first.measured(240)
first.measured(90)
assert (first.of_a_start(300), first.scaled(120)) == (1200, 480), "the slowest counts"
second = pace.Pace()
assert second.of_a_start(300) == 1200, "kept for the next run"
second.measured(60)
assert second.of_a_start(300) == 300, "which measures for itself"
(pace.host.cache() / pace.FILE).write_text("nonsense")
assert pace.Pace().of_a_start(300) == pace.FIRST
'
}

# An apt that is locked twice before it works, and one that fails otherwise.
lab_apt() {
	mkdir -p "$box/lab-bin"
	cat >"$box/lab-bin/apt-get" <<STUB
#!/bin/sh
echo "\$*" >>"$box/apt-asked"
case "\$*" in
*broken*) echo "E: Unable to locate package broken"; exit 100 ;;
*update*) echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7"; ;;
*) echo "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend)" ;;
esac
[ "\$(wc -l <"$box/apt-asked")" -ge "\$(cat "$box/apt-free")" ] || exit 100
STUB
	chmod 755 "$box/lab-bin/apt-get"
	echo 3 >"$box/apt-free"
	for asked in update "install x"; do
		: >"$box/apt-asked"
		lab_python "import host; host.apt(*'$asked'.split(), between=0)" || return 1
		same 3 "$(wc -l <"$box/apt-asked")" || return 1
	done
	grep -q -e "-o DPkg::Lock::Timeout=900 install x" "$box/apt-asked" || return 1
	# It is not waited for ever, and not at all for what is no lock.
	echo 99 >"$box/apt-free"
	: >"$box/apt-asked"
	says LabError lab_python "import host; host.apt('update', limit=0, between=0)" || return 1
	: >"$box/apt-asked"
	says LabError lab_python "import host; host.apt('install', 'broken', between=0)" || return 1
	same 1 "$(wc -l <"$box/apt-asked")"
}

# What starts and gives up: the console is shown.
lab_gives_up() {
	lab_python '
import pathlib, queue, tempfile, types, vm
made = vm.Machine.__new__(vm.Machine)
made.process = types.SimpleNamespace(poll=lambda: None)
made.channel = types.SimpleNamespace(hellos=queue.Queue())
made.console = pathlib.Path(tempfile.mkdtemp(dir="'"$box"'")) / "console.log"
made.console.write_text("x" * 9000 + "Kernel panic")
made.switched_on = vm.time.monotonic() - 120
vm.PACE.seconds, vm.TELL = 60, 0.01
try:
    made.wait_agent(0.05)
    raise SystemExit("it did not give up")
except vm.Failed as error:
    assert "did not come up" in str(error), error
assert made.console_end().endswith("Kernel panic") and len(made.console_end()) == 6000
made.channel.hellos.put(vm.time.monotonic())
made.wait_agent(300)
assert 119 < vm.PACE.seconds < 125, vm.PACE.seconds
made.channel.hellos.put(vm.time.monotonic())
made.wait_agent(300)
assert 119 < vm.PACE.seconds < 125, "a reboot that the lab did not begin is not measured"
'
}

lab_checks() {
	need python3 python3 || echo "python3 is missing"
	check "lab: limits grow with a measured start" lab_limits
	check "lab: apt is waited for while another has its locks" lab_apt
	check "lab: a start that lasts too long is given up on, one that ends is measured" lab_gives_up
}
