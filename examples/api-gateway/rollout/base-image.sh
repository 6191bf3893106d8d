#!/bin/sh
# Writes the file system of a small Debian with what a gateway with a bash entrypoint needs, and HAProxy, as a tar for
# `docker import`: base-image.sh > base.tar
#
# From the files of this machine, on which the packages must be installed: it stands for an image that cannot be pulled.
set -eu
cd "$(dirname "$0")/../../.."
files=$(mktemp)
trap 'rm -f "$files"' EXIT
tests/testkit/scripts/package-files.sh bash dash coreutils tini curl gettext-base python3 haproxy >"$files"
printf '%s\n' etc/passwd etc/group tmp >>"$files"
tar --create --no-recursion --directory / --files-from "$files"
