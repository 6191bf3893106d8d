#!/bin/bash
# Builds the static binary of the last commit again, and compares it with this one: packaging/reproducible.sh BINARY
#
# The directory, the user, the home with its copies of the dependencies, the umask, the time zone and the locale differ;
# the compiler is the same. Needs root, to become another user.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$PWD/$1
[[ $(id -u) == 0 ]] || { echo "reproducible: needs root, to build as another user" >&2; exit 1; }
if ! git diff --quiet HEAD; then echo "reproducible: commit first: the last commit is built" >&2; exit 1; fi
user=65534

there=$(mktemp -d /var/tmp/another-place.XXXXXX)
trap 'rm -rf "$there"' EXIT
git clone --quiet --no-hardlinks . "$there/deep/er/sources"
cargo=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$there/home/crates"
cp -r "$cargo/registry" "$there/home/crates/"
[[ ! -e $cargo/config.toml ]] || cp "$cargo/config.toml" "$there/home/crates/"
chown -R $user:$user "$there"
# rustup's home is where it was, and may be the root user's own, which nobody else can enter.
toolchain=$(rustc --print sysroot)
cp -r "$toolchain" "$there/toolchain"

cd "$there/deep/er/sources"
env -i HOME="$there/home" CARGO_HOME="$there/home/crates" PATH="$there/toolchain/bin:/usr/bin:/bin" CARGO="${CARGO:-cargo}" \
    TZ=Asia/Kathmandu LC_ALL=C.UTF-8 LANG=tr_TR.UTF-8 CARGO_BUILD_JOBS=1 \
    setpriv --reuid $user --regid $user --clear-groups \
    bash -c 'umask 077; make --no-print-directory static CARGO="$CARGO"'

sha256sum "$binary" target/static/drainit
cmp "$binary" target/static/drainit && echo "reproducible: the same bytes"
