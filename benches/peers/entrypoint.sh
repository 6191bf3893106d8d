#!/bin/bash
# Runs the bash entrypoint of examples/api-gateway/rollout with the bench's processes: entrypoint.sh CHILD DIR [ARGS…]
set -u

child=$1
dir=$2
shift 2

log() { echo "[ent] $(date '+%F %T') $*"; }

prefix() { while IFS= read -r line; do echo "[$1] $line"; done; }

wait_for() { # socket, seconds
    for ((i = 0; i < $2; i++)); do
        [[ -S $1 ]] && return
        sleep 1
    done
    log "no socket $1 after $2 s"
    exit 1
}

shutdown() {
    log "stopping"
    for pid in "$router" "$policy" "$python"; do
        kill -TERM "$pid" 2>/dev/null
        wait "$pid"
    done
    rm -f "$dir"/*.sock
    exit 0
}

serve() { exec "$child" serve "$1" "$dir/log" "socket=$dir/$1.sock" "${@:2}"; }

serve python-executor "$@" > >(prefix pye) 2> >(prefix pye >&2) &
python=$!
wait_for "$dir/python-executor.sock" 15
serve policy-engine "$@" > >(prefix pol) 2> >(prefix pol >&2) &
policy=$!
wait_for "$dir/policy-engine.sock" 10
serve router "$@" > >(prefix rtr) 2> >(prefix rtr >&2) &
router=$!

trap shutdown TERM INT QUIT
wait -n "$router" "$policy" "$python"
code=$?
log "a child has ended with $code"
kill -TERM "$python" "$policy" "$router" 2>/dev/null
wait
exit $code
