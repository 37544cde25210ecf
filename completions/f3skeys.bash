# bash completion of f3skeys(8).

# The flags of a verb; with "=" where a value follows.
_f3skeys_flags() {
	case $1 in
	"") echo --config= --help ;;
	adopt) echo --device= --help ;;
	backup) echo --to= --rebuild --help ;;
	boot) echo --late --root= --key-from-stdin --help ;;
	carp) echo --reconcile --help ;;
	demote) echo --help ;;
	doctor) echo --json --help ;;
	gate) echo --help ;;
	init) echo --device= --serial= --label= --overwrite= --fixed= --help ;;
	lock) echo --help ;;
	new-key) echo --for= --help ;;
	plan) echo --help ;;
	promote) echo --reason= --help ;;
	prune) echo --generation= --help ;;
	ready) echo --help ;;
	receive) echo --from= --print-authorized-keys-line --rebuild --for= --end --help ;;
	reconcile) echo --help ;;
	rehearse) echo --json --help ;;
	rotate) echo --all --plan --status --resume --abort --retire --take-over --copies= --help ;;
	status) echo --peers --json --prometheus --help ;;
	verify) echo --pools --repair --store= --json --help ;;
	version) echo --help ;;
	esac
}

_f3skeys_verbs="adopt backup boot carp demote doctor gate init lock
	new-key plan promote prune ready receive reconcile rehearse rotate
	status verify version"

_f3skeys() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local verb="" at words
	for ((at = 1; at < COMP_CWORD; at++)); do
		case ${COMP_WORDS[at]} in
		--)
			# The command of `gate` and `boot --late`.
			mapfile -t COMPREPLY < <(compgen -c -f -- "$current")
			return
			;;
		--config) ((at++)) ;;
		-*) ;;
		*) verb=${verb:-${COMP_WORDS[at]}} ;;
		esac
	done
	words=$(_f3skeys_flags "$verb")
	case " $words " in
	*" $previous= "*)
		case $previous in
		--config | --device | --fixed) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
		--store) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
		--root) _f3skeys_datasets ;;
		--for) [ "$verb" != new-key ] || _f3skeys_datasets ;;
		esac
		return
		;;
	esac
	case $verb,$current in
	*,-*) words=${words//=/} ;;
	,*) words=$_f3skeys_verbs ;;
	promote,* | demote,*)
		_f3skeys_datasets
		return
		;;
	*) words="" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

# From the pools that are imported; nothing where zfs has nothing to say.
_f3skeys_datasets() {
	mapfile -t COMPREPLY < <(compgen -W "$(zfs list -H -o name -t filesystem,volume 2>/dev/null)" -- "$current")
}

complete -F _f3skeys f3skeys
