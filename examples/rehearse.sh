#!/bin/sh
# Stops a container under load, and fails if a request fails. For the CI of an image:
#
#   examples/rehearse.sh IMAGE PORT [PATH]
#
# needs Docker and wrk (Debian: `apt install wrk`). DOCKER_OPTIONS has further options of `docker run`.
#
# 50 clients keep their connections and send requests for 6 s. After 3 s the container is stopped. An image that drains
# serves for `min` (5 s) more, answers every request, and tells each client to close. The load ends within these
# 5 s, because there is no second container here that would take the load over. The last lines are for you to read: the report of
# drainit says how long the drain took and whether a request was cut.
set -eu
image=$1 port=$2 path=${3:-/}
container=$(docker run --detach --stop-timeout 30 --env TERMINATION_GRACE_PERIOD_SECONDS=30 \
    --publish "127.0.0.1::$port" ${DOCKER_OPTIONS:-} "$image")
trap 'docker rm --force "$container" >/dev/null' EXIT
address=$(docker port "$container" "$port/tcp")
for _ in $(seq 60); do
    wrk --threads 1 --connections 1 --duration 1s "http://$address$path" | grep -q '^  [1-9].*requests in' && break
done

load=$(mktemp)
wrk --threads 1 --connections 50 --duration 6s "http://$address$path" >"$load" &
sleep 3
docker stop --time 30 "$container" >/dev/null
wait $!
docker logs --tail 5 "$container"
if grep -E 'Socket errors|Non-2xx|^  0 requests' "$load"; then
    echo "requests failed while the container was stopped" >&2
    exit 1
fi
grep 'requests in' "$load"
