#!/bin/sh
# Creates the directory for the files of nginx, expands the variables in its config and writes it there.
set -eu
mkdir -p "${NGINX_RUN_DIR:?}"
rm -f "$NGINX_RUN_DIR/draining" "$NGINX_RUN_DIR/tls.conf" # left by an earlier run
for name in NGINX_RUN_DIR NGINX_ADDRESS NGINX_PORT APP_PORT; do
    eval "value=\$$name"
    echo "s|\${$name}|$value|g"
done > "$NGINX_RUN_DIR/variables.sed"
sed -f "$NGINX_RUN_DIR/variables.sed" "$(dirname "$0")/nginx.conf" > "$NGINX_RUN_DIR/nginx.conf"
