#!/bin/sh
# Writes the file system of an image with a real Envoy, as a tar for `docker import`: envoy-image.sh ENVOY CONFIG > envoy.tar
#
# It stands for envoyproxy/envoy where no image can be pulled: the executable and its config where that image has them,
# and the libraries that it is linked to. No shell: neither drainit nor Envoy needs one.
set -eu
envoy=$1 config=$2
ldd "$envoy" | grep -o '/[^ :]*\.so[^ :]*' | sort -u |
    tar --create --absolute-names --dereference \
        --transform "s,^$envoy\$,usr/local/bin/envoy,;s,^$config\$,etc/envoy/envoy.yaml,;s,^/,," \
        --files-from - "$envoy" "$config"
