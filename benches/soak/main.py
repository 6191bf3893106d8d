"""The soak: for an hour, one drainit as PID 1 uses all features at once, and must not grow.

    python3 benches/soak/main.py [MINUTES]

`make soak` runs this. Exit code 1 if a limit of limits.py is exceeded. A run of an hour or more
writes docs/measured/soak.md and docs/measured/soak.svg. The log of drainit and all samples stay in target/soak.
"""

import json
import os
import shutil
import string
import subprocess
import sys
import time
from pathlib import Path

import kit
import limits
import load
import page
import rounds
import sample

HERE = Path(__file__).resolve().parent
KEPT = kit.ROOT / "target/soak"
# Rounds begin this many seconds apart, so that all rounds have equally many lines and probes.
ROUND = 15
# The first rounds, which do not count: in them, every event happens for the first time, and the buffers grow to their
# size.
WARM = 6
CLIENTS = 3


def start(directory, drainit, ports):
    """Starts drainit as PID 1 of a namespace. Returns `unshare` and the PID of drainit outside."""
    environment = {
        "PATH": os.environ["PATH"],
        "DIRECTORY": str(directory),
        "EXAMPLES": str(kit.ROOT / "examples"),
        "SOAK": str(HERE),
        "ENVOY": str(kit.ENVOY),
        "BASE_ID": str(ports["ADMIN_PORT"]),
        **{name: str(port) for name, port in ports.items()},
    }
    template = string.Template((HERE / "config/envoy.yaml").read_text())
    (directory / "envoy.yaml").write_text(template.substitute(environment))
    for name in ["app.env", "notifier.conf", "watched.conf"]:
        (directory / name).touch()
    configs = ["-c", HERE / "config/drainit.yaml", "-c", directory / "site.yaml"]
    process = kit.start([*kit.NAMESPACE, "--mount-proc", drainit, "run", *configs], env=environment,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pid = kit.wait_until(lambda: children.read_text().split(), 10, "drainit")
    return process, int(pid[0])


def soak(minutes, directory):
    drainit = shutil.copy(kit.DRAINIT, directory / "drainit")
    described = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=kit.ROOT, capture_output=True, text=True,
                               check=False)
    commit = described.stdout.strip() or "unknown"
    ports = {f"{name}_PORT": kit.free_port() for name in ["CONTROL", "APP", "WEB", "ROUTER", "ADMIN"]}
    sites = {site: (HERE / f"config/{site}.yaml").read_text() for site in "ab"}
    world = rounds.World(drainit, directory, KEPT / "drainit.log", ports, sites)
    world.write("site.yaml", sites["a"])
    process, pid = start(directory, drainit, ports)
    output = load.Output(process.stdout, KEPT / "drainit.log")
    output.start()
    world.command("health", "--wait", "60s")
    status = json.loads(world.get("/status")[1])
    clients = [load.Client(ports[f"{name}_PORT"]) for name in ["APP", "WEB", "ROUTER"] * CLIENTS]
    sampler = sample.Sampler(pid)
    for thread in [*clients, sampler]:
        thread.start()
    quiet = []
    try:
        for number in range(WARM):
            rounds.run(world, number)
            world.wait_quiet()
        began, before = time.monotonic(), sample.read(pid)[0]
        while time.monotonic() < began + 60 * minutes:
            until = time.monotonic() + ROUND
            rounds.run(world, WARM + len(quiet))
            time.sleep(max(0, until - time.monotonic()))
            world.wait_quiet()
            now = sample.read(pid)[0]
            deltas = {name: now[name] - before[name] for name in ["cpu", "switches"]}
            quiet.append(now | deltas | {"at": time.monotonic() - began})
            before = now
            kit.say(f"round {len(quiet)}: {describe(quiet[-1], world, clients)}")
    finally:
        for thread in [*clients, sampler]:
            thread.is_over.set()
        for thread in [*clients, sampler]:
            thread.join(load.TIMEOUT)
        os.kill(pid, 15)
        code = kit.wait_end(process, 70)
        output.join(10)
        Path(f"/dev/shm/envoy_shared_memory_{ports['ADMIN_PORT']}0").unlink(missing_ok=True)
    if code:
        world.fail(f"drainit ended with {code}")
    world.read_events()
    world.read_filed("filer.log.1")
    world.read_filed("filer.log")
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "drainit": f"drainit {status['version']}",
        "commit": commit,
        "envoy": kit.ENVOY.parent.name,
        "machine": kit.machine(),
        "processes": len(status["processes"]),
        "clients": len(clients),
        "samples": sampler.samples,
        "rounds": quiet,
        "zombies": len(sampler.zombies),
        "requests": sum(client.requests for client in clients),
        "failed": [why for client in clients for why in client.failures],
        "operations": world.operations,
        "failed operations": world.failures,
        "lines": output.numbers.lines + world.filed.lines,
        "lost lines": output.numbers.lost + world.filed.lost,
    }


def describe(measures, world, clients):
    numbers = " ".join(f"{name} {measures[name]:.0f}" for name in measures if name != "at")
    requests = sum(client.requests for client in clients)
    failed = sum(len(client.failures) for client in clients) + len(world.failures)
    return f"{numbers} requests {requests} failed {failed}"


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    kit.adopt_orphans()
    KEPT.mkdir(parents=True, exist_ok=True)
    with kit.Scratch() as directory:
        result = soak(minutes, directory)
    (KEPT / "result.json").write_text(json.dumps(result))
    exceeded = limits.exceeded(result)
    print(page.table(result))
    for why in result["failed"][:10] + result["failed operations"][:10]:
        print(why)
    if minutes >= 60:
        page.write(result)
    if exceeded:
        sys.exit("soak: " + "; ".join(exceeded))


if __name__ == "__main__":
    main()
