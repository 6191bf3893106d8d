#!/usr/bin/env python3
"""Changes the code in small ways, and names the changes that no test notices: mutants.py [--sample N] [FILE…]

All changes are built at once, in a copy of the tree. A function with changes has a body for each change, and a switch
in front of the bodies. The switch reads from a mapped file which change is in effect. The same file records which
functions a test has called. A change is tried only with tests that call its function, in batches, until a test fails.
Each batch runs in a PID namespace, because a changed drainit may signal every process.

Without files, each room of drainit gives SAMPLE changes, always the same ones. `target/mutants` keeps the build, what
each test calls, and the results, so a later run continues; remove it to begin anew. At its end, such a run writes its
numbers into docs/measured/mutants.md.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import itertools
import json
import mmap
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOMS = {
    "os": ["crates/os/src"],
    "supervisor": ["src/supervisor"],
    "control": ["src/control"],
    "logging": ["src/logging"],
    "envoy": ["src/envoy"],
    "exec, compat": ["src/exec", "src/compat"],
    "http, grpc": ["src/http.rs", "src/grpc.rs"],
    "journal": ["crates/journal/src"],
    "config: language, load": ["crates/config/src/language", "crates/config/src/load"],
    "config: keys": ["crates/config/src/keys"],
    "config: check, plan": ["crates/config/src/check", "crates/config/src/plan"],
    "cli, commands": ["src/cli", "crates/commands/src"],
    "advise": ["crates/advise/src"],
}
ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/measured/mutants.md"
BEGIN, END = "<!-- make mutants: samples -->\n", "<!-- end -->\n"
TREE = pathlib.Path(os.environ.get("MUTANTS_TREE") or ROOT / "target/mutants/tree")
# Left out: tests of containers need images of drainit, and the fault matrix and the large Envoys need a whole machine.
SKIPPED = re.compile(r"^(docker|fault_matrix|packaging|examples::|docs::|envoy::(rollout|sizes))")
# Each build has the whole workspace and a test, so that all builds share the compiled dependencies.
BUILD = ["cargo", "build", "--offline", "--workspace", "--lib", "--test", "simulation"]
MOST = 1 << 16  # changes in one build
THREADS = 8
SLOW = 3  # seconds: a quick run leaves out tests that compute for longer
FIRST = 16  # a quick run tries so many of the tests that wait
MEMORY = 8 << 30

SWITCH = """
//! Says which change is in effect, and records which functions were called.
#![no_std]
extern crate std;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering::Relaxed};
static MAP: AtomicPtr<AtomicU8> = AtomicPtr::new(core::ptr::null_mut());
unsafe extern "C" {
    fn mmap(at: *mut u8, size: usize, rights: i32, flags: i32, fd: i32, offset: i64) -> *mut AtomicU8;
}
fn map() -> *mut AtomicU8 {
    use std::os::fd::AsRawFd;
    let file = std::env::var_os("MUTANTS_MAP")
        .and_then(|path| std::fs::File::options().read(true).write(true).open(path).ok());
    let (flags, fd) = file.as_ref().map_or((0x22, -1), |file| (1, file.as_raw_fd()));
    let map = unsafe { mmap(core::ptr::null_mut(), 2 * MOST, 3, flags, fd, 0) };
    MAP.store(map, Relaxed);
    map
}
const MOST: usize = 1 << 16;
pub fn on(change: usize) -> bool {
    let mut at = MAP.load(Relaxed);
    if at.is_null() {
        at = map();
    }
    unsafe {
        (*at.add(MOST + change)).store(1, Relaxed);
        (*at.add(change)).load(Relaxed) != 0
    }
}
"""

TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|\br(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^\\'])'""", re.S)
# Files that have only tests.
TESTS = re.compile(r"tests?(\.rs|/)|testing|fuzzing|oracle|simulation|conservation|one_history|import/same|/advice")
# The results that replace a function's body, by the first word of the function's result type.
VALUES = {"": [""], "bool": ["true", "false"], "Option": ["None"], "Result": ["Ok(Default::default())"], "u8": ["0", "1"]}
# The small changes: for each pattern, the texts that replace its group.
CHANGES = {
    r" (==) ": ["!="], r" (!=) ": ["=="], r" (&&) ": ["||"], r" (\|\|) ": ["&&"],
    r" (<) ": ["<=", ">"], r" (<=) ": ["<"], r" (>) ": [">=", "<"], r" (>=) ": [">"],
    r" (\+) ": ["-"], r" (-) ": ["+"], r" (\*) ": ["+"], r" (/) ": ["*"], r" (\+=) ": ["-="],
    r"[\s(](!)[a-z(]": [""],
    r"(?<![\w.])(\d+)(?![\w.])": [r"(\1 + 1)"],
    r"\.(min)\(": ["max"], r"\.(max)\(": ["min"], r"\.(any)\(": ["all"], r"\.(all)\(": ["any"],
    # Leaves out a statement or a match arm that has one line.
    r"(?<=[;{}]\n)( +(?! |let |return|use |break|continue|fn |//)[^\n{}]*;)$": [""],
    r"(?<=[,{}]\n)( +[^\n=]* => [^\n{}]*,)$": [""],
}


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def put(path, content):
    """Writes a file, but only if it has another content, because cargo compiles newer files again."""
    content = content if isinstance(content, bytes) else content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def digest(parts):
    state = hashlib.sha256()
    for part in parts:
        state.update(part + b"\n")
    return state.hexdigest()[:16]


