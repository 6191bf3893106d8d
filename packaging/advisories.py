#!/usr/bin/env python3
"""Names the advisories that touch a Cargo.lock or a version of Rust: packaging/advisories.py DATABASE LOCK RUST

DATABASE is a checkout of RustSec's advisory-db: an advisory is a Markdown file that begins with a block of TOML. RUST is
the version of the toolchain, such as 1.90.0. Prints a line for each advisory, and nothing if there is none.
"""

import pathlib
import re
import sys
import tomllib


def version(text):
    """The numbers of a version; a missing number is 0. A pre-release counts as its release."""
    numbers = [int(number) for number in re.match(r"\d+(?:\.\d+)*", text)[0].split(".")]
    return tuple((numbers + [0, 0])[:3])


def satisfies(found, requirement):
    """Whether a version satisfies a requirement of Cargo, such as `>= 1.2.3, < 2` or `^0.4.1`."""
    for part in requirement.split(","):
        sign, text = re.match(r"\s*(>=|<=|>|<|=|\^|~)?\s*(\S+)", part).groups()
        least = version(text)
        if sign in (None, "^"):
            first = next((at for at, number in enumerate(least) if number), 2)
            holds = found >= least and found[: first + 1] == least[: first + 1]
        elif sign == "~":
            holds = found >= least and found[:2] == least[:2]
        else:
            holds = {">=": found >= least, "<=": found <= least, ">": found > least, "<": found < least, "=": found == least}[sign]
        if not holds:
            return False
    return True


def advisories(database):
    for path in sorted(database.glob("*/*/*.md")):
        block = re.match(r"(?s)```toml\n(.*?)\n```", path.read_text())
        if block:
            yield path.parent.parent.name, tomllib.loads(block[1])


def main(database, lock, rust):
    packages = [(package["name"], package["version"]) for package in tomllib.loads(pathlib.Path(lock).read_text())["package"]]
    for collection, found in advisories(pathlib.Path(database)):
        advisory, versions = found["advisory"], found.get("versions", {})
        # A crate without a maintainer is no reason to build again, and a withdrawn advisory was wrong.
        if "withdrawn" in advisory or advisory.get("informational", "unsound") != "unsound":
            continue
        harmless = versions.get("patched", []) + versions.get("unaffected", [])
        name = advisory["package"]
        # The collection `rust` is about the toolchain: the standard library, cargo, rustdoc.
        candidates = [(name, rust)] if collection == "rust" else [it for it in packages if it[0] == name]
        for _, text in candidates:
            if not any(satisfies(version(text), requirement) for requirement in harmless):
                print(f"{advisory['id']}: {name} {text}, patched in {', '.join(versions.get('patched', [])) or 'no version'}")


if len(sys.argv) != 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
