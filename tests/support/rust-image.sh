#!/bin/sh
# Writes the file system of an image that builds drainit, as a tar for `docker import`: rust-image.sh > rust.tar
#
# Where images can be pulled, rust:1-bookworm is that image. Without a registry it is put together, in seconds, from
# what this machine compiles with: the files of the Debian packages behind make, cc and a static libc, this Rust
# toolchain, and the sources of the locked dependencies. A build in it needs no network.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The packages, and all installed ones that they depend on.
dpkg-query -W -f '${binary:Package}\t${Provides}\t${Depends}, ${Pre-Depends}\n' | awk -F '\t' '
    function bare(name) { gsub(/\(.*|:.*|[[:space:]]/, "", name); return name }
    function visit(name,   i, n, all) {
        if (!(name in depends)) name = provider[name]
        if (!(name in depends) || name in seen) return
        seen[name]; print package[name]
        n = split(depends[name], all, /[,|]/)
        for (i = 1; i <= n; i++) visit(bare(all[i]))
    }
    { name = bare($1); package[name] = $1; depends[name] = $3
      n = split($2, all, ","); for (i = 1; i <= n; i++) provider[bare(all[i])] = name }
    END { n = split("dash coreutils sed make gcc libc6-dev", all, " "); for (i = 1; i <= n; i++) visit(all[i]) }
' >"$scratch/packages"

# Their files, where they really are: dpkg still says /lib/… where /lib is a link to /usr/lib.
drainit=$PWD
cd /
{
    xargs dpkg -L <"$scratch/packages" | grep -E '^/(usr|bin|sbin|lib|lib64)/' | grep -v '^/usr/share/' |
        sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,; s,^/,,' | sort -u |
        while read -r path; do [ ! -f "$path" ] || echo "$path"; done
    printf '%s\n' bin sbin lib lib64 etc/alternatives/cc usr/bin/cc tmp
} >"$scratch/system"

sysroot=$(rustc --print sysroot)
cd "$sysroot"
find bin/cargo bin/rustc lib/*.so* lib/rustlib/*-linux-* -type f >"$scratch/toolchain"

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
