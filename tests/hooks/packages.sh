# shellcheck shell=sh disable=SC2154
# Packages: what they would put is what `make install` puts, they make way for
# others' files, and they enable nothing.  Part of check.sh.

# ---- FreeBSD's port

# The files of the plist, as they lie after an installation: manual pages are
# compressed by the port, not by us.
plist() {
	sed -e '/^@dir /d; s/^@config //' -e '/^\//!s|^|/usr/local/|' -e 's|\(/man/.*\)\.gz$|\1|' packaging/freebsd/pkg-plist | sort
}

# port_holds PROGRAM: the plist, against an installation of that program
port_holds() {
	fresh
	installer freebsd "$box/root" --stage "$1" || return 1
	(cd "$box/root" && find . ! -type d | sed 's/^\.//' | sort) >"$box/put"
	plist | diff - "$box/put" || return 1
	# Directories that FreeBSD does not have go with the package.
	same "$(grep /etc/rc.conf.d/ "$box/put" | xargs -n 1 dirname)" \
	    "$(sed -n 's/^@dir //p' packaging/freebsd/pkg-plist)"
}

port_follows_the_source() {
	packaging/freebsd/crates | diff - packaging/freebsd/Makefile.crates || return 1
	same "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)" \
	    "$(sed -n 's/^DISTVERSION=[[:space:]]*//p' packaging/freebsd/Makefile)"
}

# Tabs after the names of variables, a last newline, no line of the description
# above 80 columns, no word of the comment that portlint refuses.
port_is_neat() {
	if grep -nE '^[A-Z_]+[?+]?= ' packaging/freebsd/Makefile; then return 1; fi
	if grep -nE '^.{81}' packaging/freebsd/pkg-descr packaging/freebsd/pkg-message; then return 1; fi
	if grep -nE '^COMMENT=[[:space:]]+(An? |.{71}|.*\.$)' packaging/freebsd/Makefile; then return 1; fi
	need bmake bmake || return 1
	# What this make reads of it, with FreeBSD's part of it left out.
	sed '/bsd.port.mk/d' packaging/freebsd/Makefile >"$box/Makefile"
	cp packaging/freebsd/Makefile.crates "$box"
	same f3skeys "$(bmake -C "$box" -V PORTNAME)" &&
	    same "$(grep -c '^source' Cargo.lock)" "$(bmake -C "$box" -V CARGO_CRATES | wc -w)"
}

pkg_install() { PKG_ROOTDIR=$box/root sh packaging/freebsd/pkg-install f3skeys-0 "$1"; }

# What the package would write over is there afterwards, with the same meaning.
port_makes_way() {
	fresh
	mkdir -p "$box/root/etc/rc.d" "$box/root/etc/rc.conf.d" "$box/root/usr/local/etc/rc.d"
	cp rc.d/f3sready "$box/root/etc/rc.d"
	printf '#!/bin/sh\nmount /dev/da0 /keys\n' >"$box/root/etc/rc.d/f3skeys"
	cp "$box/root/etc/rc.d/f3skeys" "$box/root/usr/local/etc/rc.d/f3scarp"
	chmod 755 "$box/root/etc/rc.d/f3skeys"
	echo nfs_server_flags=-u >"$box/root/etc/rc.conf.d/nfsd"
	picture "$box/root" >"$box/before"
	pkg_install POST-INSTALL && picture "$box/root" | diff "$box/before" - || return 1
	pkg_install PRE-INSTALL >"$box/words" || return 1
	same 3 "$(wc -l <"$box/words")" || return 1
	(cd "$box/root" && find . -type f -exec stat -c '%a %n' {} + | sort) >"$box/after"
	diff - "$box/after" <<'LIST' || return 1
644 ./etc/rc.conf.d/nfsd/own
644 ./var/backups/etc-rc.d-f3skeys
644 ./var/backups/usr-local-etc-rc.d-f3scarp
755 ./etc/rc.d/f3sready
LIST
	installer freebsd "$box/root" --stage "$box/program" || return 1
	picture "$box/root" >"$box/before"
	same "" "$(pkg_install PRE-INSTALL)" && picture "$box/root" | diff "$box/before" -
}

# ---- Debian

