
_drainit_names() {
    local -a names where
    local at
    for ((at = 2; at < CURRENT - 1; at++)); do
        case $words[at] in
            WHERE) where+=($words[at] $words[at+1]) ;;
        esac
    done
    names=(${(f)"$(drainit status -o name $where 2>/dev/null)"})
    compadd -a names
}
