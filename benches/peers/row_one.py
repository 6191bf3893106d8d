"""One process: the cost of an init that only starts it and ends with it."""

import json

import kit
from table import US, Row


def inits():
    """The commands to which the program and its arguments are appended."""
    return {
        US: [kit.DRAINIT, "exec", "--"],
        "tini": ["tini", "-s", "--"],
        "tini-static": ["tini-static", "-s", "--"],
        "dumb-init": ["dumb-init"],
        "catatonit": ["catatonit"],
    }


def available():
    return {name: [kit.which(command[0]), *command[1:]] for name, command in inits().items() if kit.which(command[0])}


def hyperfine(commands, runs, warmup, rounds=5):
    """The median of each command in milliseconds. hyperfine runs one command after the other, so a moment of noise
    would affect only one command. Therefore hyperfine runs several times."""
    samples = {name: [] for name in commands}
    with kit.Scratch() as directory:
        out = directory / "out.json"
        for _ in range(rounds):
            arguments = ["hyperfine", "-N", "-w", warmup, "-r", max(2, runs // rounds), "--export-json", out]
            process = kit.start([*arguments, *(" ".join(map(str, command)) for command in commands.values())])
            if kit.wait_end(process, 120):
                raise RuntimeError("hyperfine failed: one of its commands does")
            for name, result in zip(commands, json.loads(out.read_text())["results"]):
                samples[name] += result["times"]
    return {name: 1000 * kit.median(times) for name, times in samples.items()}


def measure():
    commands = {name: [*command, "/bin/true"] for name, command in available().items()}
    # The program without an init, and with the smallest possible init.
    floor = {"nothing at all": ["/bin/true"], "a bare spawner in Rust": [kit.CHILD, "start", "/bin/true"]}
    times = hyperfine(commands | floor, kit.rounds(300, 100), 20)
    if kit.which("horust"):
        times |= hyperfine({"Horust": [kit.which("horust"), "--", "/bin/true"]}, 2, 0, rounds=1)
    bare = times.pop("nothing at all")
    met = all(times[US] < times[name] for name in available() if name != US)
    return [Row("start and end one process: `X -- true`", "ms", times, "ahead of every other init", met,
                short="start and end one process, ms",
                detail=f"{times[US] / times['tini']:.2f} × the time of tini; `true` alone takes {bare:.2f}",
                why=dict.fromkeys(times, "only runs one process"))]
