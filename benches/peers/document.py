"""Writes `docs/benchmarks.md`: the measurements, the method and the results."""

import re
import subprocess
import time
from pathlib import Path

import kit
import table

TEXT = """\
# drainit beside its peers

<!-- Written by `make bench`: change benches/peers/document.py, not this file. -->

`make bench` installs the programs that people use instead of drainit, measures all of them in one run, and writes this file.
`make bench QUICK=1` gives rough figures in a minute, `make bench ROWS="graph logs"` measures some rows; neither writes. It exits
with 1 if drainit misses a target.

{when}, on {machine}. The bench took {took}.

{versions}

## In short

Medians of the run. A cell is empty where a program cannot do it, or was not measured.

{short}

## Results

Each figure is the median of its rounds; a peer's figure is followed by its ratio to drainit's. The last column names peers that are
ahead of drainit by more than the 2 % that are noise. "at least" is drainit's target.

{table}

{missed}

## How it is measured

- **start and end one process**: hyperfine without a shell, in rounds that take turns, so that noise affects all programs. The ratio
  to tini depends on the processor, see [performance.md](performance.md#exec).
- **graph up**, **stop**: three processes in a chain, ready at once, each with a Unix socket; drainit, Horust, s6 and runit wait for
  it, supervisord can only start in an order, the bash entrypoint is that of
  [examples/api-gateway/rollout](../examples/api-gateway/rollout/entrypoint.sh). Each process takes 50 ms to end and records when it
  is asked to and when it ends; a stop is the time from the signal until all have ended, less the times in which a process was
  ending. Programs that stop everything at once have an advantage here, and are named.
- **idle**: context switches and the scheduler's nanoseconds of all threads of the init or supervisor (s6-supervise, runsv and
  prefixers included), without the processes that it runs. All peers at the same time.
- **memory**: `smaps_rollup` of the same processes, added up. *Anonymous* pages (`Pss_Anon` and `SwapPss`) are stack, heap and
  written data: without swap the kernel cannot reclaim them, and each container has its own. All other pages are those of files,
  nearly all of them code. The kernel drops these when it needs memory and reads them again, and all containers of an image on a
  node share them. *Proportional* (`Pss`) adds them, each divided by the number of processes that map it: here one drainit, to which
  all of its code counts, while libc is shared with every other program of the machine. drainit serves its HTTP endpoints over TCP
  and over a Unix socket and has just answered `/status`; supervisord has its Unix socket.
- **logs**: a writer of 156-byte lines, 400 of them at once or each alone, the logger on a CPU of its own, and a reader that only
  counts; the figure is the CPU time of the logger alone. To measure how long a line waits, each line contains its time of writing.
  For mixed lines, 32 writers write each line in two pieces, and every line is compared with what was written.
- **orphans**: four chains of processes, each of which forks the next one and ends, until `kill` finds no process in their group. The
  inits are PID 1 of a namespace. Nearly all of it is the kernel's work to fork and to reap, the same for all: differences of some per
  cent change from run to run.
- **drain**: a real Envoy with ten idle clients that disconnect together at a random moment; `min: 0s`. The bash entrypoint sleeps.
- **polls of a drain**: processor time of an Envoy without clients from 1.5 s after SIGTERM to 1.5 s before the end of `min`. No
  peer polls Envoy; the bash entrypoint sleeps. `make bench ROWS=polling` measures this row alone.
- **scale**: a tree in which process N waits for process N/10. *fork and exec* is a static program that starts
  as many of the same processes and stops them. s6 needs two processes for each.
- **config**: `drainit plan` and `check` of that tree with 5,000 processes. For supervisord, the time in which it reads its own config.
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
    # It prints no version.
    installed = kit.TOOLS / ".crates.toml"
    horust = re.search(r'"horust (\S+)', installed.read_text() if installed.exists() else "")
    parts.append(f"Horust {horust[1]}" if horust else "no Horust, which could not be built")
    parts += [f"{package} {version_of(package)}" for package in packages]
    envoy = re.search(r"/(\d+\.\d+\.\d+)/", output_of(kit.ENVOY, "--version"))
    parts.append(f"Envoy {envoy[1]}" if envoy else "no Envoy")
    return ", ".join(parts) + "."


def missed(rows):
    names = [f"- {row.what}, {row.unit}: {table.number(row.ours)} where it is to be {row.target}." for row in rows if not row.met]
    return "\n".join(["Missed:", "", *names]) if names else "Nothing is missed."


def write(rows, seconds):
    text = TEXT.format(when=time.strftime("%Y-%m-%d"), machine=kit.machine(), versions=versions(), short=table.short(rows), table=table.markdown(rows),
                       took=f"{seconds / 60:.1f} minutes", missed=missed(rows))
    (kit.ROOT / "docs/benchmarks.md").write_text(text)