def copy_tree(changed):
    """Copies the sources, except the sources that are changed, and adds the switch to each crate."""
    (TREE / "target").mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True,
                           check=True, capture_output=True).stdout.split("\0")
    for name in filter(None, files):
        source, copy = ROOT / name, TREE / name
        if source.is_file() and name not in changed:
            text = source.read_bytes()
            if name.endswith("Cargo.toml"):
                text = text.replace(b"[lints]\nworkspace = true", b"[lints.rust]\nwarnings = 'allow'").replace(
                    b"\n[dependencies]", f'\n[dependencies]\nmutants = {{ path = "{TREE.parent}/switch" }}'.encode())
            if name == "Cargo.toml":
                # The core is optimised already.
                text = text.replace(b"[profile.dev.package.drainit-core]", b"[profile.dev.package.drainit-core]\ndebug = false")
                crates = ["", "-advise", "-config", "-derive", "-journal", "-os"]
                text += "".join(f"\n[profile.dev.package.drainit{crate}]\ndebug = false\nopt-level = 1\n" for crate in crates).encode()
            if name.endswith(".rs"):
                variable = b'"MUTANTS_MAP"'
                text = text.replace(b".env_clear()", b".env_clear().env(%s, std::env::var_os(%s).unwrap_or_default())" %
                                    (variable, variable))
            put(copy, text)
            shutil.copymode(source, copy)
    for name in ["envoy", "kubernetes-validate"]:
        if not (TREE / "target" / name).exists():
            (TREE / "target" / name).symlink_to(ROOT / "target" / name)
    switch = TREE.parent / "switch"
    put(switch / "Cargo.toml", '[package]\nname = "mutants"\nedition = "2024"\n[workspace]\n')
    put(switch / "src/lib.rs", SWITCH)


