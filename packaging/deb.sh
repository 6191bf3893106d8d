#!/bin/sh
# Packs a static binary with its manual page and completions: packaging/deb.sh BINARY ARCH OUTPUT_DIR
#
# The binary writes these pages itself.
#
# An equal binary gives an equal package: all times are the time of the last commit.
set -eu
binary=$1 arch=$2 output=$3
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
maintainer=${DEB_MAINTAINER:-The drainit authors <drainit@users.noreply.github.com>}
# A binary of another architecture writes its pages in an emulator.
case $arch in
amd64) emulator=qemu-x86_64-static ;;
arm64) emulator=qemu-aarch64-static ;;
*) echo "no emulator is known for $arch" >&2 && exit 1 ;;
esac
[ "$arch" != "$(dpkg --print-architecture)" ] || emulator=

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -D "$binary" "$root/usr/bin/drainit"
share=$root/usr/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/vendor-completions" \
    "$share/fish/vendor_completions.d" "$share/doc/drainit" "$share/lintian/overrides" "$root/DEBIAN"
$emulator "$binary" man | gzip -9n >"$share/man/man1/drainit.1.gz"
$emulator "$binary" completions bash >"$share/bash-completion/completions/drainit"
$emulator "$binary" completions zsh >"$share/zsh/vendor-completions/_drainit"
$emulator "$binary" completions fish >"$share/fish/vendor_completions.d/drainit.fish"
gzip -9n <CHANGELOG.md >"$share/doc/drainit/changelog.gz"
gzip -9n >"$share/doc/drainit/changelog.Debian.gz" <<END
drainit ($version-1) unstable; urgency=medium

  * Version $version; changelog.gz tells what is new.

 -- $maintainer  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
cat >"$share/doc/drainit/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2026 The drainit authors
License: Apache-2.0
 On Debian systems the text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
END
cat >"$share/lintian/overrides/drainit" <<END
# The package comes from drainit's own releases, so no bug of Debian asks for the package.
drainit: initial-upload-closes-no-bugs
# The binary is a static PIE, which needs no library.
drainit: shared-library-lacks-prerequisites
END
cat >"$root/DEBIAN/control" <<END
Package: drainit
Version: $version-1
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Section: admin
Priority: optional
Description: init that drains before it stops, for containers
 drainit is PID 1 of a container. It starts a graph of processes in dependency
 order. When the container is asked to stop, it drains Envoy first, waits for
 the requests in flight, and then stops the processes, dependents before their
 dependencies, inside the pod's grace period.
END
chmod -R u=rwX,go=rX "$root"
mkdir -p "$output"
dpkg-deb --root-owner-group --build "$root" "$output/drainit_${version}-1_$arch.deb"
