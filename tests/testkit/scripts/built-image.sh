#!/bin/sh
# Writes the file system of an image in which `make static` copies this drainit, as a tar for `docker import`:
# built-image.sh DRAINIT > built.tar
#
# It replaces rust:1-bookworm where the binary exists already, so that the rest of Dockerfile.example is tested in
# seconds. tests/testkit/scripts/rust-image.sh writes the image in which drainit is compiled.
set -eu
drainit=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tests/testkit/scripts/package-files.sh dash coreutils >"$scratch/system"
mkdir -p "$scratch/usr/local/bin" "$scratch/usr/local/lib"
cp "$drainit" "$scratch/usr/local/lib/drainit"
cat >"$scratch/usr/local/bin/make" <<'END_OF_MAKE'
#!/bin/sh
set -e
[ "$*" = static ] && [ -f Cargo.lock ]
mkdir -p target/static
cp /usr/local/lib/drainit target/static/
END_OF_MAKE
chmod 755 "$scratch/usr/local/bin/make"
tar --create --no-recursion --directory / --files-from "$scratch/system" \
    --directory "$scratch" --recursion usr/local/bin usr/local/lib
