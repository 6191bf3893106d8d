#!/usr/bin/env python3
"""Stops real servers under traffic, alone and under drainit, and writes docs/measured/servers.md; `make servers` runs it.

Usage: main.py DRAINIT [WORD…]

WORDs select servers by a part of their name, and then the result is printed, and the page is not written. PAGE=1 only
writes the page, from the results of earlier runs. Exits with 1 if a server does not do what the table of known programs
says.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kit import free_port, in_namespace, init_of, install, measured, table, write_page
from load import KEPT, LONG, Load
from table import BUILD, OTHERS, PIP, PYTHON, ROWS, TOP, known

HERE = Path(__file__).resolve().parent
PLACE = TOP / "target/servers"
# The cells of each server, of this or an earlier run.
KEPT_RESULTS = PLACE / "results.json"
# Each run mostly waits, so some of them run at the same time.
AT_ONCE = int(os.environ.get("AT_ONCE", 4))
KNOWN = known()
# A Go server has any name, and needs what an unknown program needs.
ANY = KNOWN["node"]


async def behind(reader, writer):
    """Answers for the proxies, after the seconds in the path."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(float(head.split()[1].split(b"/")[-1]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
    except (OSError, EOFError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


def lines(row):
    """The keys that the table advises: of the container, and of the process."""
    program = KNOWN.get(row.known, ANY)
    best = next(iter(program.signals), "TERM")
    signal_key = "" if best == "TERM" else f"stop_signal: {best}"
    if program.kind == "server":
        return "readiness_delay: 5s", signal_key
    if program.kind in ("store", "other"):
        return "", signal_key
    return "", ", ".join(filter(None, [signal_key, "drain: connections"]))


class Run:
    """A server in a directory of its own, as PID 1's child in a PID namespace."""

    def __init__(self, row, drainit, port_behind):
        self.row, self.drainit = row, drainit
        self.directory = tempfile.TemporaryDirectory(prefix="servers-", dir="/tmp", ignore_cleanup_errors=True)
        self.place, self.port, self.behind = Path(self.directory.name), free_port(), port_behind
        self.free = free_port()
        os.chmod(self.place, 0o755)
        bin_of = f"{PLACE / row.environment_name}/bin:" if row.environment_name else ""
        path = f"{bin_of}{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
        more = {name: self.fill(value) for name, value in row.environment.items()}
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.place), "HOME": str(self.place), **more}
        # Go compiles its standard library once.
        self.environment["GOCACHE"] = str(PLACE / "go/cache")
        for name in [*row.files.split(), *([row.front] if row.front else [])]:
            (self.place / name).write_text(self.fill((HERE / "files" / name).read_text()))
        if row.prepare:
            subprocess.run(["sh", "-ec", self.fill(row.prepare)], check=True, env=self.environment, cwd=self.place)
        self.children, self.log = [], open(self.place / "log", "w+")

    def fill(self, text):
        words = {"DIR": self.place, "PORT": self.port, "BEHIND": self.behind, "FREE": self.free}
        return re.sub("|".join(words), lambda found: str(words[found[0]]), text)

    def start(self, command):
        """Starts PID 1 of a new PID namespace, which ends with it."""
        child = in_namespace(command, stdout=self.log, stderr=self.log, cwd=self.place, env=self.environment)
        self.children.append(child)
        return child

    def front(self):
        return shlex.split(self.fill(f"nginx -e stderr -p DIR -c DIR/{self.row.front}"))

    def start_alone(self):
        command = shlex.split(self.fill(self.row.alone or self.row.command))
        if self.row.front:
            self.start(self.front())
        return self.start([sys.executable, "-B", HERE / "alone.py", *command])

    def start_drainit(self):
        delay, keys = lines(self.row)
        quoted = lambda words: "[" + ", ".join("'" + word.replace("'", "''") + "'" for word in words) + "]"
        command = quoted(shlex.split(self.fill(self.row.command)))
        ready = f"readiness: {{tcp: '127.0.0.1:{self.port}', timeout: 120s}}"
        if self.row in OTHERS:
            ready = ""
        front = ""
        if self.row.front:
            front = f"  front: {{command: {quoted(self.front())}, {ready}, depends_on: [web], stop_signal: QUIT}}\n"
            ready = f"readiness: {{unix: {self.place}/php.sock, timeout: 120s}}"
        web = ", ".join(filter(None, [f"command: {command}", ready, keys]))
        shutdown = ", ".join(filter(None, ["grace_period: 30s", delay]))
        config = self.place / "drainit.yaml"
        config.write_text(f"shutdown: {{{shutdown}}}\nprocesses:\n  web: {{{web}}}\n{front}")
        checked = subprocess.run(
            [self.drainit, "check", "--strict", "--image=false", "-c", config],
            capture_output=True, text=True, env=self.environment,
        )
        if checked.returncode != 0:
            raise RuntimeError(f"check is not content: {checked.stdout}{checked.stderr}")
        return self.start([self.drainit, "run", "-c", config])

    async def ready(self, request):
        """Waits for the first good answer."""
        until = time.monotonic() + 150
        while time.monotonic() < until and self.children[-1].poll() is None:
            load = Load(self.port, request, True)
            await load.new()
            if load.early == 0:
                return
            await asyncio.sleep(0.2)
        raise RuntimeError(f"{self.row.name} does not answer:\n{self.said()[-3000:]}")

    async def listens(self):
        """Waits until a program that is no server of HTTP accepts connections, and a second more for what it then does."""
        until = time.monotonic() + 120
        while time.monotonic() < until and self.children[-1].poll() is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await asyncio.sleep(1)
                return
            except OSError:
                await asyncio.sleep(0.1)
        raise RuntimeError(f"{self.row.name} does not listen:\n{self.said()[-3000:]}")

    def said(self):
        return (self.place / "log").read_text(errors="replace")

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self.log.close()
        self.directory.cleanup()


