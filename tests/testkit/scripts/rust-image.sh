#!/bin/sh
# Writes the file system of an image that builds drainit, as a tar for `docker import`: rust-image.sh > rust.tar
#
# It replaces rust:1-bookworm where no image can be pulled. It is assembled, in seconds, from this machine's tools: the
# Debian packages of make, cc and a static libc, the Rust toolchain, and the sources of the locked dependencies. A build
# in it needs no network.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

{
    tests/testkit/scripts/package-files.sh dash coreutils sed make gcc libc6-dev
    printf '%s\n' etc/alternatives/cc usr/bin/cc tmp
} >"$scratch/system"

drainit=$PWD
sysroot=$(rustc --print sysroot)
cd "$sysroot"
find bin/cargo bin/rustc lib/*.so* lib/rustlib/"$(uname -m)"*-linux-* -type f >"$scratch/toolchain"

cd "$drainit"
cargo vendor --quiet --locked "$scratch/cargo/vendor" >/dev/null
cat >"$scratch/cargo/config.toml" <<'END'
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/usr/local/cargo/vendor"
END

tar --create --no-recursion --exclude 'lib?*san.*' --exclude '*_rt.*san.a' --exclude '*lto-dump*' --transform 's,^(bin|lib)/,usr/local/\1/,xS' --transform 's,^cargo,usr/local/cargo,S' \
    --directory / --files-from "$scratch/system" --directory "$sysroot" --files-from "$scratch/toolchain" \
    --directory "$scratch" --recursion cargo