class File:
    """A file of the tree, whose functions get a body for each change."""

    def __init__(self, path):
        self.path, self.text = path, (ROOT / path).read_text()
        # Comments and literals are blank here, and so are the modules of tests.
        self.code = TOKEN.sub(lambda token: re.sub(r"\S", " ", token[0]), self.text)
        for test in re.finditer(r"^#\[cfg\((?:test|.*testing).*\n(?:#.*\n)*[^;\n]*\{\n(?s:.*?)^\}", self.code, re.M):
            self.code = self.code[:test.start()] + " " * len(test[0]) + self.code[test.end():]

    def functions(self):
        """The name, the result type and the body of each function."""
        for function in re.finditer(r"^( *)(?:pub(?:\([\w:]+\))? |async )*fn (\w+)", self.code, re.M):
            end = self.code.find(f"\n{function[1]}}}\n", function.end())
            head = re.compile(r"[^{;]*?(?:-> ([^{;]*?))?(?:\s*where[^{;]*)?\s*\{").match(self.code, function.end())
            if head and end > head.end():
                yield function[2], head[1] or "", head.end() - 1, end + len(function[1]) + 2

    def is_whole(self, change):
        """Whether the body has lines of its own. The body of a function of one line has none."""
        depth = itertools.accumulate({"{": 1, "}": -1}.get(one, 0) for one in self.code[slice(*change["body"])])
        return 0 not in list(depth)[:-1]

    def changes(self):
        """The small changes of every function."""
        for name, result, first, last in self.functions():
            found = [(first, last, f"{{ {value} }}") for value in VALUES.get(re.sub(r"\W.*", "", result), ["Default::default()"])]
            for pattern, replacements in CHANGES.items():
                for match in re.finditer(pattern, self.code[first:last], re.M):
                    start, stop = match.span(1)
                    found += [(first + start, first + stop, match.expand(by)) for by in replacements]
            for start, stop, by in found:
                line = self.text.count("\n", 0, start) + 1
                what = "its result" if start == first else self.text[start:stop].strip()[:60].split("\n")[0]
                column = start - self.text.rfind("\n", 0, start)
                yield {"file": self.path, "name": f"{self.path}:{line}:{column} {name}: `{what}` becomes `{by}`",
                       "body": (first, last), "span": (start, stop), "by": by}

    def write(self, changes):
        """Writes the file with these changes. Sets the lines of each change, and the lines of its function."""
        bodies = collections.defaultdict(list)
        for change in changes:
            bodies[change["body"]].append(change)
        text, at = "", 0
        for (first, last), inside in sorted(bodies.items()):
            if first < at:  # a function inside of another one
                for change in inside:
                    change["nested"] = True
                continue
            text += self.text[at:first] + "{\n"
            begin = text.count("\n") + 1
            for change in inside:
                start, stop = change["span"]
                line = text.count("\n") + 1
                body = self.text[first:start] + change["by"] + self.text[stop:last]
                text += f"if mutants::on({change['id']}) {body} else\n"
                change["lines"] = (line, text.count("\n"))
            text += self.text[first:last] + "\n}"
            at = last
            for change in inside:
                change["function_lines"] = (begin, text.count("\n") + 1)
        put(TREE / self.path, text + self.text[at:])


def listed(names):
    """The files of a room, and all changes of them."""
    paths = [path for name in names for path in ([ROOT / name] if name.endswith(".rs") else (ROOT / name).rglob("*.rs"))]
    paths = sorted(str(path.relative_to(ROOT)) for path in paths)
    files = {name: File(name) for name in paths if not TESTS.search(name)}
    return [change for file in files.values() for change in file.changes()], files


def compiled(changes, sources):
    """Builds the tree with all changes that compile, and returns these changes."""
    while True:
        by_file = collections.defaultdict(list)
        for change in changes:
            by_file[change["file"]].append(change)
        for name, source in sources.items():
            source.write(by_file[name])
        changes = [change for change in changes if not change.pop("nested", False)]
        check = subprocess.run([*BUILD, "--keep-going", "--message-format=json"], cwd=TREE, text=True, capture_output=True)
        if check.returncode == 0:
            return changes
        wrong = set()
        for line in check.stdout.splitlines():
            message = json.loads(line).get("message")
            if not message or message["level"] != "error":
                continue
            found, candidates = set(), set()
            for span in message["spans"]:
                for change in changes:
                    if change["file"] == span["file_name"]:
                        in_it = lambda lines: lines[0] <= span["line_start"] <= lines[1]
                        if span["is_primary"] and in_it(change["lines"]):
                            found.add(change["id"])
                        if in_it(change["function_lines"]):
                            candidates.add(change["id"])
            if not found and not candidates and message["spans"]:
                sys.exit(message["rendered"])
            wrong |= found or candidates
        if not wrong:
            sys.exit(check.stderr)
        say(f"{len(wrong)} changes do not compile")
        changes = [change for change in changes if change["id"] not in wrong]


def binaries():
    """The test binaries with the directories of their packages."""
    subprocess.run([*BUILD, "--test", "main", "--bin", "child", "--quiet"], cwd=TREE, check=True)
    words = ["cargo", "test", *BUILD[2:], "--test", "main", "--no-run", "--message-format=json"]
    out = subprocess.run(words, cwd=TREE, text=True, check=True, stdout=subprocess.PIPE).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable") and message.get("profile", {}).get("test"):
            yield message["executable"], os.path.dirname(message["manifest_path"])


class Map:
    """The file with the changes that are in effect for a process, and with the functions that it has called."""

    def __init__(self, changes=()):
        self.file = tempfile.NamedTemporaryFile(dir=TREE / "target", prefix="map-")
        os.fchmod(self.file.fileno(), 0o666)
        self.file.truncate(2 * MOST)
        self.map = mmap.mmap(self.file.fileno(), 2 * MOST)
        for change in changes:
            self.map[change] = 1

    def called(self):
        return [place for place, byte in enumerate(self.map[MOST:]) if byte]