async def measure(row, drainit, looks, port_behind):
    """Stops a server under traffic: the load with its counts, and the words about the end."""
    run = Run(row, drainit, port_behind)
    try:
        child = run.start_drainit() if drainit else run.start_alone()
        await run.ready(row.request)
        load = Load(run.port, row.request, looks)
        clients = [asyncio.create_task(load.kept(number)) for number in range(KEPT)]
        clients.append(asyncio.create_task(load.each_new()))
        await asyncio.sleep(2)
        if row.request(LONG):
            clients.append(asyncio.create_task(load.slow()))
        await asyncio.sleep(0.3)
        if load.early:
            raise RuntimeError(f"{row.name}: {load.early} requests failed before the signal: {load.why}")
        load.signalled = time.monotonic()
        os.kill(init_of(run.children[-1]), signal.SIGTERM)
        code = await asyncio.to_thread(child.wait, 90)
        took = time.monotonic() - load.signalled
        await asyncio.sleep(1)
        load.over = True
        for child in run.children:
            child.kill()
        await asyncio.gather(*clients)
        ended = f"{code}, {took:.1f} s" if drainit else re.search(r"^ended with (.*)$", run.said(), re.M)[1]
        if os.environ.get("VERBOSE"):
            print(run.said(), load.why, file=sys.stderr)
        return load, ended
    finally:
        run.end()


def at_term(load, ended):
    """What the server did at SIGTERM alone."""
    ended = ended.replace("SIGKILL after 10.0 s", "SIGKILL after 10 s")
    long = {None: "", "answered": "answered; ", "cut": "cut; "}.get(load.long, f"answered {load.long}; ")
    return long + ended


def differs(row, alone, best):
    """What contradicts the table of known programs."""
    program = KNOWN.get(row.known, ANY)
    (load, ended), (with_lines, code) = alone, best
    if program.at_term.startswith("finishes requests") and load.long not in ("answered", None, 500):
        yield f"{row.name}: the table says that it {program.at_term}, but the request was {load.long}"
    if program.at_term.startswith(("cuts requests", "does not finish")) and load.long == "answered":
        yield f"{row.name}: the table says that it {program.at_term}, but the request was answered"
    most = row.most or (2 if program.kind == "server" else 8)
    if with_lines.failed > most:
        yield f"{row.name}: {with_lines.failed} requests failed with the advised lines, more than {most}"
    if not code.startswith(("0,", "137,") if row.killed else "0,"):
        yield f"{row.name}: drainit ended with {code}"


async def hold(row, drainit, port_behind):
    """Stops a program during the work of its client, while another client of a store is idle: what happened to the
    work, and how the program ended."""
    run = Run(row, drainit, port_behind)
    idle = None
    try:
        child = run.start_drainit() if drainit else run.start_alone()
        client = shlex.split(run.fill(row.client))
        if client:
            await run.listens()
        else:
            await asyncio.sleep(3)
        output = {"stdout": run.log, "stderr": run.log, "env": run.environment}
        work = client and subprocess.Popen(client, stdin=subprocess.DEVNULL, **output)
        if row.idle:
            idle = subprocess.Popen(shlex.split(run.fill(row.idle)), stdin=subprocess.PIPE, **output)
        await asyncio.sleep(1)
        if child.poll() is not None or work and work.poll() is not None:
            raise RuntimeError(f"{row.name} does not serve:\n{run.said()[-3000:]}")
        began = time.monotonic()
        os.kill(init_of(child), signal.SIGTERM)
        code = await asyncio.to_thread(child.wait, 60)
        ended = f"code {code} after {time.monotonic() - began:.1f} s" if drainit else re.search(r"^ended with (.*)$", run.said(), re.M)[1]
        done = {None: "–", 0: "done"}.get(await asyncio.to_thread(work.wait, 60) if work else None, "cut")
        return done, ended.replace("SIGKILL after 10.0 s", "SIGKILL after 10 s")
    finally:
        if idle:
            idle.kill()
        run.end()


