#!/bin/sh
# The off-site copy of docs/backup.md, with the real tar and age, and the program
# that is given: an archive is made, restored and verified; then each of them is
# damaged, and the verification must name what is wrong.
# One line a check; exit 1 when one fails.
# Usage: offsite.sh PROGRAM
set -u

if [ $# -ne 1 ] || [ ! -x "$1" ]; then
	echo "usage: offsite.sh PROGRAM" >&2
	exit 64
fi
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")" && pwd)
store=$here/../fixtures/store-1
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
trap 'exit 1' HUP INT TERM
umask 077
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

if ! command -v age >/dev/null; then
	{ apt-get -qq update && apt-get -qq install -y age; } >"$box/apt" 2>&1 || cat "$box/apt"
fi
command -v age >/dev/null || { echo "age is missing" >&2; exit 1; }

# A store as it is on a stick, with what file systems put beside it.
furnish() {
	cp -r "$store" "$box/keys"
	mkdir "$box/keys/lost+found" "$box/keys/.snap"
	chmod -R go= "$box/keys"
	age-keygen -o "$box/identity" 2>/dev/null
	age-keygen -o "$box/other" 2>/dev/null
	age-keygen -y "$box/identity" >"$box/recipients"
}

# The state first: so every part of it that is restored lacks what the state lists.
archive() {
	tar -cf - --exclude lost+found --exclude .snap -C "$box/keys" .f3skeys/state.ron . |
	    age -R "$box/recipients" >"$box/keys.tar.age"
}

# restore ARCHIVE IDENTITY: into an empty directory, as far as it goes.
restore() {
	rm -rf "$box/restored"
	mkdir "$box/restored"
	age -d -i "$2" "$1" >"$box/keys.tar"
	decrypted=$?
	tar -xpf "$box/keys.tar" -C "$box/restored" 2>"$box/tar"
	return $decrypted
}

verify() {
	"$program" verify --store "$box/restored" >"$box/verified" 2>&1
	status=$?
	cat "$box/verified"
	return $status
}

is_whole() {
	restore "$box/keys.tar.age" "$box/identity" && verify && diff -r "$store" "$box/restored" &&
	    grep -q "8 keys: all well" "$box/verified"
}

# names WORDS: the verification fails and says them.
names() {
	verify && { echo "verified"; return 1; }
	grep -q -F -e "$1" "$box/verified"
}

digits() { od -An -v -tx1 "$1" | tr -d ' \n'; }

no_key_in_clear() {
	digits "$box/keys.tar.age" >"$box/digits"
	for key in "$store"/*.key; do
		grep -q "$(digits "$key")" "$box/digits" && return 1
	done
	return 0
}

# refuses ARCHIVE IDENTITY: age says no, and nothing of a store is restored.
refuses() {
	restore "$1" "$2" && { echo "age has opened it"; return 1; }
	names "holds no key store"
}

# flip FILE OFFSET: one bit of it.
flip() {
	byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	# shellcheck disable=SC2059 # The format is the byte.
	printf "\\$(printf %03o $((byte ^ 1)))" |
	    dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

bad_archives() {
	size=$(wc -c <"$box/keys.tar.age")
	for at in 0 30 100 170 $((size / 2)) $((size - 1)); do
		cp "$box/keys.tar.age" "$box/bad"
		flip "$box/bad" "$at"
		check "a flipped bit at byte $at of the archive" refuses "$box/bad" "$box/identity"
	done
	for left in 0 100 $((size / 2)) $((size - 1)); do
		head -c "$left" "$box/keys.tar.age" >"$box/bad"
		check "the first $left bytes of the archive" refuses "$box/bad" "$box/identity"
	done
	check "another identity" refuses "$box/keys.tar.age" "$box/other"
}

# What a pipe from age to tar leaves when it breaks: the files before.
half_restored() {
	restore "$box/keys.tar.age" "$box/identity" || return 1
	cp "$box/keys.tar" "$box/whole.tar"
	blocks=$(($(wc -c <"$box/whole.tar") / 512))
	files=$(find "$store" -type f | wc -l)
	block=0
	while [ "$block" -lt "$blocks" ]; do
		rm -rf "$box/restored"
		mkdir "$box/restored"
		head -c $((block * 512)) "$box/whole.tar" | tar -xpf - -C "$box/restored" 2>/dev/null
		there=$(find "$box/restored" -type f | wc -l)
		diff -r "$store" "$box/restored" >/dev/null && [ "$there" -eq "$files" ] && break
		if verify >/dev/null; then
			echo "verified with $there of $files files"
			return 1
		fi
		block=$((block + 1))
	done
	echo "whole from block $block of $blocks on"
	[ "$block" -gt "$files" ] && [ "$block" -lt "$blocks" ]
}

# damaged WHAT COMMAND...: done to each file of a restored store, it is named.
damaged() {
	what=$1
	shift
	(cd "$store" && find . -type f | sed 's|^\./||') >"$box/files"
	[ "$(wc -l <"$box/files")" -eq 17 ] || return 1
	while read -r file; do
		restore "$box/keys.tar.age" "$box/identity" || return 1
		"$@" "$box/restored/$file" || return 1
		names "$file" || { echo "$what of $file is not named"; return 1; }
	done <"$box/files"
}

flip_first() { flip "$1" 0; }
flip_in() { flip "$1" 17; }
flip_last() { flip "$1" $(($(wc -c <"$1") - 1)); }
cut_short() { head -c 31 "$1" >"$box/part" && cat "$box/part" >"$1"; }
make_longer() { printf x >>"$1"; }

check "a store, two identities" furnish
chmod -R u+w "$box/keys"
check "tar and age make an archive" archive
check "no key is in it in clear" no_key_in_clear
check "restored, it is the same, and verified" is_whole
bad_archives
check "half of it restored, at every block" half_restored
for how in flip_first flip_in flip_last cut_short make_longer "rm -f"; do
	# shellcheck disable=SC2086 # A command with its option.
	check "every file of a restored copy: $how" damaged "$how" $how
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
