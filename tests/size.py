#!/usr/bin/env python3
"""Counts the Rust lines of each room, without blank lines and comments: production, and tests. Adds up the lines of the
four products that the rooms make. Counts the types, the names that several types have, and the words of the docs: those
for users, and those for developers. The words of docs/measured do not count, because make targets write its figures.
Counts, too, what the design of the rooms limits: the parts of the core's state, and names that do not tell the role.

Code counts as a test if it is compiled only for tests or for fuzzing, or is below tests/, benches/ or examples/.
Usage: tests/size.py [--check] [DIRECTORY]

With --check, prints only the limits that are exceeded, and fails if there are any.
"""

import collections
import pathlib
import re
import sys

ARGUMENTS = [it for it in sys.argv[1:] if it != "--check"]
ROOT = pathlib.Path(ARGUMENTS[0] if ARGUMENTS else ".").resolve()
TEST = re.compile(r'#\[(cfg\((all\(|any\()?(test\b|feature = "fuzzing")|test\]|tokio::test)')
MODULE = re.compile(r"(?:pub(?:\(\w+\))? )?mod (\w+);")
# Rooms of production that never run in PID 1: what advises runs as a command beside it, except the look at the image,
# which a reload needs, and derive runs in the compiler.
NEVER_PID_1 = ("crates/advise", "crates/derive")
AT_A_RELOAD = "crates/advise/image"
# The products and their paths. A path without an ending is a directory. All other production is the init.
PRODUCTS = {
    # The commands that look at a cluster, an image or a config before the container runs, and all words of advice.
    "adviser": """
        crates/advise crates/config/src/known
        crates/config/src/check/bootstrap.rs crates/config/src/check/image.rs crates/config/src/check/known_programs.rs
        crates/config/src/check/own_work.rs crates/config/src/check/shared_addresses.rs
        crates/config/src/check/shell_child.rs crates/config/src/check/undrained.rs
        crates/config/src/keys/neighbours.rs crates/config/src/language/script.rs
        src/cli/check.rs src/cli/tools.rs""",
    # How a running drainit is replaced in parts: reloads, new instances beside old ones, hot restarts, watched files.
    "deployer": """
        crates/config/src/check/hot_restart.rs crates/config/src/keys/watch.rs crates/config/src/plan/changes.rs
        crates/config/src/plan/placement.rs crates/config/src/plan/refused.rs crates/config/src/plan/reload.rs
        crates/core/src/family.rs crates/core/src/family crates/core/src/phase/reload.rs
        crates/core/src/phase/replace.rs crates/core/src/slots.rs crates/journal/src/rehearsal.rs
        crates/os/src/fingerprint.rs src/cli/reload.rs src/supervisor/executor/epochs.rs
        src/supervisor/executor/reload.rs src/supervisor/executor/validation.rs src/supervisor/tasks/file_watch.rs
        src/supervisor/tasks/reload.rs src/supervisor/slots.rs src/supervisor/sockets.rs""",
    # How an operator sees a running drainit, and asks it.
    "cockpit": """
        crates/journal src/control src/cli/ask.rs src/cli/control_address.rs src/cli/drain.rs src/cli/health.rs
        src/cli/operate.rs src/cli/progress.rs src/cli/shutdown.rs src/cli/status.rs src/cli/width.rs
        src/supervisor/status.rs""",
}
# The most lines of each product, of `check --pod` and of some files, and the most of other things that are counted. A
# limit above its goal is the present size: it may only become smaller.
LIMITS = {
    "init": 30840,  # goal: 26000
    "adviser": 5200,
    "cockpit": 4700,
    "deployer": 2900,
    "crates/advise/kubernetes": 2000,
    "crates/config/src/plan/mermaid.rs": 80,
    "crates/config/src/plan/reload.rs": 120,
    "crates/core/src/phase/operations.rs": 450,
    "src/grpc.rs": 110,
    "fields of the core's State": 22,
    "methods of the core's State": 97,
    "types and functions whose names do not tell the role": 0,
    "words of docs/dev": 9000,
}
MOST_TESTS = 46646  # goal: 40000, and at most 1.05 for each line of production
UNCLEAR = re.compile(r"(?:struct|enum) (?:AnyOf|Form|Line|Record|UnderWay|Wait)\b|\bfn (?:ended|failed|given|shown)\b")
TYPE = re.compile(r"(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union) (\w+)")


