#!/bin/bash
# Builds two commits from clean clones up to the demo's table, one after the other, and prints the seconds of a processor
# and of a clock: of `make build`, of `make demo`, and of both, and the ratio of the processor's: benches/build.sh [OLD [NEW]]
#
# OLD is the commit before builds became short, and NEW the last commit. Crates and Envoy are downloaded before. Fails if
# NEW needs more than half of the processor's seconds, or more than 110 s of the clock, which needs two idle cores, or if
# it compiles a crate twice. target/build-old.log and target/build-new.log have the output.
set -euo pipefail
cd "$(dirname "$0")/.."
old=${1:-d3cd27ed} new=${2:-HEAD}
place=$(mktemp -d /var/tmp/builds.XXXXXX)
trap 'rm -rf "$place"' EXIT

# A line for each make target: the commit, the target, and its seconds.
measure() {
    local log=$PWD/target/build-$1.log
    : >"$log"
    git clone --quiet --no-hardlinks . "$place/clone"
    git -C "$place/clone" checkout --quiet "$(git rev-parse "$2")"
    (cd "$place/clone" && cargo fetch --quiet --locked && mkdir target && cp -r "$OLDPWD/target/envoy" target/)
    for target in build demo; do
        (cd "$place/clone" && TIMEFORMAT='%U %S %R' && time make "$target" >>"$log" 2>&1) 2>"$place/time" || { cat "$log" >&2 && exit 1; }
        echo "$2 $target $(<"$place/time")"
    done
    rm -rf "$place/clone"
}
before=$(measure old "$old")
after=$(measure new "$new")
awk '{ at = (NR > 2); cpu[at] += $3 + $4; clock[at] += $5 }
     { printf "%s, make %s: %.0f s of a processor, %.0f s\n", $1, $2, $3 + $4, $5 }
     NR % 2 == 0 { printf "%s, both: %.0f s of a processor, %.0f s\n", $1, cpu[at], clock[at] }
     END { printf "ratio: %.2f, and at most 0.50 is promised; %.0f s, and at most 110 s\n", cpu[1] / cpu[0], clock[1]
           exit cpu[1] > cpu[0] / 2 || clock[1] > 110 }' <<<"$before
$after" || failed=1
twice=$(grep -o 'Compiling [^ ]* v[^ ]*' target/build-new.log | sort | uniq -d)
[[ -z $twice ]] || { echo "compiled twice: $twice" && failed=1; }
exit "${failed:-0}"
