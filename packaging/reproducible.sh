#!/bin/bash
# Makes targets of the Makefile here and once more in another directory, from the last commit, and compares every byte
# of the results: packaging/reproducible.sh TARGETS PATH…
#
# The directory, the user, the home with its copies of the dependencies and the toolchain, the time, the umask, the time
# zone, the locale and the number of jobs differ; the compiler is the same. Needs root, to become another user.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra targets <<<"$1" && shift
die() { echo "reproducible: $*" >&2 && exit 1; }

[[ $(id -u) == 0 ]] || die "needs root, to build as another user"
git diff --quiet HEAD || die "commit first: the last commit is built"
user=65534

rm -rf -- "$@"
make --no-print-directory "${targets[@]}"

there=$(mktemp -d /var/tmp/another-place.XXXXXX)
trap 'rm -rf "$there"' EXIT
git clone --quiet --no-hardlinks . "$there/deep/er/sources"
cargo=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$there/home/crates"
cp -r "$cargo/registry" "$there/home/crates/"
[[ ! -e $cargo/config.toml ]] || cp "$cargo/config.toml" "$there/home/crates/"
# Other users may be unable to enter rustup's home. The documentation is left out, because it is large.
sysroot=$(rustc --print sysroot)
mkdir "$there/toolchain"
cp -r "$sysroot/bin" "$sysroot/lib" "$there/toolchain"
# Without a network, the tools of `make release` cannot be installed there.
[[ ! -e target/release-tools ]] || { mkdir "$there/deep/er/sources/target" && cp -r target/release-tools "$_"; }
chown -R $user:$user "$there"

(
    cd "$there/deep/er/sources"
    env -i HOME="$there/home" CARGO_HOME="$there/home/crates" CARGO_NET_OFFLINE=true CARGO_BUILD_JOBS=1 \
        PATH="$there/toolchain/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
        TZ=Asia/Kathmandu LC_ALL=C.UTF-8 LANG=tr_TR.UTF-8 \
        setpriv --reuid $user --regid $user --clear-groups \
        bash -c 'umask 077; make --no-print-directory "$@"' - "${targets[@]}"
)

failed=0
for path in "$@"; do
    diff --recursive --brief "$path" "$there/deep/er/sources/$path" || failed=1
    (cd "$there/deep/er/sources" && find "$path" -type f -exec sha256sum {} +)
done
((failed == 0)) || die "the bytes differ: diffoscope shows where"
echo "reproducible: the same bytes"
