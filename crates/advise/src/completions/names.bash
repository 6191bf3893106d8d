
_drainit_names() {
    _drainit "$@"
    case "${COMP_WORDS[1]}" in
        COMMANDS) ;;
        *) return ;;
    esac
    if [[ $3 == -s || $3 == --signal ]]; then
        COMPREPLY=( $(compgen -W "SIGNALS" -- "$2") )
    elif [[ $2 != -* && $3 != -* ]]; then
        # bash makes three words of `--socket=PATH`.
        local at value where=()
        for ((at = 2; at < COMP_CWORD - 1; at++)); do
            value=$((at + 1))
            [[ ${COMP_WORDS[value]} == = ]] && value=$((at + 2))
            case "${COMP_WORDS[at]}" in
                WHERE) where+=("${COMP_WORDS[at]}" "${COMP_WORDS[value]}") ;;
            esac
        done
        COMPREPLY=( $(compgen -W "$("$1" status -o name "${where[@]}" 2>/dev/null)" -- "$2") )
    fi
}
complete -F _drainit_names -o bashdefault -o default drainit
