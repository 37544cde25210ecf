# Builds, installs and removes f3skeys; with GNU make or FreeBSD's.
#
#	make && make install		as root; nothing changes until it is enabled
#	make install DESTDIR=/root/of/a/package FLAGS=--stage
#	make dist			the source of a release and its checksums
#
# PREFIX	of the program, manual pages and completions; by default /usr/local
#		on FreeBSD and /usr on Linux.  Give it to every target alike: the
#		program knows where it is.
# FLAGS		for install.sh: "--with stunnel,k3s,kubelet" puts more services
#		behind gates (Linux), --stage is for packages
# F3SKEYS_OS	freebsd or linux, where it is not this system's
# PROGRAM	what to install, where it was built elsewhere
#
# What is put where, and taken away again, is install.sh's alone.

CARGO?=		cargo
DESTDIR?=
PREFIX?=
FLAGS?=
F3SKEYS_OS?=
PROGRAM?=	target/release/f3skeys
INSTALLER=	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" F3SKEYS_OS="$(F3SKEYS_OS)" ./install.sh

all: build

build:
	prefix="$(PREFIX)"; [ -z "$$prefix" ] || export F3SKEYS_PROGRAM="$$prefix/sbin/f3skeys"; \
	$(CARGO) build --release --locked

install:
	$(INSTALLER) $(FLAGS) "$(PROGRAM)"

uninstall:
	$(INSTALLER) --uninstall

# All that needs no root, no ZFS and no virtual machine; .ci/run does more.
check: build
	$(CARGO) test --locked
	tests/hooks/check.sh

VERSION=	sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1

# The source of a release, as it is committed; the same bytes wherever it is made.
dist:
	mkdir -p dist
	version=$$($(VERSION)); \
	git archive --prefix="f3skeys-$$version/" HEAD | gzip -9n >"dist/f3skeys-$$version.tar.gz"
	$(MAKE) checksums

# Of everything that lies there to be published; sha256sum -c checks it.
checksums:
	cd dist && rm -f SHA256SUMS && sha256sum f3skeys* >SHA256SUMS && cat SHA256SUMS

# A Debian package of what `make` has built.
deb:
	packaging/debian/build "$(PROGRAM)" dist

.PHONY: all build install uninstall check dist checksums deb
