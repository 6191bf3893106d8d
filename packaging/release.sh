#!/bin/bash
# Makes everything that a release publishes, in target/release-files, and checks it: packaging/release.sh
#
# `make release` runs this script twice, and the release workflow uploads the result. Anybody can run the script and compare the checksums.
# TAG is the tag to release. By default, TAG is the tag that fits Cargo.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
tag=${TAG:-v$version}
out=$PWD/target/release-files
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

step() { printf '\n== %s\n' "$*"; }
die() { echo "release: $*" >&2 && exit 1; }

step "the tag, Cargo.toml and the changelog agree"
[[ $tag == "v$version" ]] || die "the tag is $tag, and Cargo.toml has version $version: change one of them"
[[ -z ${TAG:-} ]] || grep -q "^## \[$version\]" CHANGELOG.md || die "CHANGELOG.md has no section [$version]"
rm -rf "$out" && mkdir -p "$out"

for arch in x86_64:amd64 aarch64:arm64; do
    debian=${arch#*:} arch=${arch%:*}
    step "$debian: the static binary, with the list of its dependencies in it, and the package"
    make --no-print-directory static deb ARCH="$arch" CARGO=packaging/auditable.sh
    static=target/static
    [[ $arch == "$(uname -m)" ]] || static=target/static/$arch
    install -D "$static/drainit" "$out/drainit-$version-linux-$debian"
    mv "target/deb/drainit_$version-1_$debian.deb" "$out"
    lintian --allow-root --fail-on error,warning "$out/drainit_$version-1_$debian.deb"
    binary=drainit-$version-linux-$debian
    rust-audit-info "$out/$binary" | python3 -c '
import json, sys
packages = {package["name"]: package["version"] for package in json.load(sys.stdin)["packages"]}
print(len(packages), "packages are listed in the binary")
sys.exit(packages.get("drainit") != sys.argv[1] or "tokio" not in packages)
' "$version" || die "the list of dependencies in $binary is not that of this version"
done

# Without tests: no machine of these architectures runs them. A release has all of them.
for arch in riscv64:riscv64 s390x:s390x powerpc64le:ppc64le; do
    name=drainit-$version-linux-${arch#*:} arch=${arch%:*}
    step "$arch: the static binary"
    if ! make --no-print-directory libstd ARCH="$arch"; then
        [[ -z ${TAG:-} ]] || die "a release needs $arch"
        echo "left out: $name"
        continue
    fi
    make --no-print-directory static ARCH="$arch" CARGO=packaging/auditable.sh
    install -D "target/static/$arch/drainit" "$out/$name"
done

step "the bill of materials"
cargo cyclonedx --quiet --format json --spec-version 1.5 --target all --override-filename drainit-sbom
# Removes the directory of this checkout, so that the file is the same everywhere.
sed "s#path+file://$PWD#path+file:///src#g" drainit-sbom.json >"$out/drainit-$version.cdx.json"
find . -name drainit-sbom.json -not -path './target/*' -delete
! grep -F "$PWD" "$out/drainit-$version.cdx.json" || die "the bill of materials names this directory"

step "one image for both architectures"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
list=drainit-release-$$
buildah manifest create "$list" >/dev/null
for arch in amd64 arm64; do
    container=$(buildah from --arch "$arch" scratch)
    buildah copy --quiet --chmod 755 "$container" "$out/drainit-$version-linux-$arch" /drainit >/dev/null
    buildah config --arch "$arch" --os linux --entrypoint '["/drainit"]' --cmd '' \
        --label org.opencontainers.image.title=drainit --label "org.opencontainers.image.version=$version" \
        --label org.opencontainers.image.licenses=Apache-2.0 \
        --label "org.opencontainers.image.revision=$(git rev-parse HEAD)" "$container"
    buildah commit --quiet --rm --timestamp "$SOURCE_DATE_EPOCH" --manifest "$list" "$container" >/dev/null
done
buildah manifest push --quiet --all "$list" "oci:$out/drainit-$version-image:$version" >/dev/null
buildah manifest rm "$list" >/dev/null
skopeo inspect --raw "oci:$out/drainit-$version-image:$version" |
    python3 -c 'import json, sys; print(*sorted(m["platform"]["architecture"] for m in json.load(sys.stdin)["manifests"]))' |
    grep -qx 'amd64 arm64' || die "the image is not of both architectures"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$out/drainit-$version-image" \
    -cf "$out/drainit-$version-oci.tar" .
rm -r "$out/drainit-$version-image"

step "the crates, installed and documented from what is packed"
# In another directory, because no directory above may be a workspace.
crate=$(mktemp -d)
trap 'rm -rf "$crate"' EXIT
mkdir "$crate/.cargo" && echo "[patch.crates-io]" >"$crate/.cargo/config.toml"
names=$(cd crates && for name in *; do echo "drainit-$name"; done)
# shellcheck disable=SC2086
cargo package --quiet --locked --allow-dirty --no-verify $(printf -- '--package %s ' $names drainit)
for name in $names drainit; do
    cp "target/package/$name-$version.crate" "$out"
    tar --extract --gzip --file "$out/$name-$version.crate" --directory "$crate"
    # The registry has these crates only after the release.
    [[ $name == drainit ]] || echo "$name.path = \"$crate/$name-$version\"" >>"$crate/.cargo/config.toml"
done
export CARGO_TARGET_DIR=$PWD/target/package
(
    cd "$crate/drainit-$version"
    # In the lock, only the source of these crates changes.
    cargo metadata --quiet --offline --format-version 1 >/dev/null
    cargo install --quiet --locked --debug --path . --root "$crate"
    # Builds the documentation as docs.rs does.
    RUSTDOCFLAGS="--cfg docsrs --deny warnings" cargo doc --quiet --locked --no-deps --lib
)
[[ $("$crate/bin/drainit" --version) == "drainit $version" ]] || die "what the crate installs is not drainit $version"

step "checksums, and what the bytes depend on besides the sources"
{ rustc --version; cc --version; for gcc in /usr/bin/*-linux-gnu*-gcc; do "$gcc" --version; done; dpkg-deb --version; gzip --version; buildah --version; } |
    grep -E '[0-9]+\.[0-9]+' >"$out/BUILT-WITH"
cat "$out/BUILT-WITH"
(cd "$out" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
