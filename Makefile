# Builds, installs and removes f3skeys; with GNU make or FreeBSD's.
#
#	make && make install		as root; nothing changes until it is enabled
#	make install DESTDIR=/root/of/a/package FLAGS=--stage
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
check:
	$(CARGO) test --locked
	tests/hooks/check.sh

.PHONY: all build install uninstall check