async def hold_all(rows, drainit, wrong):
    """The cells of programs of the kinds `store` and `other`. Adds to what is `wrong`."""
    found, store = {}, None
    for row in rows:
        try:
            if store is None:
                store = Run(OTHERS[0], None, 0)
                store.start_alone()
            alone, best = await hold(row, None, store.port), await hold(row, drainit, store.port)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            wrong.append(f"{row.name}: not measured: {error}")
            continue
        program = KNOWN[row.known]
        advised = ", ".join(f"`{key}`" for key in lines(row) if key) or ("what `check` says" if row.alone else "none")
        found[row.name] = [row.name, row.version(PLACE), *alone, advised, *best]
        print("servers: " + " | ".join(found[row.name]), file=sys.stderr, flush=True)
        waits = program.at_term.startswith(("waits until the last client", "does nothing"))
        if waits != ("SIGKILL" in alone[1]) or not best[1].startswith("code 0"):
            wrong.append(f"{row.name}: the table says that it {program.at_term}, but: {found[row.name]}")
    if store:
        store.end()
    return found


async def cells(row, drainit, port_behind):
    """The cells of a row, and the contradictions. A failure to start is tried once more."""
    found = {}
    for is_alone in (True, False):
        for looks in (True, False):
            for last in (False, True):
                try:
                    found[is_alone, looks] = await measure(row, None if is_alone else drainit, looks, port_behind)
                    break
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    print(f"servers: {row.name}: {error}", file=sys.stderr, flush=True)
                    if last:
                        # Not each processor has the instructions of each package.
                        return None, [] if "SIGILL" in str(error) else [f"{row.name}: not measured"]
    failed = lambda *key: f"{found[key][0].failed} of {found[key][0].failed + found[key][0].answered}"
    advised = ", ".join(f"`{key}`" for line in lines(row) if line for key in line.split(", "))
    if row.alone:
        advised += ", and what else `check` says"
    code, took = found[False, True][1].split(", ")
    cell = [row.name, row.version(PLACE), at_term(*found[True, True]), advised, failed(True, True), failed(True, False),
            failed(False, True), failed(False, False), took if code == "0" else f"{code}, {took}"]
    print("servers: " + " | ".join(cell), file=sys.stderr, flush=True)
    return cell, list(differs(row, found[True, True], found[False, True]))


async def main(drainit, words):
    wanted = [row for row in [*ROWS, *OTHERS] if not os.environ.get("PAGE")]
    wanted = [row for row in wanted if not words or any(word.lower() in row.name.lower() for word in words)]
    server = await asyncio.start_server(behind, "127.0.0.1", 0, backlog=1000)
    port, slots, heavy = server.sockets[0].getsockname()[1], asyncio.Semaphore(AT_ONCE), asyncio.Lock()
    kept = json.loads(KEPT_RESULTS.read_text()) if KEPT_RESULTS.exists() else {}
    wrong = []

    async def one(row):
        async with heavy if row.heavy else contextlib.nullcontext(), slots:
            cell, problems = await cells(row, drainit, port)
        wrong.extend(problems)
        if cell:
            kept[row.name] = cell
            KEPT_RESULTS.write_text(json.dumps(kept, indent=1))

    here = []
    for row in wanted:
        try:
            if row.environment_name:
                name = row.environment_name
                install(PLACE / name, PIP[name], BUILD.get(name), PYTHON.get(name, sys.executable))
        except subprocess.CalledProcessError as error:
            print(f"servers: {row.name}: {error}", file=sys.stderr)
        if row.version(PLACE):
            here.append(row)
        else:
            print(f"servers: {row.name} cannot be had here", file=sys.stderr)
    await asyncio.gather(*(one(row) for row in here if row in ROWS))
    kept.update(await hold_all([row for row in here if row in OTHERS], drainit, wrong))
    KEPT_RESULTS.write_text(json.dumps(kept, indent=1))
    head = ["Server", "Version", "At SIGTERM", "Lines", "Alone, looks", "Alone, does not look", "Lines, looks",
            "Lines, does not look", "Stop"]
    head_of_others = ["Program", "Version", "SIGTERM: work", "SIGTERM: end", "Lines", "Work", "End"]
    table_of = lambda head, rows: table(head, [kept[row.name] for row in rows if row.name in kept], numbers=False)
    if words:
        for columns, rows in ((head, ROWS), (head_of_others, OTHERS)):
            if any(row in rows for row in here):
                print(table_of(columns, [row for row in here if row in rows]))
    else:
        missing = [row.name for row in [*ROWS, *OTHERS] if row.name not in kept]
        results = f"{measured(missing)}\n\n{table_of(head, ROWS)}"
        write_page("servers.md", "make servers", results=results, others=table_of(head_of_others, OTHERS))
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(os.path.abspath(sys.argv[1]), sys.argv[2:])))
