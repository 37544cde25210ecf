# shellcheck shell=sh disable=SC2154
# The completions in the shells that they are for: loaded without a word, and what
# Tab makes of a begun line.  That they know every flag is tests/completions.rs's.
# Part of check.sh.

# A zfs that has three datasets, and no other program that could answer.
completion_world() {
	rm -rf "$box/comp"
	mkdir -p "$box/comp/bin" "$box/comp/dir.d"
	printf '#!/bin/sh\nprintf "zdata\\nzdata/enc\\nzroot\\n"\n' >"$box/comp/bin/zfs"
	printf '#!/bin/sh\n' >"$box/comp/bin/f3skeys"
	chmod 755 "$box"/comp/bin/*
	: >"$box/comp/file.ron"
}

# bash_says LINE: the completions of its last word, sorted
bash_says() {
	# shellcheck disable=SC2016
	(cd "$box/comp" && PATH=$box/comp/bin:$PATH bash --norc --noprofile -c '
		source "$1" || exit 1
		[[ $(complete -p f3skeys) == "complete -F _f3skeys f3skeys" ]] || exit 1
		read -ra COMP_WORDS <<<"$2"
		[[ $2 != *" " ]] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_f3skeys
		printf "%s\n" "${COMPREPLY[@]}"' bash "$top/completions/f3skeys.bash" "$1" 2>&1) | LC_ALL=C sort | paste -s -d ' ' -
}

fish_says() {
	(cd "$box/comp" && HOME=$box/comp PATH=$box/comp/bin:$PATH fish --no-config -c \
	    "source $top/completions/f3skeys.fish; complete -C '$1'" 2>&1) | cut -f 1 | LC_ALL=C sort | paste -s -d ' ' -
}

# zsh_says LINE: an interactive zsh, a real Tab on the line, and what it becomes; or,
# where there are several, what is listed.
zsh_says() {
	cat >"$box/comp/tab.zsh" <<'ZSH'
zmodload zsh/zpty
zpty tab zsh -f -i
zpty -w tab "PS1= PS2= RPS1=; stty -echo; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; unsetopt ALWAYS_LAST_PROMPT AUTO_MENU; setopt LIST_ROWS_FIRST NO_BEEP NO_AUTO_REMOVE_SLASH; bindkey -e; zstyle ':completion:*' list-colors ''; zstyle ':completion:*' verbose no; zstyle ':completion:*' list-packed no; LISTMAX=1000; show() { print -r -- \"LINE[\$BUFFER]\"; zle kill-whole-line; }; zle -N show; bindkey '^X' show; print READY"
while zpty -r tab line; do [[ $line == *READY* && $line != *print* ]] && break; done
zpty -n -w tab "$2"$'\t\C-x'
while zpty -r tab line; do
	line=${line//$'\e'\[[0-9;?]#[a-zA-Z]/}
	line=${line//[$'\r\n']/}
	print -r -- "$line"
	[[ $line == *LINE\[* ]] && break
done
zpty -d tab
ZSH
	(cd "$box/comp" && HOME=$box/comp PATH=$box/comp/bin:$PATH TERM=dumb timeout 30 \
	    zsh -f -o extendedglob "$box/comp/tab.zsh" "$top/completions" "$1" 2>&1)
}

bash_checks() {
	same "backup boot" "$(bash_says "f3skeys b")" &&
	    same "--root" "$(bash_says "f3skeys boot --r")" &&
	    same "--json" "$(bash_says "f3skeys --config x status --j")" &&
	    same "verify version" "$(bash_says "f3skeys --config file.ron ve")" &&
	    same "file.ron" "$(bash_says "f3skeys --config fi")" &&
	    same "dir.d" "$(bash_says "f3skeys verify --store d")" &&
	    same "zdata zdata/enc" "$(bash_says "f3skeys boot --root zd")" &&
	    same "zroot" "$(bash_says "f3skeys promote zr")" &&
	    same "" "$(bash_says "f3skeys status x")" &&
	    same "f3skeys" "$(bash_says "f3skeys gate nfs -- f3sk")"
}

fish_checks() {
	same "backup boot" "$(fish_says "f3skeys b")" &&
	    same "--root" "$(fish_says "f3skeys boot --r")" &&
	    same "zdata zdata/enc" "$(fish_says "f3skeys boot --root zd")" &&
	    same "zroot" "$(fish_says "f3skeys promote zr")" &&
	    same "" "$(fish_says "f3skeys status --roo")"
}

zsh_line() { # BEGUN WANTED
	zsh_says "$1" >"$box/comp/screen"
	grep -qF "LINE[$2]" "$box/comp/screen" || { cat -v "$box/comp/screen"; return 1; }
}

zsh_checks() {
	zsh_line "f3skeys boo" "f3skeys boot " &&
	    zsh_line "f3skeys boot --roo" "f3skeys boot --root " &&
	    zsh_line "f3skeys --config file.ron reh" "f3skeys --config file.ron rehearse " &&
	    zsh_line "f3skeys promote zr" "f3skeys promote zroot " &&
	    zsh_line "f3skeys status --roo" "f3skeys status --roo" &&
	    zsh_line "f3skeys gate nfs -- f3sk" "f3skeys gate nfs -- f3skeys " || return 1
	if grep -qi 'error\|not found\|_arguments:' "$box/comp/screen"; then cat "$box/comp/screen"; return 1; fi
}

completion_checks() {
	completion_world
	for sh in bash zsh fish; do
		if need $sh $sh; then
			check "completion in $sh: verbs, flags, values" ${sh}_checks
		else
			echo "NOT RUN: $sh is not here, so its completion is NOT TRIED"
		fi
	done
}
