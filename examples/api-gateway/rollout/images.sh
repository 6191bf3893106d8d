#!/bin/sh
# Builds the images of `make rollout` and `make kubernetes`: a small Debian with HAProxy, a gateway with a bash
# entrypoint, and an image that ../Dockerfile builds by adding drainit to that gateway.
#
#   images.sh ENVOY
set -eu
envoy=$(realpath "$1")
cd "$(dirname "$0")/../../.."
here=examples/api-gateway/rollout
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

build() { # build NAME DIRECTORY OPTION…
    name=$1 directory=$2
    shift 2
    docker build --quiet --label drainit-test --tag "drainit-rollout-$name:latest" "$@" "$directory" >/dev/null
}

put() { # put MODE FILE PLACE
    install -D --mode "$1" "$2" "$context/gateway/root/$3"
}

$here/base-image.sh >"$context/base.tar"
docker import --change "LABEL drainit-test=" "$context/base.tar" drainit-rollout-base:latest >/dev/null
rm "$context/base.tar"

put 755 "$envoy" usr/local/bin/envoy
put 755 target/debug/examples/policy-engine app/policy-engine
put 644 examples/gateway/python_executor.py app/python-executor/main.py
put 644 examples/gateway/unix_http.py app/python-executor/unix_http.py
put 644 /dev/null app/python-executor/python_policy_registry.py
put 644 $here/envoy.yaml etc/envoy/envoy.yaml
put 644 $here/config-override.yaml etc/envoy/config-override.yaml
put 755 $here/entrypoint.sh usr/local/bin/docker-entrypoint.sh
cp $here/Dockerfile "$context/gateway"
build gateway "$context/gateway" --build-arg BASE=drainit-rollout-base:latest

mkdir "$context/binary"
cp target/static/drainit "$context/binary"
printf 'FROM scratch\nCOPY drainit /drainit\n' >"$context/binary/Dockerfile"
build binary "$context/binary"
build drainit examples/api-gateway \
    --build-arg DRAINIT=drainit-rollout-binary:latest --build-arg GATEWAY=drainit-rollout-gateway:latest