def code(text):
    """The lines that are neither blank nor a comment."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("//")]


def split(lines):
    """The lines of production, the lines of tests, and the modules that are declared for tests."""
    production, tests, modules = [], [], []
    depth, opened, is_test = 0, False, False
    for line in lines:
        if not is_test and TEST.match(line):
            depth, opened, is_test = 0, False, True
        (tests if is_test else production).append(line)
        if is_test and not line.startswith("#["):
            depth += line.count("{") - line.count("}")
            opened |= "{" in line
            if module := MODULE.match(line):
                modules.append(module[1])
            is_test = depth > 0 or not (opened or line.endswith((";", ",")))
    return production, tests, modules


def files():
    for path in sorted(ROOT.rglob("*.rs")):
        if not {"target", ".git"} & set(path.relative_to(ROOT).parts):
            yield path


def books():
    """The pages for users (the pages of the summary without the changes), the pages before a first rollout, the pages
    of docs/dev, and the decisions."""
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    links = lambda text: [(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", text)]
    first = summary.split("# Before a first rollout\n")[1].split("\n# ")[0]
    pages = links(summary)
    below = lambda folder: [page for page in pages if page.parent == ROOT / "docs" / folder]
    developers, decisions = below("dev"), below("dev/decisions")
    others = {*developers, *decisions, *below("measured"), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"}
    users = [page for page in pages if page not in others]
    return users, [ROOT / "README.md", *links(first)], developers, decisions


def words(pages):
    """Counts what a reader sees as text: no comments, no charts, and no signs of tables."""
    unseen = re.compile(r"(?s)<!--.*?-->|```mermaid.*?```")
    text = " ".join(unseen.sub("", page.read_text()) for page in pages)
    return sum(1 for word in text.split() if any(character.isalnum() for character in word))


def product(place):
    """The product to which a file belongs. The first product that names the file, or a directory of it, has the file."""
    places = {str(place), *map(str, place.parents)}
    return next((name for name, paths in PRODUCTS.items() if places & set(paths.split())), "init")


def state_of_core():
    """The numbers of fields and of methods of the core's `State`."""
    text = "".join(path.read_text() for path in (ROOT / "crates/core/src").rglob("*.rs"))
    inside = lambda head: "".join(re.findall(rf"(?ms)^{head} \{{\n(.*?)^\}}", text))
    fields = re.findall(r"(?m)^    (?:pub(?:\(\w+\))? )?\w+: ", inside("pub struct State"))
    return len(fields), len(re.findall(r"(?m)^    (?:pub(?:\(\w+\))? )?fn ", inside("impl State")))


def over(counts, tests):
    """The limits that are exceeded, and the paths of products that do not exist."""
    for name, limit in LIMITS.items():
        if counts[name] > limit:
            yield f"tests/size.py: {name}: {counts[name]}, and may be {limit}"
        if limit and not counts[name]:
            yield f"tests/size.py: {name} is not there"
    if tests > MOST_TESTS:
        yield f"tests/size.py: there are {tests} lines of tests, and may be {MOST_TESTS}"
    for name, paths in PRODUCTS.items():
        yield from (f"tests/size.py: {path} of {name} does not exist" for path in paths.split() if not (ROOT / path).exists())


def main():
    parts = {path: split(code(path.read_text())) for path in files()}
    test_files = set()
    for path, (_, _, modules) in parts.items():
        folder = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
        for module in modules:
            test_files |= {folder / f"{module}.rs", folder / module / "mod.rs", folder / module}
    production, tests, types, names, products, counts = (collections.Counter() for _ in range(6))
    for path, (code_lines, test_lines, _) in parts.items():
        place = path.relative_to(ROOT)
        is_test = bool({"tests", "benches", "examples", "fuzz"} & set(place.parts))
        is_test |= path in test_files or any(parent in test_files for parent in path.parents)
        room = "/".join(part for part in place.with_suffix("").parts[:-1] if part != "src")
        room = "/".join(room.split("/")[: 3 if room.startswith("crates") else 1]) or place.stem
        production[room] += 0 if is_test else len(code_lines)
        products[product(place)] += 0 if is_test else len(code_lines)
        if not is_test:
            counts[str(place)] = len(code_lines)
            counts["types and functions whose names do not tell the role"] += sum(map(bool, map(UNCLEAR.search, code_lines)))
        tests[room] += len(test_lines) + (len(code_lines) if is_test else 0)
        declared = [] if is_test else [found[1] for line in code_lines if (found := TYPE.match(line))]
        types[room] += len(declared)
        names.update(declared)
    counts["fields of the core's State"], counts["methods of the core's State"] = state_of_core()
    counts["words of docs/dev"] = words(books()[2])
    if "--check" in sys.argv:
        sys.exit("\n".join(over(counts | production | products, tests.total())) or 0)
    print(f"{'room':<24}{'production':>11}{'tests':>8}{'types':>7}")
    rows = [(room, production[room], tests[room], types[room]) for room in sorted(production)]
    for room, *numbers in [*rows, ("all", *map(sum, list(zip(*rows))[1:]))]:
        print(f"{room:<24}{numbers[0]:>11}{numbers[1]:>8}{numbers[2]:>7}")
    shown = [f"{name} {products[name]} of {LIMITS[name]}" for name in ["init", *PRODUCTS]]
    ratio = tests.total() / production.total()
    print(f"products: {', '.join(shown)}; tests {tests.total()} of {MOST_TESTS}, {ratio:.3f} for each line of production")
    never = sum(count for room, count in production.items() if room.startswith(NEVER_PID_1) and room != AT_A_RELOAD)
    print(f"lines of production that can run as PID 1: {sum(production.values()) - never}")
    several = [count for count in names.values() if count > 1]
    print(f"{len(several)} names of types stand for {sum(several)} types")
    names = "words of the users' book: {}, before a first rollout: {}, of docs/dev: {}, of its decisions: {}"
    print(names.format(*map(words, books())))


if __name__ == "__main__":
    main()
