#!/usr/bin/env bash
# Runs each target for some seconds: run.sh PROGRAM SECONDS [TARGET…]. target/fuzz/found keeps inputs that fail, and
# target/fuzz/corpus keeps inputs that reach new code. MERGE=1 packs the corpus beside this script anew. The new corpus
# has each old input whose name is a word. All other inputs, old and new, are reduced to a smallest set that reaches the
# same code.
#
# A file of the corpus has all inputs of one target. Each input has a line with its name and its length in bytes, the
# bytes, and a line break. `src/fuzzing/tests.rs` also reads this format.
set -euo pipefail
program=$(realpath "$1") seconds=$2
shift 2
here=$(realpath "$(dirname "$0")")
out=$(realpath target/fuzz)
mkdir -p "$out/found"
[[ $# -gt 0 ]] || set -- $(ls "$here/corpus")

# unpack FILE DIRECTORY
unpack() {
    rm -rf "$2" && mkdir -p "$2"
    while read -r name length; do
        head -c "$length" >"$2/$name"
        read -r
    done <"$1"
}

# pack DIRECTORY FILE
pack() {
    for input in "$1"/*; do
        name=${input##*/}
        [[ ${#name} -lt 40 ]] || name=${name:0:8} # its SHA-1
        echo "$name $(stat -c %s "$input")"
        cat "$input"
        echo
    done >"$2"
}

failed=0
for target; do
    kept=$out/kept/$target new=$out/corpus/$target
    unpack "$here/corpus/$target" "$kept"
    mkdir -p "$new"
    # The limits: seconds for one input, megabytes for the process, megabytes for one allocation, bytes of an input. The
    # seconds are those of the clock, and a busy machine may stall a process for 10 s.
    limits=(-timeout=30 -rss_limit_mb=768 -malloc_limit_mb=256 -max_len=4096)
    export DRAINIT_FUZZ_TARGET=$target
    if "$program" "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$out/found/$target-" "$new" "$kept" >"$out/$target.log" 2>&1; then
        awk -v target="$target" '/number_of_executed_units/ { printf "%-10s %12d inputs", target, $2 }
            /peak_rss_mb/ { printf ", %d MB\n", $2 }' "$out/$target.log"
    else
        failed=1
        echo "$target fails; see $out/$target.log" >&2
        tail -n 20 "$out/$target.log" >&2
    fi
    if [[ -n ${MERGE:-} ]]; then
        fewest=$out/fewest/$target
        rm -rf "$fewest" && mkdir -p "$fewest"
        find "$kept" -type f -regex '.*/[a-z-]*' -exec cp {} "$fewest" \;
        "$program" "${limits[@]}" -merge=1 -use_counters=0 "$fewest" "$kept" "$new" >"$out/$target.merge.log" 2>&1
        pack "$fewest" "$here/corpus/$target"
    fi
done
exit $failed
