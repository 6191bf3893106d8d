#!/bin/sh
# Creates the directory for the sockets, which no other user can enter, expands the variables in the config of Envoy and
# writes it there: prepare.sh [CONFIG]
#
# CLUSTERS is a number of clusters to add, which no request uses. Like a large Envoy, Envoy then takes long to list its
# statistics.
set -eu
mkdir -p -m 700 "${GATEWAY_RUN_DIR:?}"
python3 -c 'import os, sys; sys.stdout.write(os.path.expandvars(sys.stdin.read()))' \
    < "${1:-$(dirname "$0")/envoy.yaml}" > "$GATEWAY_RUN_DIR/envoy.yaml"
for number in $(seq "${CLUSTERS:-0}"); do
    echo "    - {name: idle-$number, type: STATIC}"
done >> "$GATEWAY_RUN_DIR/envoy.yaml"
