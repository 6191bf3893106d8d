"""Writes the figures of `docs/measured/benchmarks.md`."""

import re
import subprocess
import time

import kit
import table


def output_of(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (result.stdout + result.stderr).strip()


def versions():
    packages = ["tini", "dumb-init", "catatonit", "s6", "runit", "supervisor", "bash", "sed", "mawk", "hyperfine"]
    parts = [output_of(kit.DRAINIT, "--version") + " (static)"]
    # Horust cannot print its version, so cargo's list of installed programs gives the version.
    installed = kit.TOOLS / ".crates.toml"
    horust = re.search(r'"horust (\S+)', installed.read_text() if installed.exists() else "")
    parts.append(f"Horust {horust[1]}" if horust else "no Horust, which could not be built")
    parts += [f"{package} {kit.version_of_debian(package) or 'missing'}" for package in packages]
    envoy = re.search(r"/(\d+\.\d+\.\d+)/", output_of(kit.ENVOY, "--version"))
    parts.append(f"Envoy {envoy[1]}" if envoy else "no Envoy")
    return ", ".join(parts) + "."


def missed(rows):
    count = sum(1 for row in rows if not row.met)
    are = "target is" if count == 1 else "targets are"
    return f"{count} {are} missed. The column *target* says which." if count else "No target is missed."


def write(rows, seconds):
    when = time.strftime("%Y-%m-%d")
    run = f"{when}, on {kit.machine()}. The bench took {seconds / 60:.1f} minutes.\n\n{versions()}"
    results = f"{table.markdown(rows)}\n\n{missed(rows)}"
    kit.write_page("benchmarks.md", "make bench", run=run, short=table.short(rows), results=results)
