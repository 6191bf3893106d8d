#!/bin/sh
# Writes the file system of an image with the test helper `child`, as a tar for `docker import`:
# child-image.sh CHILD > child.tar
#
# It contains the helper and the libraries that it is linked to, and no shell.
set -eu
child=$1
ldd "$child" | grep -o '/[^ :]*\.so[^ :]*' | sort -u |
    tar --create --absolute-names --dereference --transform "s,^$child\$,child,;s,^/,," --files-from - "$child"
