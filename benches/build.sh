#!/bin/bash
# Builds two commits from clean clones up to the demo's table, one after the other, and prints the seconds of a processor
# and of a clock, and the ratio of the former: benches/build.sh [OLD [NEW]]
#
# OLD is the commit before builds became short, and NEW the last commit. Crates and Envoy are downloaded before. The
# clock's seconds need idle cores.
set -euo pipefail
cd "$(dirname "$0")/.."
old=${1:-d3cd27ed} new=${2:-HEAD}
place=$(mktemp -d /var/tmp/builds.XXXXXX)
trap 'rm -rf "$place"' EXIT

measure() {
    git clone --quiet --no-hardlinks . "$place/clone"
    git -C "$place/clone" checkout --quiet "$(git rev-parse "$1")"
    (cd "$place/clone" && cargo fetch --quiet --locked && mkdir target && cp -r "$OLDPWD/target/envoy" target/)
    (cd "$place/clone" && TIMEFORMAT='%U %S %R' && time make build demo >"$place/log" 2>&1) 2>"$place/time" || { cat "$place/log" >&2 && exit 1; }
    rm -rf "$place/clone"
    awk '{ printf "%.0f %.0f\n", $1 + $2, $3 }' "$place/time"
}
before=$(measure "$old")
after=$(measure "$new")
awk -v names="$old $new" '{ split(names, name); seconds[NR] = $1; printf "%s: %d s of a processor, %d s\n", name[NR], $1, $2 }
     END { printf "ratio: %.2f, and at most 0.50 is promised\n", seconds[2] / seconds[1]; exit seconds[2] > seconds[1] / 2 }' <<<"$before
$after"
