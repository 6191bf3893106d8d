#!/bin/sh
# What it costs to have an init around one process: drainit against tini, dumb-init and catatonit, in one run.
#
#   benches/exec.sh [DRAINIT]      target/static/drainit unless given, which `make static` makes
#
# Needs the Debian packages tini, dumb-init, catatonit and hyperfine. RUNS and IDLE (seconds) may be set.
# Ends with 1 where drainit starts slower than tini (median, and 2 % for noise), wakes up while idle, or has more than
# 400 KiB of private memory.
set -eu

drainit=${1:-$(dirname "$0")/../target/static/drainit}
runs=${RUNS:-500}
idle=${IDLE:-5}
limit=400

for tool in tini dumb-init catatonit hyperfine; do
    command -v $tool >/dev/null || { echo "no $tool: apt-get install tini dumb-init catatonit hyperfine" >&2; exit 2; }
done
[ -x "$drainit" ] || { echo "no $drainit: run make static" >&2; exit 2; }

dir=$(mktemp -d)
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || :; done; rm -r "$dir"' EXIT
# A name and an init in each line; the command follows.
cat >"$dir/inits" <<END
drainit exec|$drainit exec --
drainit exec -e 143|$drainit exec -e 143 --
drainit as tini|$dir/tini -s --
drainit as dumb-init|$dir/dumb-init
tini|tini -s --
tini-static|tini-static -s --
dumb-init|dumb-init
catatonit|catatonit
END
ln -s "$(readlink -f "$drainit")" "$dir/tini"
ln -s "$(readlink -f "$drainit")" "$dir/dumb-init"

# Start and end of `true`. hyperfine takes one command after the other, so a noisy minute would hit one only: several
# rounds, and the median of all.
rounds=5
set --
while IFS='|' read -r _ init; do set -- "$@" "$init /bin/true"; done <"$dir/inits"
for round in $(seq $rounds); do
    hyperfine -N -w 50 -r $((runs / rounds)) --export-json "$dir/$round.json" "$@" /bin/true >/dev/null 2>&1
done
samples() { # the place of a command, from 0
    for round in $(seq $rounds); do
        tr -d ' \n' <"$dir/$round.json" | sed 's/{"command"/\n&/g' | sed -n "$(($1 + 2))p" |
            sed 's/.*"times":\[\([^]]*\)\].*/\1/' | tr ',' '\n'
        echo
    done | grep . | sort -g
}
median() { samples "$1" | awk '{t[NR] = $1} END {printf "%.3f", 1000 * t[int((NR + 1) / 2)]}'; }
least() { samples "$1" | awk 'NR == 1 {printf "%.3f", 1000 * $1}'; }

# Idle: context switches of the init over some seconds, and the memory that is its own.
switches() { awk '/ctxt_switches/ {n += $2} END {print n}' "/proc/$1/status"; }
private() { # KiB: anonymous memory, and pages of files that were written to
    awk '/^(Private_Dirty|Swap):/ {n += $2} END {print n}' "/proc/$1/smaps_rollup"
}

printf '%-22s %12s %10s %10s %9s %8s\n' '' 'median ms' 'least ms' 'wakeups/s' 'private' 'threads'
number=0
failed=
while IFS='|' read -r name init; do
    median=$(median $number) least=$(least $number)
    number=$((number + 1))
    $init sleep 3600 </dev/null >/dev/null 2>&1 &
    pid=$!
    pids="$pids $pid"
    sleep 0.3
    before=$(switches $pid)
    sleep "$idle"
    wakeups=$(echo "$before $(switches $pid) $idle" | awk '{printf "%.1f", ($2 - $1) / $3}')
    memory=$(private $pid)
    threads=$(awk '/^Threads/ {print $2}' /proc/$pid/status)
    kill "$pid"
    printf '%-22s %12s %10s %10s %6s KiB %8s\n' "$name" "$median" "$least" "$wakeups" "$memory" "$threads"
    case $name in
    'drainit exec') ours=$median
        [ "$wakeups" = 0.0 ] || failed="$failed it wakes up;"
        [ "$memory" -le $limit ] || failed="$failed it has $memory KiB of its own;" ;;
    tini) echo "$ours $median" | awk '{exit !($1 > 1.02 * $2)}' && failed="$failed it starts slower than tini;" ;;
    esac
done <"$dir/inits"
printf '%-22s %12s %10s\n' 'nothing at all' "$(median $number)" "$(least $number)"
[ -z "$failed" ] || { echo "drainit exec:$failed" >&2; exit 1; }
