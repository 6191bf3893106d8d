#!/bin/sh
# Writes the file system of an image with a real Envoy, as a tar for `docker import`:
# envoy-image.sh ENVOY CONFIG > envoy.tar
#
# It replaces envoyproxy/envoy where no image can be pulled: it has the executable and its config at the same paths, and
# the libraries that Envoy is linked to. It has no shell, because neither drainit nor Envoy needs one.
set -eu
envoy=$1 config=$2
ldd "$envoy" | grep -o '/[^ :]*\.so[^ :]*' | sort -u |
    tar --create --absolute-names --dereference \
        --transform "s,^$envoy\$,usr/local/bin/envoy,;s,^$config\$,etc/envoy/envoy.yaml,;s,^/,," \
        --files-from - "$envoy" "$config"
