#!/bin/sh
# Stops a container under load, as Kubernetes does, and reports the failed requests. For the CI of an image:
#
#   examples/rehearse.sh IMAGE PORT [PATH]                    an image, with Docker
#   examples/rehearse.sh --command PORT [PATH] -- COMMAND…    a program of this machine, as PID 1 of a namespace
#
# The script needs wrk (Debian: `apt install wrk`). Variables, with their defaults:
#
#   GRACE=30           terminationGracePeriodSeconds: after this time comes SIGKILL
#   MAX_FAILED=0       the rehearsal fails above this number of failed requests,
#   MAX_SECONDS=GRACE  and if the stop takes longer than this
#   CLIENTS=50         clients, which keep their connections unless they are asked to close them
#   AFTER=3            seconds of traffic after SIGTERM: in a cluster, each node learns late that the pod leaves
#   PRE_STOP=          the command of a preStop hook, such as `drainit drain`; images only
#   DOCKER_OPTIONS=    further options of `docker run`
#
# No second container takes the load over, so AFTER has to be shorter than `min` of a drain (5 s). Requests that take
# longer than AFTER are not counted if the stop cuts them.
set -eu
usage() { sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2 && exit 2; }
[ "$#" -ge 2 ] || usage
command -v wrk >/dev/null || { echo "wrk is needed: apt install wrk" >&2 && exit 2; }
grace=${GRACE:-30} most=${MAX_FAILED:-0} longest=${MAX_SECONDS:-${GRACE:-30}} after=${AFTER:-3}
case $1 in
--command)
    image='' port=$2 path=/ && shift 2
    case ${1:-} in /*) path=$1 && shift ;; esac
    [ "${1:-}" = -- ] && [ "$#" -ge 2 ] || usage
    shift
    # A program that listens on the port would answer in place of the command.
    listener=$(printf '^ *[0-9]*: [0-9A-F]*:%04X [0-9A-F:]* 0A ' "$port") || usage
    if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "$listener"; then
        echo "another program listens at port $port already" >&2
        exit 2
    fi
    ;;
*) image=$1 port=$2 path=${3:-/} ;;
esac
for number in "$grace" "$most" "$longest" "$after" "${CLIENTS:-50}"; do
    case $number in '' | *[!0-9]* | 0?*) echo "$number is not a whole number such as 8: see GRACE, MAX_FAILED, MAX_SECONDS, AFTER and CLIENTS" >&2 && exit 2 ;; esac
done
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

if [ "$image" ]; then
    # Docker names the container in the file even if the program of the container cannot start.
    trap '{ docker rm --force "$(cat "$work/id")"; } >/dev/null 2>&1 || true; rm -r "$work"' EXIT
    container=$(docker run --detach --cidfile "$work/id" --stop-timeout "$grace" \
        --env "TERMINATION_GRACE_PERIOD_SECONDS=$grace" --env "DRAINIT_GRACE_PERIOD=$grace" \
        --publish "127.0.0.1::$port" ${DOCKER_OPTIONS:-} "$image")
    address=$(docker port "$container" "$port/tcp" 2>/dev/null) || {
        docker logs --tail 5 "$container" >&2
        echo "rehearsal failed: the container has ended, or does not publish port $port" >&2
        exit 1
    }
else
    user=--map-root-user
    [ "$(id -u)" != 0 ] || user=
    TERMINATION_GRACE_PERIOD_SECONDS=$grace DRAINIT_GRACE_PERIOD=$grace unshare $user --pid --fork --mount-proc --kill-child -- "$@" \
        >"$work/log" 2>&1 &
    outer=$!
    trap 'kill -KILL "$outer" 2>/dev/null || true; rm -r "$work"' EXIT
    address=127.0.0.1:$port
fi

hook=
runs() {
    if [ "$image" ]; then
        [ "$(docker inspect --format '{{.State.Running}}' "$container")" = true ]
    else
        init=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) && [ "$init" ]
    fi
}

stop() {
    if [ "$image" ]; then
        asked=$(date +%s)
        # Kubernetes waits for the hook until 2 s after the grace period. The stop then goes on, even if the hook has
        # failed.
        [ -z "${PRE_STOP:-}" ] || timeout "$((grace + 2))" docker exec "$container" $PRE_STOP || case $? in
        124) hook="was still running after $((grace + 2)) s" ;;
        *) hook="has failed with code $?" ;;
        esac
        # The hook uses a part of the grace period, but leaves at least 2 s.
        left=$((grace - ($(date +%s) - asked)))
        [ "$left" -ge 2 ] || left=2
        docker stop --time "$left" "$container" >/dev/null
        docker logs "$container" >"$work/log" 2>&1
        code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
    else
        kill -TERM $init
        (for second in $(seq "$grace"); do sleep 1; done && kill -KILL $init) >/dev/null 2>&1 &
        killer=$!
        code=0 && wait "$outer" 2>/dev/null || code=$?
        kill "$killer" 2>/dev/null || code=137
    fi
}

give_up() {
    [ -z "$image" ] || docker logs "$container" >"$work/log" 2>&1
    tail -n 5 "$work/log" >&2
    echo "rehearsal failed: $1" >&2
    exit 1
}
# Each attempt may take longer than the previous attempt, because an answer may take seconds.
answers() { wrk --threads 1 --connections 1 --duration "$1s" "http://$address$path" 2>/dev/null | grep -q '^  [1-9].*requests in'; }
for second in $(seq 11); do
    runs || [ "$second" = 1 ] || give_up "it has ended before it was stopped"
    ! answers "$second" || break
    [ "$second" != 11 ] || give_up "no answer at http://$address$path"
    sleep 1
done
wrk --threads 1 --connections "${CLIENTS:-50}" --duration $((3 + after))s --timeout $((3 + after))s \
    "http://$address$path" >"$work/load" &
load=$!
sleep 3
runs || give_up "it has ended before it was stopped"
began=$(date +%s%3N)
stop
took=$(($(date +%s%3N) - began))
wait "$load"

# The numbers of wrk. A connection that ends without an announcement is a read or a write error.
count() { sed -n "s/.*$1.*/\\1/p" "$work/load" | grep . || echo 0; }
cut=$(($(count 'read \([0-9]*\)') + $(count 'write \([0-9]*\)')))
failed=$((cut + $(count 'connect \([0-9]*\)') + $(count 'timeout \([0-9]*\)') + $(count 'Non-2xx or 3xx responses: \([0-9]*\)')))
answered=$(count ' \([0-9]*\) requests in')
echo "requests: $answered answered, $failed failed; connections: $cut cut"
echo "time to stop: $((took / 1000)).$(printf %03d $((took % 1000))) s of $grace s, exit code $code"
sed -n '/stopped in /,$p' "$work/log" | grep . || { echo "no report of drainit; the last lines of the log:" && tail -n 5 "$work/log"; }

verdict=0
fail() { echo "rehearsal failed: $1" >&2 && verdict=1; }
[ -z "$hook" ] || fail "the preStop hook $hook"
[ "$answered" -gt 0 ] || fail "no request was answered: raise AFTER above the time of an answer"
[ "$failed" -le "$most" ] || fail "$failed requests failed while the container was stopped, of at most $most"
[ "$took" -le $((longest * 1000)) ] || fail "the stop took longer than $longest s"
case $code in
0 | 143) ;; # 143: a program that does not handle SIGTERM
137) fail "something had to be killed" ;;
*) fail "the exit code is $code" ;;
esac
exit "$verdict"
