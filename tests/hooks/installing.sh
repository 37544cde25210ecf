# shellcheck shell=sh disable=SC2154
# What the installer puts, keeps and takes away.  Part of check.sh, which has
# check, says, same, need, box and top.

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
	holds_files <<'LIST' || return 1
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
644 /usr/lib/systemd/system-preset/90-f3skeys.preset
755 /usr/lib/systemd/system-generators/f3skeys-generator
644 /usr/lib/f3skeys/drop-ins/nfs-server.service.d/f3skeys.conf
644 /usr/lib/f3skeys/drop-ins/nfs-mountd.service.d/f3skeys.conf
644 /usr/lib/f3skeys/drop-ins/zfs-mount.service.d/f3skeys.conf
644 /usr/lib/udev/rules.d/90-f3skeys.rules
644 /etc/default/f3skeys
644 /usr/share/bash-completion/completions/f3skeys
644 /usr/share/fish/vendor_completions.d/f3skeys.fish
644 /usr/share/zsh/vendor-completions/_f3skeys
644 /usr/share/man/man5/f3skeys.ron.5
644 /usr/share/man/man8/f3skeys.8
LIST
	# An unknown gate keeps its service down for good: not without being asked for.
	same "" "$(find "$box/root" -path '*stunnel*' -o -path '*k3s*' -o -path '*kubelet*')"
}

# What has an effect by lying there: in /etc, or below a unit of somebody else.
nothing_enabled() {
	same "./default/f3skeys" "$(cd "$box/root/etc" && find . ! -type d)" || return 1
	same "" "$(find "$box/root" -type l)" || return 1
	same "" "$(cd "$box/root/usr/lib/systemd/system" && find . -mindepth 1 -type d)"
}

# What systemd makes of it, before and after `systemctl enable`: links and gates.
generated() {
	rm -rf "$box/units"
	mkdir "$box/units"
	# The places that it looks at are below the root here.
	sed "s| /\([a-z]*/[a-z3]*/\)| $box/root/\1|g" "$box/root/usr/lib/systemd/system-generators/f3skeys-generator" >"$box/generator"
	sh "$box/generator" "$box/units" || return 1
	(cd "$box/units" && find . -type l | sort | while read -r link; do [ -s "$link" ] && echo "$link"; done)
}

enabling_does_it() {
	same "" "$(generated)" || return 1
	systemctl -q --root="$box/root" enable f3skeys.service || return 1
	for link in zfs.target.wants/f3skeys.service zfs.target.wants/f3sready.service \
	    timers.target.wants/f3skeys-reconcile.timer; do
		same "/usr/lib/systemd/system/${link#*/}" \
		    "$(readlink "$box/root/etc/systemd/system/$link")" || return 1
	done
	# A node without peers, or its stick, would complain each day: enabled by a person alone.
	same "" "$(find "$box/root/etc" -name '*copies*' -o -name '*daily*')" || return 1
	same "./nfs-mountd.service.d/f3skeys.conf ./nfs-server.service.d/f3skeys.conf ./zfs-mount.service.d/f3skeys.conf" \
	    "$(generated | paste -s -d ' ' -)" || return 1
	# The unit that udev starts looks for one of those.
	place=$(sed -n 's|^ConditionPathExists=/run/systemd/generator/||p' systemd/f3skeys-late.service)
	[ -s "$box/units/$place" ] || return 1
	systemctl -q --root="$box/root" disable f3skeys.service || return 1
	same "" "$(generated)" && nothing_enabled
}

# A drop-in that cannot be linked must not go unnoticed.
generator_fails_loudly() {
	systemctl -q --root="$box/root" enable f3skeys.service && generated >/dev/null || return 1
	rm -rf "$box/units/nfs-server.service.d"
	: >"$box/units/nfs-server.service.d"
	says "nfs-server.service.d" sh "$box/generator" "$box/units"
}

