#!/bin/sh
# The peers of drainit in the replace bench. A peer runs the server, or an Envoy, and replaces it.
#
#   peers.sh PEER missing     says what the peer needs and this machine lacks
#   peers.sh PEER run         runs the peer
#   peers.sh PEER restart     returns when the process is replaced
#   peers.sh PEER end         removes what would outlive the peer
#
# The bench sets the variables, and TOOLS is target/bench-tools.
set -eu
here=$(dirname "$0")

need() {
    command -v "$1" >/dev/null || echo "$1 is not installed"
}

children() {
    wc -w <"/proc/$1/task/$1/children"
}

case "$1 $2" in
"supervisorctl missing") need supervisord ;;
"supervisorctl run") exec supervisord -c "$here/supervisord.conf" ;;
"supervisorctl restart") exec supervisorctl -c "$here/supervisord.conf" restart server ;;

"s6 missing") need s6-svscan ;;
"s6 run")
    mkdir -p "$DIRECTORY/scan/server"
    printf '#!/bin/sh\nexec "$SERVER" "$HTTP1" "$HTTP2" "$TCP"\n' >"$DIRECTORY/scan/server/run"
    chmod +x "$DIRECTORY/scan/server/run"
    exec s6-svscan "$DIRECTORY/scan"
    ;;
"s6 restart") exec s6-svc -wr -T 60000 -r "$DIRECTORY/scan/server" ;;

"docker missing")
    test -e "$TOOLS/bench-server" || echo "the server was not built for an empty image"
    docker version >/dev/null 2>&1 || echo "no Docker"
    ;;
"docker run")
    # An image of the server alone, without a registry.
    tar -cC "$TOOLS" bench-server |
        docker import --change 'ENTRYPOINT ["/bench-server"]' --change "LABEL $LABEL=1" - drainit-test/bench-server
    exec docker run --network host --name "$NAME" --label "$LABEL=$PPID" --env START_MILLISECONDS \
        drainit-test/bench-server "$HTTP1" "$HTTP2" "$TCP"
    ;;
"docker restart") exec docker restart "$NAME" ;;
"docker end") exec docker rm --force "$NAME" ;;

"hot-restarter.py missing")
    test -e "$TOOLS/hot-restarter.py" ||
        echo "it cannot be downloaded here; on HUP it runs its script again, with the next RESTART_EPOCH"
    ;;
"hot-restarter.py run") exec python3 "$TOOLS/hot-restarter.py" "$here/envoy.sh" ;;
"hot-restarter.py restart")
    # The Envoy is replaced when the restarter has one child again.
    kill -HUP "$SUPERVISOR"
    for number in 2 1; do
        until [ "$(children "$SUPERVISOR")" = "$number" ]; do sleep 0.01; done
    done
    ;;
esac
