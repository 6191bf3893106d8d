#!/usr/bin/env python3
"""Compares the costs of drainit with benches/budget.toml: instructions of fixed tasks, and the size
of the binary.

    benches/budget.py [--update] [DRAINIT]

DRAINIT is target/static/drainit (`make static`) by default. Of the drainit in the directory `tools` beside DRAINIT,
only the size is measured. callgrind counts the instructions of drainit, but not those of the processes that drainit
starts. The counts do not depend on the load of the machine, and, because the binary is static, not on a loader. More
than 5 % above the budget is an error.
`--update` writes the measured values.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = os.path.join(HERE, "budget.toml")
SLACK = 0.05
# At its end, drainit scans all processes. Other processes would change the count, so drainit runs in its own namespace.
ALONE = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--pid", "--fork", "--mount-proc"]
# The limits promised to users, independent of the budget.
LARGEST = {"size": 5_767_168}
# The first task of each pair has five times as many processes or workloads as the second. If it costs more than 5.1 times
# as much, some code is not linear.
FIVE_TIMES = {"plan-chain-100": "plan-chain-20", "run-tasks-100": "run-tasks-20", "audit-100": "audit-20"}
# The seconds of a processor that `check --pod` may take for 500 workloads of 2 KiB. It takes 0.2 s.
AUDIT = 2


def rich(count):
    """A config of processes with the usual options."""
    for n in range(count):
        yield f"  p{n}:"
        yield f"    command: [/app/server, --listen, /run/p{n}.sock, --name, '${{NAME:-p{n}}}']"
        yield "    environment: {LEVEL: info, MODE: x}"
        yield f"    readiness: {{unix: /run/p{n}.sock, timeout: 1s}}"
        yield "    stop_grace_period: 1ms"
        yield f"    log: {{prefix: p{n}}}"
        if n >= 10:
            yield f"    depends_on: [p{n // 10}]"


def chain(count):
    """A chain: each process needs the previous process."""
    for n in range(count):
        after = f", depends_on: [p{n - 1}]" if n else ""
        yield f"  p{n}: {{command: [/app/server], stop_grace_period: 1ms{after}}}"


def tasks(count):
    """A chain of tasks, so that only one event happens at a time."""
    for n in range(count):
        after = f", depends_on: {{t{n - 1}: {{condition: completed}}}}" if n else ""
        yield f"  t{n}: {{command: [/bin/true], type: oneshot{after}}}"


def manifest(directory, count):
    """A list of workloads, as kubectl writes it."""
    path = os.path.join(directory, f"list{count}.yaml")
    variables = "".join(f"          - name: VARIABLE_{n}\n            value: value-{n}\n" for n in range(40))
    with open(path, "w") as file:
        file.write("apiVersion: v1\nitems:\n")
        for n in range(count):
            file.write(
                f"- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: w{n}\n    namespace: shop\n  spec:\n"
                "    template:\n      spec:\n        containers:\n        - name: web\n          image: nginx:1\n"
                f"          env:\n{variables}"
            )
        file.write("kind: List\n")
    return path


def audit(directory, count):
    return ["check", "--image=false", "--pod", manifest(directory, count)]


def config(directory, name, processes):
    path = os.path.join(directory, f"{name}.yaml")
    with open(path, "w") as file:
        # The grace period is a day, so that all waits fit.
        file.write("shutdown: {grace_period: 1d}\nprocesses:\n" + "\n".join(processes) + "\n")
    return path


def workloads(directory):
    """The tasks: their names, and the arguments for drainit."""
    lines = os.path.join(directory, "lines")
    with open(lines, "w") as file:
        file.writelines(f"{n:07} {'x' * 147}\n" for n in range(100_000))
    prefix = [f"  app: {{command: [cat, {lines}], on_exit: ignore, log: {{prefix: app}}}}"]
    return [
        ("exec", ["exec", "--", "/bin/true"]),
        ("check-100", ["check", "--image=false", "-c", config(directory, "rich", rich(100))]),
        ("plan-chain-20", ["plan", "-c", config(directory, "chain20", chain(20))]),
        ("plan-chain-100", ["plan", "-c", config(directory, "chain100", chain(100))]),
        ("run-tasks-20", ["run", "-c", config(directory, "tasks20", tasks(20))]),
        ("run-tasks-100", ["run", "-c", config(directory, "tasks100", tasks(100))]),
        ("log-lines-100000", ["run", "-c", config(directory, "prefix", prefix)]),
        ("audit-20", audit(directory, 20)),
        ("audit-100", audit(directory, 100)),
    ]


def instructions(drainit, args, directory):
    counted = os.path.join(directory, "callgrind")
    command = [*ALONE, "valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", "--trace-children=no", drainit, *args]
    # The environment is fixed: drainit searches PATH and copies all variables, so another environment would change the
    # count.
    env = {"PATH": "/usr/bin:/bin", "DRAINIT_LOG_LEVEL": "error"}
    run = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    if run.returncode:
        sys.exit(f"drainit {' '.join(args)}: exit code {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
    return int(re.search(r"Collected : (\d+)", run.stderr)[1])


def kind(drainit):
    """The processor and the C library, on which the counts depend."""
    with open(drainit, "rb") as file:
        libc = "gnu" if b"GNU C Library" in file.read() else "musl"
    return f"{os.uname().machine}-{libc}"


def read():
    """The tables of the budget."""
    tables, table = {}, {}
    for line in open(BUDGET) if os.path.exists(BUDGET) else []:
        if found := re.match(r"\[(.+)\]", line):
            table = tables.setdefault(found[1], {})
        elif found := re.match(r'([\w-]+) = "?([\w.]+)"?', line):
            table[found[1]] = found[2]
    return tables


def write(tables):
    with open(BUDGET, "w") as file:
        file.write(
            "# The costs of drainit: bytes of the static binary, and instructions for the tasks in budget.py. `make budget` compares\n"
            "# new measurements with these values, and `make budget-update` replaces the values.\n"
        )
        for name, table in sorted(tables.items()):
            file.write(f"\n[{name}]\n")
            for key, value in table.items():
                quote = '"' if key == "rustc" else ""
                file.write(f"{key} = {quote}{value}{quote}\n")


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--update"]
    drainit = os.path.abspath(args[0] if args else os.path.join(HERE, "../target/static/drainit"))
    if not shutil.which("valgrind"):
        sys.exit("no valgrind: apt-get install valgrind")
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        print("PID namespaces are not permitted here: nothing is counted")
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    measured = {"rustc": subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()[1]}
    measured["size"] = os.path.getsize(drainit)
    with tempfile.TemporaryDirectory() as directory:
        for name, args in workloads(directory):
            # If drainit starts processes, their timing sometimes adds an iteration of drainit's event loop, so the
            # lower of two counts is taken.
            measured[name] = min(instructions(drainit, args, directory) for _ in range(2 if args[0] in ("exec", "run") else 1))
        before = os.times()
        done = subprocess.run([drainit, *audit(directory, 500)], cwd=directory, capture_output=True, text=True, check=True)
        after = os.times()
    took = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"an audit of 500 workloads takes {took:.2f} s")
    tables, name = read(), kind(drainit)
    if "--update" in sys.argv:
        tables[name] = measured
        write(tables)
    failed = [f"{key} is more than {most:,} bytes" for key, most in LARGEST.items() if measured.get(key, 0) > most]
    if took > AUDIT or "\n500 workloads: loses requests 500" not in done.stdout:
        failed.append(f"an audit takes {took:.2f} s, and says {done.stdout[-200:]}")
    for large, small in FIVE_TIMES.items():
        if (times := measured[large] / measured[small]) > 5.1:
            failed.append(f"{large} costs {times:.2f} times {small}: something is not linear")
    if name not in tables:
        print(f"no budget for {name}: make budget-update writes one")
        if failed or os.environ.get("CI") == "true":
            sys.exit("; ".join(failed) or "nothing was compared, which in CI is an error")
        return
    table = tables[name]
    print(f"{name:20}{'budget':>14}{'measured':>14}")
    for key, value in measured.items():
        if key == "rustc":
            continue
        budget = int(table.get(key, 0))
        change = value / budget - 1 if budget else 1.0
        print(f"{key:20}{budget:14,}{value:14,}{change:+9.1%}")
        if change < -SLACK:
            print(f"  {key} is better than its budget, which no longer guards it: make budget-update")
        if change > SLACK:
            failed.append(f"{key}: {change:+.1%}")
    if failed:
        if table["rustc"] != measured["rustc"]:
            print(f"the budget is that of rustc {table['rustc']}, and this is {measured['rustc']}")
        sys.exit("not what the budget says: " + "; ".join(failed) + ". Is it meant? make budget-update")


main()
