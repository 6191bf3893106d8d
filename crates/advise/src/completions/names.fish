
function __drainit_names
    set -l words (commandline -opc)
    set -l where
    for at in (seq 2 (math (count $words) - 1))
        switch $words[$at]
            case WHERE
                set -a where $words[$at] $words[(math $at + 1)]
        end
    end
    drainit status -o name $where 2>/dev/null
end
