#!/bin/sh
# Writes the file system of an image with a Debian package, as a tar for `docker import`:
#
#   package-image.sh PACKAGE > image.tar
#
# It copies the package that is installed on this machine, in place of an image that cannot be pulled.
set -eu
files=$(mktemp)
trap 'rm -f "$files"' EXIT
"$(dirname "$0")/package-files.sh" "$1" >"$files"
tar --create --no-recursion --directory / --files-from "$files"