def run(binary, tests, mapped, limit, threads=THREADS):
    """Runs some tests of a binary. Returns the tests that fail, or all tests if the process itself ends or hangs."""
    program, directory = binary
    words = ["prlimit", f"--as={MEMORY}", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
             "sh", "-c", 'mount -t tmpfs tmpfs /tmp && "$@"; exit $?', "sh", program, f"--test-threads={threads}", "--exact", *tests]
    environment = os.environ | {"MUTANTS_MAP": mapped.file.name, "DRAINIT_SIM_RUNS": "300", "DRAINIT_SCHEDULES": "60",
                                "CARGO_MANIFEST_DIR": directory, "RUST_BACKTRACE": "0"}
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(words, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            code = None
        if code == 0:
            return []
        out.seek(0)
        said = out.read()
    return sorted(set(re.findall(r"^    ([\w:]+)$", said, re.M)) & set(tests)) or tests


class Test:
    """A test, its duration, and the changes whose functions the test calls; `None` if the test fails."""

    def __init__(self, binary, name, known):
        self.binary, self.name = binary, name
        self.seconds, self.called = known.get(name, (None, None))

    def waits(self):
        return "/main-" in self.binary[0]

    def trace(self):
        if self.called is None:
            mapped, began = Map(), time.monotonic()
            failed = run(self.binary, [self.name], mapped, 240, 1)
            self.seconds, self.called = time.monotonic() - began, None if failed else mapped.called()


def traced(jobs, digest):
    """All tests. A test is traced once for each sample, and again if it has failed."""
    tests = []
    for binary in binaries():
        program, directory = binary
        file = TREE.parent / "traces" / f"{os.path.basename(directory)}-{os.path.basename(program).split('-')[0]}.json"
        stored = json.loads(file.read_text()) if file.exists() else {}
        known = stored["tests"] if stored.get("digest") == digest else {}
        out = subprocess.run([program, "--list", "--format=terse"], cwd=directory, text=True, capture_output=True).stdout
        names = [name for name in re.findall(r"^([\w:]+): test$", out, re.M) if not SKIPPED.match(name)]
        own = [Test(binary, name, known) for name in names]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            list(pool.map(Test.trace, own))
        for test in own:
            test.trace()  # alone, if it has failed beside others
        put(file, json.dumps({"digest": digest, "tests": {test.name: (test.seconds, test.called) for test in own}}))
        say(f"{len(own)} tests of {program} traced")
        tests += own
    say("left out, because they fail here:", *(test.name for test in tests if test.called is None))
    return [test for test in tests if test.called]


def failing(change, tests):
    """The first test that fails with this change, even alone, and passes without the change."""
    for binary in dict.fromkeys(test.binary for test in tests):
        rest = [test for test in tests if test.binary == binary]
        most = THREADS if rest[0].waits() else 1
        while rest:
            batch, seconds = [], 0
            while rest and seconds + rest[0].seconds <= most or rest and not batch:
                batch.append(rest[0])
                seconds += rest.pop(0).seconds
            most *= 3
            failed = run(binary, [test.name for test in batch], Map([change]), 20 + 3 * seconds)
            limits = {test.name: 20 + 3 * test.seconds for test in batch}
            fails = lambda name, changes: run(binary, [name], Map(changes), limits[name], 1)
            for name in failed[:3]:
                if fails(name, [change]) and not fails(name, []):
                    return [name]
    return []


def tried(change, tests, near, is_quick):
    """Tries a change with the tests that call its function. Tests that call much of its file come first. A quick run
    has only cheap tests, and the first of the tests that wait."""
    reached = [test for test in tests if change["id"] in test.called]
    change["reached"] = [test.name for test in reached]
    change.setdefault("tried", [])
    left = [test for test in reached if test.name not in change["tried"]]
    nearness = lambda test: test.seconds - 9 * len(near[change["file"]] & set(test.called))
    left.sort(key=lambda test: (test.waits(), nearness(test) if test.waits() else test.seconds))
    if is_quick:
        waiting = [test for test in left if test.waits()][:FIRST]
        left = [test for test in left if not test.waits() and test.seconds <= SLOW] + waiting
    change["failed"] = failing(change["id"], left)
    change["tried"] += [test.name for test in left]


FIELDS = ["reached", "tried", "failed"]


class Results:
    """The results so far, which a later run continues. A change that a test has noticed is tried again only if its
    file has changed. A change that no test has noticed is tried again only if the tests have changed."""

    def __init__(self, sources, tests):
        self.path, self.lock = TREE.parent / "results.jsonl", threading.Lock()
        programs = sorted({test.binary[0] for test in tests})
        self.tests = digest(pathlib.Path(program).read_bytes() for program in programs)
        # Leaves out the tests at the end of a file.
        code = lambda source: source.text[:len(source.code.rstrip())].encode()
        self.files = {name: digest([code(source)]) for name, source in sources.items()}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known = {result["name"]: result for result in map(json.loads, lines)}

    def fill(self, change):
        known = self.known.get(change["name"], {})
        is_same = known.get("version") == self.files[change["file"]]
        if is_same and (known["failed"] or known["tests"] == self.tests):
            change |= {key: known[key] for key in FIELDS}
        return change.get("failed") or set(change.get("tried", [])) >= set(change.get("reached", [""]))

    def keep(self, change):
        line = {key: change[key] for key in ["name", "room", *FIELDS]}
        line |= {"version": self.files[change["file"]], "tests": self.tests}
        with self.lock, open(self.path, "a") as out:
            print(json.dumps(line), file=out)


def chosen_changes(rooms, sample):
    """The first changes of each room that compile, in an order by chance that stays, and the sources."""
    cache = TREE.parent / "refused.json"
    refused = set(json.loads(cache.read_text())) if cache.exists() else set()
    chosen, sources = [], {}
    for room, files in rooms.items():
        changes, more = listed(files)
        # The order is by a hash without lines and columns, so that an edit elsewhere chooses no other changes.
        seen = collections.Counter()
        for change in sorted(changes, key=lambda change: (change["file"], change["span"], change["by"])):
            name = re.sub(r":\d+:\d+ ", " ", change["name"])
            seen[name] += 1
            change["order"] = digest([name.encode(), b"%d" % seen[name]])
        changes.sort(key=lambda change: change["order"])
        sources |= more
        chosen += [{**change, "room": room} for change in changes[:sample]]
    for number, change in enumerate(sorted(chosen, key=lambda change: change["name"])):
        change["id"] = number
    copy_tree(sources)
    names = {change["name"] for change in chosen}
    chosen = [change for change in chosen if change["name"] not in refused and sources[change["file"]].is_whole(change)]
    chosen = compiled(chosen, sources)
    put(cache, json.dumps(sorted(refused | names - {change["name"] for change in chosen})))
    return chosen, sources


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, default=int(os.environ.get("SAMPLE") or 0))
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    rooms = {" ".join(options.files): options.files} if options.files else ROOMS
    chosen, sources = chosen_changes(rooms, options.sample or (10**9 if options.files else 60))
    tests = traced(2 * options.jobs, digest(sorted(f"{change['id']} {change['name']}".encode() for change in chosen)))
    results = Results(sources, tests)
    left = [change for change in chosen if not results.fill(change)]
    say(f"{len(chosen)} changes, {len(left)} to try, {len(tests)} tests")
    near = {name: {change["id"] for change in chosen if change["file"] == name} for name in sources}

    def one(change, is_quick):
        tried(change, tests, near, is_quick)
        results.keep(change)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for is_quick in [True, False]:
            list(pool.map(lambda change: one(change, is_quick), left))
            left = [change for change in left if not change["failed"]]
            say(f"{len(left)} changes have survived", "the quick tests" if is_quick else "")
    rows = []
    for room in rooms:
        of_room = [change for change in chosen if change["room"] == room]
        held = sum(1 for change in of_room if change["failed"])
        print(f"{room}: {held} of {len(of_room)} are noticed ({100 * held // max(1, len(of_room))} %)")
        for change in of_room:
            if not change["failed"]:
                print(f"  {change['name']} ({len(change['reached'])} tests call it)")
        rows.append(f"| {room} | {len(of_room)} | {held} | {100 * held // max(1, len(of_room))} % |")
    if not options.files:
        head, rest = PAGE.read_text().split(BEGIN)
        said = f"On {time.strftime('%Y-%m-%d')} `make mutants` tried these samples of at most {options.sample or 60} changes:\n"
        table = "\n".join([said, "| Part | Tried | Noticed | Share |", "|---|--:|--:|--:|", *rows])
        PAGE.write_text(f"{head}{BEGIN}\n{table}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