# A first boot of an image enables what no preset speaks of.
presets_all() {
	for unit in systemd/*.service systemd/*.timer; do
		! grep -q '^\[Install\]' "$unit" ||
		    grep -qx "disable ${unit#systemd/}" systemd/90-f3skeys.preset || { echo "$unit"; return 1; }
	done
}

# The next start of a service of FreeBSD, without and with f3skeys_enable, is in rc.sh.

# made MAKE: the same by way of the Makefile, with another prefix
made() {
	need "$1" "$1" || return 1
	for os in linux freebsd; do
		case $os in linux) usual=/usr ;; *) usual=/usr/local ;; esac
		fresh
		"$1" -s install PREFIX=/opt/f3s DESTDIR="$box/root" F3SKEYS_OS=$os PROGRAM="$box/program" || return 1
		same 755 "$(stat -c %a "$box/root/opt/f3s/sbin/f3skeys")" || return 1
		[ -f "$box/root/opt/f3s/share/man/man8/f3skeys.8" ] || return 1
		same "" "$(cd "$box/root" && grep -rlF "$usual/sbin/f3skeys" --exclude-dir=man .)" || return 1
		[ "$(grep -rlF /opt/f3s/sbin/f3skeys "$box/root" | wc -l)" -ge 8 ] || return 1
		"$1" -s uninstall DESTDIR="$box/root" F3SKEYS_OS=$os || return 1
		nothing_left || return 1
	done
	fresh
	"$1" -s install DESTDIR="$box/root" F3SKEYS_OS=linux PROGRAM="$box/program" FLAGS="--with k3s" || return 1
	gated k3s.service k3s-agent.service || return 1
	says "absent: no such program" "$1" -s install DESTDIR="$box/root" F3SKEYS_OS=linux PROGRAM="$box/absent"
}

# For packages: the same files, and nothing of this script's own.
staged() {
	fresh
	installer "$1" "$box/root" >/dev/null || return 1
	(cd "$box/root" && find . -type f ! -name receipt | sort) >"$box/wanted"
	fresh
	same "" "$(installer "$1" "$box/root" --stage "$box/program")" || return 1
	# There, FreeBSD's snippets stand beside what others have.
	(cd "$box/root" && find . -type f | sed 's|\(/rc.conf.d/[a-z]*\)/f3skeys$|\1|' | sort) | diff "$box/wanted" -
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
755 /usr/local/libexec/f3skeys-alone
644 /boot/loader.conf.d/f3skeys.conf
644 /usr/local/share/bash-completion/completions/f3skeys
644 /usr/local/share/fish/vendor_completions.d/f3skeys.fish
644 /usr/local/share/zsh/site-functions/_f3skeys
644 /usr/local/share/man/man5/f3skeys.ron.5
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

# aside PATH: a script of another origin is kept where rc does not run it, twice
# if need be, and stays when f3skeys goes.
aside() {
	fresh
	mkdir -p "$box/root$(dirname "$1")"
	for number in 1 2; do
		printf '#!/bin/sh\n# PROVIDE: f3skeys\necho %s\n' $number >"$box/root$1"
		chmod 755 "$box/root$1"
		installer freebsd "$box/root" >"$box/words" 2>&1 || return 1
		grep -q "$1: of another origin, moved to .*/var/backups/" "$box/words" || return 1
		case $1 in /etc/rc.d/*) cmp "rc.d/${1##*/}" "$box/root$1" || return 1 ;; *) [ ! -e "$box/root$1" ] || return 1 ;; esac
		installer freebsd "$box/root" --uninstall >/dev/null || return 1
	done
	kept=/var/backups/$(echo "${1#/}" | tr / -)
	same 1 "$(sh "$box/root$kept")" && same 2 "$(sh "$box/root$kept.old")" || return 1
	same "644 644" "$(stat -c %a "$box/root$kept" "$box/root$kept.old" | paste -s -d ' ' -)" || return 1
	nothing_left "$kept" "$kept.old"
}

# One of ours that was edited is not another's: kept, and run, and named.
edited_script() {
	fresh
	installer freebsd "$box/root" || return 1
	echo "# mine" >>"$box/root/etc/rc.d/f3skeys"
	says "/etc/rc.d/f3skeys: changed or not ours, kept" installer freebsd "$box/root"
}

# What an older version put and this one does not is taken away, not what was edited.
obsolete() {
	fresh
	installer linux "$box/root" || return 1
	for old in /usr/lib/old-gone /usr/lib/old-edited; do
		mkdir -p "$box/root$old"
		echo old >"$box/root$old/file"
		echo "$(cksum <"$box/root$old/file" | tr ' ' '-') $old/file" >>"$box/root/usr/lib/f3skeys/receipt"
	done
	echo new >"$box/root/usr/lib/old-edited/file"
	says "/usr/lib/old-edited/file: changed since, kept" installer linux "$box/root" || return 1
	[ ! -e "$box/root/usr/lib/old-gone" ] || return 1
	uninstall_leaves linux /usr/lib/old-edited/file
}

