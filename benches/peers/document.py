"""`docs/benchmarks.md`: what was measured, how, where, and what came of it."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import kit
import table

TEXT = """\
# drainit beside its peers

<!-- Written by `make bench`: change benches/peers/document.py, not this file. -->

`make bench` installs what people use instead of drainit, does the same with each of them in one run, and writes this file.
`make bench QUICK=1` takes a minute and is only good for a look; `make bench ROWS="graph logs"` does some of it; neither
writes. It exits with 1 where drainit misses what it is to reach.

{when}, on {machine}. The bench took {took}.

{versions}

## Results

Each figure is the median of its rounds; behind a peer's stands how many times drainit's it is. Where the last column names a
peer, drainit is behind it by more than the 2 % that are noise. "at least" is what drainit is to reach.

{table}

{missed}

## How it is measured

- **start and end one process**: hyperfine without a shell, in rounds that take turns, so that a noisy moment hits all. The
  ratio to tini depends on the processor, see [performance.md](performance.md#exec).
- **graph up**, **stop**: three processes in a chain, ready at once, each with a Unix socket; drainit, Horust, s6 and runit are
  told to wait for it, supervisord can only start in an order, the bash entrypoint is that of
  [examples/api-gateway/rollout](../examples/api-gateway/rollout/entrypoint.sh). Each takes 50 ms to end and notes when it is
  asked to and when it ends; a stop is what is left of the time from the signal until all are gone when the moments in which
  a process was ending are taken off. Who stops everything at once has an easy time here, and is named.
- **idle**: everything that belongs to the init or supervisor (s6-supervise, runsv and prefixers too), not what it runs: context
  switches and the scheduler's nanoseconds of all its threads. All peers at the same time.
- **memory**: `smaps_rollup` of the same processes, added up. *Anonymous* pages (`Pss_Anon` and `SwapPss`) are stack, heap and
  the data that a program has written to: without swap the kernel cannot reclaim them, and each container has its own. All
  other pages are those of files, nearly all of them code. The kernel drops these when it needs memory and reads them again
  when they are run, and they are in memory once for all containers of an image on a node. *Proportional* (`Pss`) adds them,
  each divided by the number of processes that map it: here one drainit, so that all of its code counts as its own, while libc
  is shared with every other program of the machine. drainit has its HTTP endpoints on over TCP and over a Unix socket and was
  asked for `/status` a moment before, supervisord has its Unix socket.
- **logs**: a writer of 156-byte lines, 400 of them at once or each alone, the logger on a CPU of its own, and a reader that
  only counts; the figure is the CPU time of the logger alone. For the time a line waits the writer puts the time into each line. For mixed lines, 32 writers
  write each line in two pieces, and every line is compared with what was written.
- **orphans**: four chains of processes, each of which forks the next one and ends, until `kill` finds nobody in their group.
  The inits are PID 1 of a namespace. Nearly all of it is the kernel's work, to fork and to reap, and the same for all: by some
  per cent their order changes from run to run.
- **drain**: a real Envoy with ten idle clients, who leave together at a random moment; `min: 0s`. The bash entrypoint sleeps.
- **polls of a drain**: processor time of an Envoy without clients from 1.5 s after SIGTERM to 1.5 s before `min` is over. Nobody
  else asks Envoy whether its drain is over; the bash entrypoint sleeps. `make bench ROWS=polling` is this alone.
- **scale**: a tree in which each process waits for the tenth of its number. *fork and exec* is a static program that starts
  as many of the same processes and stops them. s6 needs two processes for each.
- **config**: `drainit plan` and `check` of that tree with 5,000 processes. Of supervisord, its own reading of its own config.
"""


def output_of(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (result.stdout + result.stderr).strip()


def version_of(package):
    return output_of("dpkg-query", "-W", "-f=${Version}", package) or "missing"


def versions():
    packages = ["tini", "dumb-init", "catatonit", "s6", "runit", "supervisor", "bash", "sed", "mawk", "hyperfine"]
    parts = [output_of(kit.DRAINIT, "--version") + " (static)"]
    # It does not tell itself.
    installed = kit.TOOLS / ".crates.toml"
    horust = re.search(r'"horust (\S+)', installed.read_text() if installed.exists() else "")
    parts.append(f"Horust {horust[1]}" if horust else "no Horust, which could not be built")
    parts += [f"{package} {version_of(package)}" for package in packages]
    envoy = re.search(r"/(\d+\.\d+\.\d+)/", output_of(kit.ENVOY, "--version"))
    parts.append(f"Envoy {envoy[1]}" if envoy else "no Envoy")
    return ", ".join(parts) + "."


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20
    release = ".".join(platform.release().split(".")[:2])
    cpu = model[1].strip() if model else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores ({cpu}), {memory:.0f} GiB, Linux {release}"


def missed(rows):
    names = [f"- {row.what}, {row.unit}: {table.number(row.ours)} where it is to be {row.target}." for row in rows if not row.met]
    return "\n".join(["Missed:", "", *names]) if names else "Nothing is missed."


MARKS = "<!-- make bench: begin -->\n", "<!-- make bench: end -->\n"


def write(rows, seconds):
    text = TEXT.format(when=time.strftime("%Y-%m-%d"), machine=machine(), versions=versions(), table=table.markdown(rows),
                       took=f"{seconds / 60:.1f} minutes", missed=missed(rows))
    (kit.ROOT / "docs/benchmarks.md").write_text(text)
    readme = kit.ROOT / "README.md"
    before, _, rest = readme.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    readme.write_text(f"{before}{MARKS[0]}{table.short(rows)}\n{MARKS[1]}{after}")
