#!/bin/sh
# Creates the directory for the sockets, which no other user can enter, expands the variables in the config of Envoy and
# writes it there: prepare.sh [CONFIG]
set -eu
mkdir -p -m 700 "${GATEWAY_RUN_DIR:?}"
python3 -c 'import os, sys; sys.stdout.write(os.path.expandvars(sys.stdin.read()))' \
    < "${1:-$(dirname "$0")/envoy.yaml}" > "$GATEWAY_RUN_DIR/envoy.yaml"
