#!/bin/sh
# Writes a tar archive for `docker import` with a small Debian, the tools of a gateway with a bash entrypoint, and
# HAProxy: base-image.sh > base.tar
#
# No image is pulled: the script copies the files of this machine, on which the packages must be installed.
set -eu
cd "$(dirname "$0")/../../.."
files=$(mktemp)
trap 'rm -f "$files"' EXIT
tests/testkit/scripts/package-files.sh bash dash coreutils tini curl gettext-base python3 haproxy >"$files"
printf '%s\n' etc/passwd etc/group tmp >>"$files"
tar --create --no-recursion --directory / --files-from "$files"
