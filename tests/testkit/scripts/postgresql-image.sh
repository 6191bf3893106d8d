#!/bin/sh
# Writes the file system of an image with PostgreSQL, gunicorn and psycopg2, as a tar for `docker import`:
# postgresql-image.sh > postgresql.tar
#
# It copies the packages that are installed on this machine, in place of an image that cannot be pulled. The compiler
# for queries (LLVM), which is loaded on demand, and perl, which only Debian's wrappers need, are left out.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
version=$(ls /usr/lib/postgresql | tail -n 1)
"$(dirname "$0")/package-files.sh" "postgresql-$version" gunicorn python3-psycopg2 dash coreutils |
    grep -vE 'LLVM|libz3|llvmjit|/bitcode/|perl' >"$scratch/system"
(cd / && find "usr/share/postgresql/$version" usr/share/zoneinfo/Etc -type f) >>"$scratch/system"

mkdir -p "$scratch/root/etc" "$scratch/root/tmp" "$scratch/root/run/postgresql" "$scratch/root/var/lib/postgresql"
echo 'root:x:0:0::/root:/bin/sh
postgres:x:101:101::/var/lib/postgresql:/bin/sh' >"$scratch/root/etc/passwd"
echo 'root:x:0:
postgres:x:101:' >"$scratch/root/etc/group"
chmod 1777 "$scratch/root/tmp" "$scratch/root/run/postgresql" "$scratch/root/var/lib/postgresql"
tar --create --no-recursion --directory / --files-from "$scratch/system" --recursion --directory "$scratch/root" .
