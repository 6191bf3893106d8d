#!/usr/bin/env python3
"""Counts the lines and the tokens of each room, without blank lines and comments: production, and tests, in Rust, and
all code in Python and shell. A string is one token, and so is each sign that is not part of a word. Adds up the five
products that the rooms make. Counts the types, the names that several types have, and the words of the docs: those for
users, and those for developers. The words of docs/measured do not count, because make targets write its figures. Counts,
too, the parts of the core's state. No number is a limit: a line may be as long as it reads well.

Code counts as a test if it is compiled only for tests or for fuzzing, or is below tests/, benches/ or examples/.
Usage: tests/size.py [DIRECTORY]
"""

import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
TEST = re.compile(r'#\[(cfg\((all\(|any\()?(test\b|feature = "fuzzing")|test\]|tokio::test)')
MODULE = re.compile(r"(?:pub(?:\(\w+\))? )?mod (\w+);")
# Rooms of production that never run in PID 1: what advises runs as a command beside it, except the look at the image,
# which a reload needs, derive runs in the compiler, and the probe judges PID 1.
NEVER_PID_1 = ("crates/advise", "crates/derive", "probe")
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
    # The conformance suite for inits, which has nothing of drainit.
    "probe": "probe",
}
RUST_TOKEN = re.compile(r'''(?s)b?r(?P<hashes>#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'|'?\w+|\S''')
SCRIPT_TOKEN = re.compile(r'''(?s)"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\])*"|\'[^\'\n]*\'|\w+|\S''')
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


def tokens(lines, pattern=RUST_TOKEN):
    return sum(1 for _ in pattern.finditer("\n".join(lines)))


def scripts():
    """The lines and the tokens of the Python and shell files, without blank lines and comments."""
    for ending, name in [(".py", "Python"), (".sh", "shell")]:
        paths = [path for path in ROOT.rglob(f"*{ending}") if not {"target", ".git"} & set(path.relative_to(ROOT).parts)]
        lines = [line for path in paths for line in path.read_text().splitlines()]
        lines = [line for line in lines if line.strip() and not line.strip().startswith("#")]
        yield name, len(lines), tokens(lines, SCRIPT_TOKEN)


def main():
    parts = {path: split(code(path.read_text())) for path in files()}
    test_files = set()
    for path, (_, _, modules) in parts.items():
        folder = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
        for module in modules:
            test_files |= {folder / f"{module}.rs", folder / module / "mod.rs", folder / module}
    production, tests, types, names, products = (collections.Counter() for _ in range(5))
    told, tested = collections.Counter(), collections.Counter()
    for path, (code_lines, test_lines, _) in parts.items():
        place = path.relative_to(ROOT)
        is_test = bool({"tests", "benches", "examples", "fuzz"} & set(place.parts))
        is_test |= path in test_files or any(parent in test_files for parent in path.parents)
        room = "/".join(part for part in place.with_suffix("").parts[:-1] if part != "src")
        room = "/".join(room.split("/")[: 3 if room.startswith("crates") else 1]) or place.stem
        of_tests = test_lines + (code_lines if is_test else [])
        of_production = [] if is_test else code_lines
        production[room] += len(of_production)
        told[room] += tokens(of_production)
        products[product(place)] += len(of_production)
        tests[room] += len(of_tests)
        tested[room] += tokens(of_tests)
        declared = [found[1] for line in of_production if (found := TYPE.match(line))]
        types[room] += len(declared)
        names.update(declared)
    row = "{:<24}{:>11}{:>9}{:>8}{:>9}{:>7}"
    print(row.format("room", "production", "tokens", "tests", "tokens", "types"))
    rows = [(room, production[room], told[room], tests[room], tested[room], types[room]) for room in sorted(production)]
    for numbers in [*rows, ("all", *map(sum, list(zip(*rows))[1:]))]:
        print(row.format(*numbers))
    for name, lines, of_them in scripts():
        print(f"{name}: {lines} lines, {of_them} tokens")
    print(f"tokens a line: production {told.total() / production.total():.1f}, tests {tested.total() / tests.total():.1f}")
    shown = [f"{name} {products[name]}" for name in ["init", *PRODUCTS]]
    print(f"products: {', '.join(shown)}; tests {tests.total()}, {tests.total() / production.total():.3f} for each line of production")
    never = sum(count for room, count in production.items() if room.startswith(NEVER_PID_1) and room != AT_A_RELOAD)
    print(f"lines of production that can run as PID 1: {sum(production.values()) - never}")
    several = [count for count in names.values() if count > 1]
    print(f"{len(several)} names of types stand for {sum(several)} types")
    print("the core's State has {} fields and {} methods".format(*state_of_core()))
    names = "words of the users' book: {}, before a first rollout: {}, of docs/dev: {}, of its decisions: {}"
    print(names.format(*map(words, books())))


if __name__ == "__main__":
    main()
