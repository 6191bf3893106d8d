#!/bin/bash
# Prepares a patch release if an advisory touches the last release: packaging/rebuild.sh DATABASE BUILT-WITH
#
# DATABASE is a checkout of RustSec's advisory-db. BUILT-WITH is the file of that name of the last release, whose tag must
# be checked out. Prints the advisories. If there are any, changes Cargo.toml, Cargo.lock and CHANGELOG.md, and writes the
# new version to target/next-version. Fails if an advisory is left after the update: then somebody must decide.
set -euo pipefail
cd "$(dirname "$0")/.."
database=$1
rust=$(sed -n 's/^rustc \([0-9.]*\).*/\1/p' "$2")
mkdir -p target && rm -f target/next-version
reasons=$(packaging/advisories.py "$database" Cargo.lock "$rust")
[[ -n $reasons ]] || { echo "no advisory touches this release"; exit 0; }
echo "$reasons"
now=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
next=${now%.*}.$((${now##*.} + 1))
# Only what an advisory names changes. An advisory about Rust names no package of Cargo.lock.
while read -r _ name version _; do
    if grep -q "^name = \"$name\"$" Cargo.lock; then
        cargo update --quiet "$name@${version%,}"
    fi
done <<<"$reasons"
# The version of the workspace, and of its crates in `dependencies`.
sed -i "s/version = \"${now//./\\.}\"/version = \"$next\"/" Cargo.toml
cargo metadata --quiet --format-version 1 >/dev/null
cargo update --quiet --workspace --manifest-path tests/fuzz/Cargo.toml
python3 - "$next" "$reasons" <<'END'
import datetime, pathlib, sys
page = pathlib.Path("CHANGELOG.md")
head, rest = page.read_text().split("\n## [", 1)
lines = "".join(f"- {reason}\n" for reason in sys.argv[2].splitlines())
page.write_text(f"{head}\n## [{sys.argv[1]}] - {datetime.date.today()}\n\n### Security\n\nBuilt again, because of\n\n{lines}\n## [{rest}")
END
left=$(packaging/advisories.py "$database" Cargo.lock "$(rustc --version | cut -d' ' -f2)")
[[ -z $left ]] || { printf 'still touched after the update:\n%s\n' "$left" >&2; exit 1; }
echo "$next" >target/next-version