debian_package() {
	need lintian lintian || return 1
	need dpkg-shlibdeps dpkg-dev || return 1
	rm -rf "$box/deb"
	DEBFULLNAME="A builder" DEBEMAIL=builder@f0.lan.buetow.org \
	    packaging/debian/build "$1" "$box/deb" || return 1
	fresh
	dpkg-deb -x "$box"/deb/*.deb "$box/root" || return 1
	(cd "$box/root" && find . -type f ! -path './usr/share/doc/*' | sed 's/\.gz$//' | sort) >"$box/put"
	fresh
	installer linux "$box/root" --stage "$1" || return 1
	(cd "$box/root" && find . -type f | sort) | diff - "$box/put"
}

# lintian is silent, but for what is so on purpose: deb-systemd-helper would take
# off only what it has put on itself, and zfs.target is OpenZFS's.
debian_is_neat() {
	lintian --allow-root --tag-display-limit 0 \
	    --suppress-tags maintainer-script-calls-systemctl,systemd-service-file-refers-to-unusual-wantedby-target "$box"/deb/*.deb >"$box/lintian" 2>&1
	same "" "$(cat "$box/lintian")"
}

# Neither its scripts nor its files switch anything on.
debian_enables_nothing() {
	fresh
	dpkg-deb -x "$box"/deb/*.deb "$box/root" && dpkg-deb -e "$box"/deb/*.deb "$box/deb/scripts" || return 1
	nothing_enabled || return 1
	if grep -rnE 'systemctl.*(enable|start|restart|preset)|deb-systemd' "$box"/deb/scripts/p* | grep -v 'echo "'; then return 1; fi
	same /etc/default/f3skeys "$(cat "$box/deb/scripts/conffiles")"
}

# removal ENABLED: what the scripts ask for when the package goes
removal() {
	rm -rf "$box/went"
	mkdir -p "$box/went/etc/systemd/system/zfs.target.wants" "$box/went/run" "$box/went/bin"
	[ "$1" = no ] || ln -s /nowhere "$box/went/etc/systemd/system/zfs.target.wants/f3skeys.service"
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho "$*" >>"%s"\n' "$box/went/asked" >"$box/went/bin/systemctl"
	chmod 755 "$box/went/bin/systemctl"
	for script in "prerm remove" "postrm remove"; do
		sed "s|/etc/systemd|$box/went&|; s|/run/systemd/system|$box/went/run|" \
		    "packaging/debian/${script% *}" >"$box/went/script"
		PATH=$box/went/bin:$PATH sh "$box/went/script" "${script#* }" >>"$box/went/words" 2>&1 || return 1
	done
	grep -q 'left as they are: /etc/f3skeys.ron' "$box/went/words" || return 1
	# Timers that were disabled before go on until somebody stops them.
	same "stop f3skeys-reconcile.timer f3skeys-daily.timer f3skeys-copies.timer;disable f3skeys.service f3skeys-daily.timer f3skeys-copies.timer;daemon-reload;" \
	    "$(tr '\n' ';' <"$box/went/asked")" || return 1
	case $1 in
	no) ! grep -q enabled "$box/went/words" ;;
	yes) grep -q 'still enabled' "$box/went/words" ;;
	esac
}

# ---- releases

# The same bytes from each make, and checksums that notice a change.
release() {
	rm -rf "$box/source"
	git clone -q . "$box/source" && cp Makefile "$box/source" || return 1
	make -s -C "$box/source" dist || return 1
	cp -R "$box/source/dist" "$box/source/first"
	sleep 1
	bmake -s -C "$box/source" dist || return 1
	diff -r "$box/source/first" "$box/source/dist" || return 1
	(cd "$box/source/dist" && sha256sum -c SHA256SUMS && tar -tzf f3skeys-*.tar.gz | grep -q '^f3skeys-[0-9.]*/src/main.rs$') || return 1
	echo x >>"$(echo "$box"/source/dist/f3skeys-*.tar.gz)"
	(cd "$box/source/dist" && says "did NOT match" sha256sum -c SHA256SUMS)
}

package_checks() {
	check "port: the plist is what make install puts" port_holds "$box/program"
	cross=target/x86_64-unknown-freebsd/release/f3skeys
	if [ -x "$cross" ]; then
		check "port: the plist, with the program built for FreeBSD" port_holds "$top/$cross"
	else
		echo "NOT RUN: no program built for FreeBSD is here, so its package is NOT COMPARED"
	fi
	check "port: version and crates are the source's" port_follows_the_source
	check "port: as portlint wants it" port_is_neat
	check "port: makes way for others' files, once, and loses none" port_makes_way
	native=target/release/f3skeys
	if command -v dpkg-deb >/dev/null && [ -x "$native" ]; then
		check "debian: the package is what make install puts" debian_package "$top/$native"
		check "debian: lintian has nothing to say" debian_is_neat
		check "debian: enables nothing" debian_enables_nothing
		for enabled in no yes; do
			check "debian: removal, enabled: $enabled" removal $enabled
		done
	else
		echo "NOT RUN: dpkg-deb or what \`make\` builds is not here, so the Debian package is NOT BUILT"
	fi
	if git rev-parse -q --verify HEAD >/dev/null 2>&1; then
		check "dist: the same bytes from each make, and checksums that notice" release
	else
		echo "NOT RUN: this is no git repository, so no release is made of it"
	fi
}
