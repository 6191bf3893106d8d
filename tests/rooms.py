#!/usr/bin/env python3
"""Checks that each room of the code imports only the rooms that its page permits. docs/dev/architecture.md draws the
parts of drainit, and crates/core/src/lib.rs draws the modules of the core.

In a drawing, `a → b, c` lets a import b, c, and all rooms that b and c may import. `a + b` may import each other.

Checks, too, that the modules of a crate do not import each other in a circle, and that the probe and drainit use nothing
of each other.
"""

import collections
import pathlib
import re
import sys

import size

CORE = pathlib.Path("crates/core/src")
CRATES = {f"drainit_{name}": name for name in ("advise", "commands", "config", "core", "journal", "os")}
# Crates with several parts. All other crates are one part.
PARTS_OF = {"core": {"graph", "types"}, "config": {"check", "keys", "known", "language", "load", "plan"}}
# Names that belong to no room: the derive macros, and files that only join modules.
FREE = {"drainit_derive", "prelude", "lib", "main", "testing"}

# Modules that may import each other: a form reads its value by the reader, which reads the forms of keys; a script can
# start commands, which can start scripts; a reload is one of the operations, and gives goals to processes.
CIRCLES = ({"keys::key", "keys::neighbours", "keys::reader"}, {"kubernetes::commands", "kubernetes::entry"}, {"phase::operations", "phase::reload"})


def drawing(page):
    """The rooms that each room may import, by the first drawing with arrows of a page."""
    text = re.sub(r"(?m)^//! ?", "", pathlib.Path(page).read_text())
    block = next(it for it in re.findall(r"(?s)```text\n(.*?)```", text) if "→" in it and "│" not in it)
    direct = collections.defaultdict(set)
    for line in re.split(r"\n|   +", block.strip()):
        groups = [[group.split(" + ") for group in part.split(", ")] for part in line.strip().split(" → ")]
        for left, right in zip(groups, [*groups[1:], []]):
            for circle in left:
                for room in circle:
                    direct[room] |= set(circle) | {name for it in right for name in it}
    known = set()
    while known != (known := {(room, to) for room in direct for to in reach(direct, room)}):
        pass
    return set(direct), known


def reach(direct, room):
    """The room, and all rooms that it may import."""
    seen, ahead = {room}, [room]
    while ahead:
        new = direct[ahead.pop()] - seen
        seen |= new
        ahead += new
    return seen


def imports(code):
    """The paths in the code, each as a list of names that begins with `crate` or with the name of a crate."""
    text = re.sub(r"use (\w+)::\{([^;]*)\};", spread, "\n".join(code))
    for path in re.findall(r"\b((?:crate|drainit_\w+)(?:::\w+)+)", text):
        yield path.split("::")


def spread(match):
    names = re.sub(r"::\{[^{}]*\}", "", match[2]).split(",")
    return "".join(f"use {match[1]}::{name.strip()};\n" for name in names if name.strip())


def room_of_core(rooms, names):
    return "::".join(names[:2]) if "::".join(names[:2]) in rooms else names[0]


def room_of_part(crate, names):
    """The part to which a module of a crate belongs; `crate` is empty for src/."""
    return names[0] if not crate or names[0] in PARTS_OF.get(crate, ()) else crate


def broken():
    parts, may_import = drawing("docs/dev/architecture.md")
    modules, may_use = drawing(CORE / "lib.rs")
    for path, code in production():
        crate = path.parts[1] if path.parts[0] == "crates" else ""
        own = [*path.with_suffix("").parts[3 if crate else 1 :]]
        own = own[:-1] if own[-1] == "mod" else own
        if crate == "derive" or path.parts[0] == "probe" or own[0] in FREE:
            continue
        for base, *names in imports(code):
            if base in FREE or names[0] in FREE:
                continue
            if base == "crate" and crate == "core":
                pair = room_of_core(modules, own), room_of_core(modules, names)
                yield from wrong(path, pair, modules, may_use, "crates/core/src/lib.rs")
            of = "core" if crate == "config" and names[0] in PARTS_OF["core"] else CRATES.get(base, crate)
            to = CRATES.get(f"drainit_{names[0]}", "") if base == "crate" and crate == "config" else ""
            pair = room_of_part(crate, own), to or room_of_part(of, names)
            yield from wrong(path, pair, parts, may_import, "docs/dev/architecture.md")


def entangled():
    """What the probe uses of drainit, and what drainit uses of the probe."""
    for path in [*pathlib.Path("probe").rglob("*.rs"), pathlib.Path("probe/Cargo.toml")]:
        if re.search(r"\b(drainit[_-]\w+|testkit)\b", path.read_text()):
            yield f"{path}: the probe uses drainit, and would no longer be a witness"
    for path in [pathlib.Path("Cargo.toml"), *pathlib.Path("crates").glob("*/Cargo.toml")]:
        if re.search(r"(?m)^pid1-probe\b|path = \"[./]*probe\"", path.read_text()):
            yield f"{path}: drainit uses the probe, and the probe would no longer be a witness"


def circles():
    """The modules of each crate that import each other. A module and the modules inside of it count as one."""
    crates = collections.defaultdict(dict)
    for path, code in production():
        root = {"crates": 3, "probe": 2}.get(path.parts[0], 1)
        own = [*path.with_suffix("").parts[root:]]
        own = own[:-1] if own[-1] in {"mod", "lib", "main"} else own
        crates[path.parts[:root]]["::".join(own)] = ["::".join(names) for base, *names in imports(code) if base == "crate"]
    for modules in crates.values():
        direct = {module: set(targets(modules, module)) for module in modules}
        for module in modules:
            circle = {other for other in reach(direct, module) if module in reach(direct, other)}
            if len(circle) > 1 and module == min(circle) and not any(circle <= known for known in CIRCLES):
                yield f"these modules import each other in a circle: {', '.join(sorted(circle))}"


def targets(modules, module):
    """The modules that a module imports, without those that it is in and those that are in it."""
    for name in modules[module]:
        while name and name not in modules:
            name = name.rpartition("::")[0]
        if name and not f"{name}::".startswith(f"{module}::") and not f"{module}::".startswith(f"{name}::"):
            yield name


def wrong(path, pair, rooms, permitted, page):
    for room in pair:
        if room not in rooms:
            yield f"{path}: {page} does not draw `{room}`"
    if rooms.issuperset(pair) and pair not in permitted:
        yield f"{path}: `{pair[0]}` imports `{pair[1]}`, which {page} does not permit"


def production():
    """Each file that is not a test, with its code."""
    files = {path: size.split(size.code(path.read_text())) for root in ("src", "crates", "probe/src") for path in pathlib.Path(root).rglob("*.rs")}
    tests = set()
    for path, (_, _, declared) in files.items():
        folder = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
        tests |= {folder / f"{name}.rs" for name in declared} | {folder / name for name in declared}
    for path, (code, _, _) in files.items():
        if path not in tests and not any(parent in tests or parent.name == "tests" for parent in path.parents):
            yield path, code


sys.exit("\n".join(sorted({*broken(), *circles(), *entangled()})) or 0)
