#!/bin/bash
# The recipe that many images use: on SIGTERM, this script asks Envoy to drain, sleeps, and then ends Envoy.
#
#   recipe.sh SECONDS ADMIN_PORT ENVOY ARGS…
set -u
seconds=$1
admin=$2
shift 2

stop() {
    trap '' TERM
    exec 3<>"/dev/tcp/127.0.0.1/$admin"
    printf 'POST /drain_listeners?graceful HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' >&3
    echo "POST /drain_listeners?graceful: $(head -n 1 <&3)"
    exec 3>&-
    sleep "$seconds"
    kill -TERM "$envoy"
    wait "$envoy"
    exit 0
}

"$@" &
envoy=$!
trap stop TERM
wait "$envoy"