# uninstall_tells OS: of what is still enabled, and of what it leaves
uninstall_tells() {
	fresh
	installer "$1" "$box/root" >/dev/null || return 1
	installer "$1" "$box/root" --uninstall >"$box/words" 2>&1 || return 1
	if grep -q enabled "$box/words"; then return 1; fi
	installer "$1" "$box/root" >/dev/null || return 1
	case $1 in
	linux) systemctl -q --root="$box/root" enable f3skeys.service || return 1 ;;
	freebsd) echo 'f3skeys_enable="YES"' >"$box/root/etc/rc.conf" ;;
	esac
	installer "$1" "$box/root" --uninstall >"$box/words" 2>&1 || return 1
	for word in 'still enabled' f3skeys.ron 'audit log' 'key stores'; do
		grep -q "$word" "$box/words" || { cat "$box/words"; echo "no word of $word"; return 1; }
	done
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

# A run that breaks off in the middle leaves nothing that uninstall cannot find.
broken_off() {
	fresh
	mkdir -p "$box/tree"
	mkdir "$box/tree/man"
	cp -R install.sh rc.d loader systemd completions "$box/tree"
	cp man/* "$box/tree/man"
	rm "$box/tree/loader/f3skeys.conf"
	if F3SKEYS_OS=freebsd DESTDIR=$box/root "$box/tree/install.sh" "$box/program"; then
		echo "succeeded without a file"
		return 1
	fi
	[ -f "$box/root/etc/rc.d/f3skeys" ] || return 1
	uninstall_leaves freebsd
}

# gated UNIT...: what has a drop-in of ours, besides the NFS server and zfs-mount
gated() {
	same "$(printf '%s\n' "$@" | sort)" "$(cd "$box/root/usr/lib/f3skeys/drop-ins" &&
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
	cp -R install.sh rc.d loader systemd man completions "$box/newer"
	for unit; do
		echo "# newer" >>"$box/newer/systemd/$unit.d/f3skeys.conf"
	done
	F3SKEYS_OS=linux DESTDIR=$box/root "$box/newer/install.sh" "$box/program" || return 1
	same $# "$(grep -rl '^# newer' "$box/root/usr/lib/f3skeys/drop-ins" | wc -l)" || return 1
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
	fresh
	installer linux "$box/root" >/dev/null
	check "install linux: nothing is enabled" nothing_enabled
	if command -v systemctl >/dev/null; then
		check "install linux: enabling does all of it, disabling takes it off" enabling_does_it
		check "install linux: the generator fails loudly" generator_fails_loudly
	else
		echo "NOT RUN: systemctl is not here, so enabling is NOT TRIED"
	fi
	check "install linux: no preset enables a unit" presets_all
	for make in make bmake; do
		check "$make install and uninstall, another prefix, both systems" made $make
	done
	for os in linux freebsd; do
		check "install $os --stage: the same files, not a word" staged $os
		check "uninstall $os: says what is enabled and what it leaves" uninstall_tells $os
	done
	for path in /etc/rc.d/f3skeys /etc/rc.d/f3sready /usr/local/etc/rc.d/f3skeys; do
		check "install freebsd: $path of another origin is moved out of rc's way" aside $path
	done
	check "install freebsd: an edited script of ours is kept and named" edited_script
	check "install linux: what an older version had is taken away" obsolete
	for path in /etc/rc.conf.d/nfsd /boot/loader.conf.d/f3skeys.conf; do
		check "install freebsd: foreign $path is kept and named" foreign freebsd "$path"
	done
	check "install linux: a foreign unit is kept and named" \
	    foreign linux /usr/lib/systemd/system/f3skeys.service
	check "install freebsd: joins an /etc/rc.conf.d/nfsd directory" snippet_directory
	check "install linux: what was edited is kept and named" edited_is_kept
	check "install linux: configuration is left alone" configuration_is_kept
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
	check "install: a prefix that is no path is refused" with_refused \
	    "PREFIX=opt: no absolute path" env PREFIX=opt F3SKEYS_OS=linux DESTDIR="$box/root" ./install.sh "$box/program"
	check "install: a run that broke off can be taken back" broken_off
	check "install: without a program nothing is touched" no_program
}
