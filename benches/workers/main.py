#!/usr/bin/env python3
"""Stops real workers at random moments under drainit, and writes docs/measured/workers.md; `make workers` runs it.

Usage: main.py DRAINIT RUNS [WORD…]

WORDs select workers by a part of their name or of their broker's, and then the result is printed, and the page is not
written. PAGE=1 only writes the page, from the results of earlier runs. Exits with 1 if a job was cut before the `time`
of the drain, ran twice without having been cut, or was lost although the broker delivers again.
"""

import json
import math
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kit import free_port, in_namespace, init_of, install, measured, table, version_in, version_of_debian, write_page
from table import PIP, ROWS

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
PLACE = TOP / "target/servers"
# The counts of each worker, of this or an earlier run.
KEPT_RESULTS = PLACE / "workers.json"
JOBS, SHORTEST, LONGEST = 100, 0.1, 8.0
# In a run of an example, the web server gets so many jobs before each stop, and one each so many seconds during the stop.
BACKLOG, PACE = 20, 0.2
# The grace period, and the `time` of the drain.
GRACE, TIME = 8, 5
# The workers that run at the same time.
AT_ONCE = int(os.environ.get("AT_ONCE", 6))
# The last sign of life of a cut job may be so old, because a job on a busy machine touches its file late.
BEAT = 1.5
# On a busy machine, a worker needs so many seconds for its start.
START = 20
RABBITMQ = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"


def listens(port, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def serve(name, command, place, port, seconds, **options):
    """Starts a broker in a PID namespace, and waits until it listens."""
    path = place / f"{name}.log"
    with open(path, "w") as log:
        child = in_namespace(command, stdout=log, stderr=log, **options)
    if not listens(port, seconds):
        child.kill()
        raise RuntimeError(f"{name} does not start: {path.read_text()}")
    return child


class Rabbitmq:
    """A broker on loopback, with its epmd, in a PID namespace."""

    def __init__(self, place):
        self.place, self.port = place, free_port()
        self.sbin = sorted(Path("/").glob(RABBITMQ[1:]))[-1]
        interface = "-kernel inet_dist_use_interface {127,0,0,1}"
        self.environment = {
            **os.environ, "HOME": str(place), "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"workers{self.port}@localhost", "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(place), "RABBITMQ_LOG_BASE": str(place), "RABBITMQ_PID_FILE": str(place / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": interface, "RABBITMQ_CTL_ERL_ARGS": interface,
            "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(free_port()), "RABBITMQ_CONFIG_FILE": str(place / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "plugins"),
        }
        self.child = serve("rabbitmq", [self.sbin / "rabbitmq-server"], place, self.port, 300, env=self.environment)

    def url(self, name):
        """A virtual host of its own."""
        for words in (["add_vhost", name], ["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]):
            subprocess.run([self.sbin / "rabbitmqctl", *words], env=self.environment, check=True, stdout=subprocess.DEVNULL)
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{name}"


class Temporal:
    """Temporal's development server on loopback, in a PID namespace."""

    def __init__(self, place):
        self.port = free_port()
        server = [PLACE / "temporal/bin/temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", self.port]
        self.child = serve("temporal", server, place, self.port, 60, env={**os.environ, "HOME": str(place)})

    def url(self, name):
        """A queue of its own."""
        return f"127.0.0.1:{self.port}/{name}"


class Postgres:
    """A PostgreSQL on loopback, in a PID namespace. It does not run as root."""

    def __init__(self, place):
        self.port, data = free_port(), place / "postgres"
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        data.mkdir()
        place.chmod(0o755)
        if user:
            shutil.chown(data, "postgres", "postgres")
        words = ["-D", data, "--auth=trust", "--username=postgres", "--no-sync"]
        subprocess.run([*user, self.bin / "initdb", *words], check=True, stdout=subprocess.DEVNULL)
        server = [self.bin / "postgres", "-D", data, "-k", data, "-p", self.port, "-h", "127.0.0.1"]
        self.child = serve("postgres", [*user, *server], place, self.port, 60)

    def url(self, name):
        """A database of its own."""
        words = ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres", name]
        subprocess.run([self.bin / "createdb", *words], check=True)
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"


class Kafka:
    """librdkafka's broker for tests, on loopback, in a PID namespace: neither PyPI nor Debian has Kafka's own broker. Each
    topic has 4 partitions."""

    def __init__(self, _):
        code = """import signal, confluent_kafka
broker = confluent_kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
print(*("%s:%s" % (it.host, it.port) for it in broker.list_topics().brokers.values()), flush=True)
signal.pause()"""
        self.child = in_namespace([PLACE / "kafka/bin/python", "-c", code], stdout=subprocess.PIPE, text=True)
        self.address = self.child.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("the broker does not start")

    def url(self, name):
        """A topic of its own."""
        return f"{self.address}/{name}"


# The brokers that all workers share. Each worker has a redis of its own.
SHARED = {"rabbitmq": Rabbitmq, "kafka": Kafka, "temporal": Temporal, "postgres": Postgres}


class Worker:
    """The runs of a worker under drainit, one after the other."""

    def __init__(self, row, drainit, place, broker, dice):
        self.row, self.drainit, self.place, self.dice = row, drainit, place, dice
        self.jobs, self.stops, self.child, self.asked = place / "jobs", [], None, 0
        # The runs that have ended, by the name of their file.
        self.ended = {}
        self.jobs.mkdir()
        for file in (HERE / "files").iterdir():
            shutil.copy(file, place)
        self.port = free_port()
        self.url = broker or f"redis://127.0.0.1:{self.port}"
        path = f"{PLACE / row.environment_name}/bin:{os.environ['PATH']}"
        more = dict(pair.split("=") for pair in row.environment.split())
        self.environment = {**os.environ, "PATH": path, "BROKER": self.url, "JOBS": str(self.jobs), "PYTHONPATH": str(place), **more}
        self.log = open(place / "log", "a")
        if not broker and not row.is_inside:
            redis = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--dir", place]
            self.broker = in_namespace(redis, stdout=subprocess.DEVNULL)
            assert listens(self.port, 20)
        if row.prepare:
            prepare = shlex.split(row.prepare.replace("BROKER", self.url))
            subprocess.run(prepare, check=True, env=self.environment, cwd=place, stdout=self.log, stderr=self.log)
        words = ", ".join("'" + word + "'" for word in shlex.split(row.command.replace("BROKER", self.url)))
        needs, redis = "depends_on: []", ""
        if row.is_inside:
            needs = "depends_on: [redis]"
            command = f"[redis-server, --port, '{self.port}', --bind, 127.0.0.1, --appendonly, 'yes', --dir, '{place}']"
            redis = f"  redis: {{command: {command}, readiness: {{tcp: '127.0.0.1:{self.port}'}}}}\n"
        config = (
            f"shutdown: {{grace_period: {GRACE}s}}\nprocesses:\n{redis}  worker: {{command: [{words}], {needs}, scale: {row.copies}, "
            f"stop_signal: {row.signal}, drain: {{signal: {{signal: {row.signal}, time: {TIME}s, min: 0s}}}}}}\n"
        )
        # The numbers of the jobs that must end.
        self.numbers = set(range(JOBS))
        if row.example:
            self.numbers, self.web = set(), free_port()
            self.environment["GUNICORN_CMD_ARGS"] = f"-b 127.0.0.1:{self.web}"
            config = (TOP / "docs/workers.md").read_text().split("```yaml\n")[row.example].split("```")[0]
            config = config.replace("redis-server", f"redis-server, --port, '{self.port}'").replace("6379", str(self.port))
            config = config.replace("redis-cli", f"redis-cli -p {self.port}")
        (place / "drainit.yaml").write_text(config)

    def start(self):
        run = [self.drainit, "run", "-c", self.place / "drainit.yaml"]
        self.started = time.time()
        self.child = in_namespace(run, env=self.environment, cwd=self.place, stdout=self.log, stderr=self.log)

    def send(self, jobs):
        """Gives the jobs to the broker."""
        command, text = self.row.send.split(), json.dumps(jobs)
        if len(command) == 1:
            code = f"import json, sys, {command[0]}; {command[0]}.send(json.load(sys.stdin))"
            command = ["python", "-c", code]
        if self.row.is_inside:
            assert listens(self.port, 20)
        subprocess.run(command, input=text, text=True, check=True, env=self.environment, cwd=self.place, stdout=self.log, stderr=self.log)

    def stop(self, asks=False):
        """Stops the container. With `asks`, the web server gets jobs until it has ended."""
        # PID 1 does not get a signal before drainit has installed its handlers.
        until, starts = time.time() + 60, len(self.stops) + 1
        while time.time() < until and (self.place / "log").read_text(errors="replace").count("everything is ready") < starts:
            time.sleep(0.2)
        os.kill(init_of(self.child), signal.SIGTERM)
        began = time.time()
        while asks and self.ask():
            time.sleep(PACE)
        # The server must answer for a second after the signal.
        assert not asks or time.time() > began + 1
        code = self.child.wait(GRACE + 60)
        self.stops.append((began, time.time(), code))

    def ask(self):
        """Gives the web server a job. Returns whether the server has accepted the job."""
        self.asked += 1
        url = f"http://127.0.0.1:{self.web}/{self.asked}/{self.length()}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
        except OSError:
            return False
        self.numbers.add(self.asked)
        return True

    def work_for_requests(self):
        """Has the web server accept jobs, with stops at random moments, and jobs during the stops."""
        while len(self.numbers) < JOBS:
            if self.row.is_inside:
                (self.place / "dump.rdb").unlink(missing_ok=True)
            self.start()
            # The server of the page has no readiness.
            assert listens(self.web, START)
            for _ in range(BACKLOG):
                assert self.ask()
            time.sleep(self.dice.uniform(0, 4))
            self.stop(asks=True)
        if not self.row.is_inside:
            # The next container runs what is left.
            self.start()
            while not self.is_over() and time.time() < self.last_sign() + self.row.patience:
                time.sleep(0.5)
            self.stop()

    def runs(self):
        """All runs of each job: when the run began, when its last sign of life was, and whether it ended."""
        found = {}
        for file in os.scandir(self.jobs):
            if file.name not in self.ended:
                number, began = file.name.split("-")
                run = float(began), file.stat().st_mtime, "ended" in Path(file).read_text()
                if run[2]:
                    self.ended[file.name] = int(number), run
                found.setdefault(int(number), []).append(run)
            else:
                number, run = self.ended[file.name]
                found.setdefault(number, []).append(run)
        return {number: sorted(runs) for number, runs in found.items()}

    def length(self):
        """The length of a job in seconds."""
        return round(SHORTEST * math.exp(self.dice.random() * math.log(LONGEST / SHORTEST)), 2)

    def work(self):
        """Has all jobs done, with stops at random moments."""
        if self.row.example:
            return self.work_for_requests()
        jobs = [(number, self.length()) for number in range(JOBS)]
        self.start()
        self.send(jobs)
        ran = time.time()
        while True:
            if self.first(3 * START):
                ran = time.time()
            elif time.time() > ran + self.row.patience:
                # The broker delivers nothing any more.
                return self.stop()
            time.sleep(self.dice.uniform(0, 4))
            if self.is_over():
                return self.stop()
            self.stop()
            self.start()
            if len(self.runs()) == JOBS:
                # Only cut jobs are left. The broker has some time to deliver them again.
                patience = self.row.patience if self.row.again else 5
                while not self.is_over() and time.time() < self.last_sign() + patience:
                    time.sleep(0.5)
                return self.stop()

    def last_sign(self):
        """When a job was last alive, or when the started worker should have begun one."""
        return max([self.started + START, *(run[1] for runs in self.runs().values() for run in runs)])

    def first(self, seconds):
        """Waits until a job runs, or all have ended. Returns whether that happened in time."""
        until, since = time.time() + seconds, time.time()
        while time.time() < until:
            if self.is_over() or any(run[1] > since for runs in self.runs().values() for run in runs):
                return True
            time.sleep(0.3)
        return False

    def is_over(self):
        runs = self.runs()
        return all(any(run[2] for run in runs.get(number, [])) for number in self.numbers)

    def end(self):
        for child in (self.child, getattr(self, "broker", None)):
            if child and child.poll() is None:
                child.kill()
                child.wait()
        self.log.close()


COUNTS = ["jobs", "cut", "twice", "again", "missing", "unbegun", "both", "early", "stops", "killed", "longest", "runs"]


def judge(worker, counts):
    """Counts what happened to the jobs."""
    runs = worker.runs()
    counts["jobs"] += len(worker.numbers)
    for number in worker.numbers:
        of = runs.get(number, [])
        ends = [run for run in of if run[2]]
        cuts = [run for run in of if not run[2]]
        counts["cut"] += len(cuts)
        for _, ended, _ in ends[:-1]:
            # The stop of the instance that has ended the job.
            code = next((code for _, over, code in worker.stops if ended <= over), 0)
            counts["again" if code == 137 else "twice"] += 1
        counts["missing"] += not ends
        counts["unbegun"] += not of
        counts["both"] += sum(later[0] < earlier[1] - BEAT for earlier, later in zip(of, of[1:]))
        for _, alive, _ in cuts:
            # The next stop may begin soon after the end of the stop that has cut the job.
            during = [began for began, over, _ in worker.stops if began <= alive <= over]
            stop = max(during or (began for began, _, _ in worker.stops if began <= alive + BEAT), default=0)
            if alive + BEAT < stop + min(TIME, worker.row.limit):
                counts["early"] += 1
                counts["earliest"] = min(counts["earliest"], alive - stop)
    counts["stops"] += len(worker.stops)
    counts["killed"] += sum(code == 137 for _, _, code in worker.stops)
    counts["longest"] = max([counts["longest"], *(over - began for began, over, _ in worker.stops)])


def measure(row, drainit, brokers, number):
    """The counts of one run of a worker."""
    counts = {**dict.fromkeys(COUNTS, 0), "earliest": 999.0, "problem": None}
    with tempfile.TemporaryDirectory(prefix="workers-", dir="/tmp", ignore_cleanup_errors=True) as place:
        worker = None
        try:
            broker = brokers[row.broker].url(Path(place).name) if row.broker in brokers else None
            worker = Worker(row, drainit, Path(place), broker, random.Random(f"{row.name} {row.broker} {number}"))
            worker.work()
            judge(worker, counts)
            counts["runs"] = 1
        except (OSError, IndexError, AssertionError, RuntimeError, subprocess.SubprocessError) as error:
            counts["problem"] = f"{type(error).__name__}: {error}"
            print(f"workers: {row.name}: {error}\n{(Path(place) / 'log').read_text()[-1500:]}", file=sys.stderr, flush=True)
        finally:
            if worker:
                worker.end()
            if os.environ.get("VERBOSE"):
                print((Path(place) / "log").read_text(), file=sys.stderr, flush=True)
    return counts


def sum_of(one, other):
    """The counts of more runs."""
    together = {name: one[name] + other[name] for name in COUNTS}
    together["longest"] = max(one["longest"], other["longest"])
    return {**together, "earliest": min(one["earliest"], other["earliest"]), "problem": one["problem"] or other["problem"]}


def version(row):
    kind, _, name = row.source.rpartition(":")
    return version_of_debian(name) if kind else version_in(PLACE / row.environment_name, name)


def wrong(row, counts):
    """What must not happen."""
    cut, lost = counts["cut"], counts["missing"]
    return (
        counts["early"] or counts["twice"] or counts["both"] or counts["problem"]
        or counts["unbegun"] and not row.forgets or lost > cut + counts["unbegun"]
        or lost and row.again or counts["again"] and not row.repeats
    )


def main(drainit, runs, words):
    for name, packages in PIP.items():
        install(PLACE / name, packages)
    wanted = [] if os.environ.get("PAGE") else ROWS
    wanted = [row for row in wanted if not words or any(word.lower() in f"{row.name} {row.broker}".lower() for word in words)]
    kept = json.loads(KEPT_RESULTS.read_text()) if KEPT_RESULTS.exists() else {}
    counts_of, lock = {}, threading.Lock()
    with tempfile.TemporaryDirectory(prefix="workers-", dir="/tmp", ignore_cleanup_errors=True) as place:
        brokers = {}
        for name in SHARED.keys() & {row.broker for row in wanted}:
            try:
                brokers[name] = SHARED[name](Path(place))
            except (OSError, IndexError, RuntimeError, subprocess.SubprocessError) as error:
                print(f"workers: without {name}: {error}", file=sys.stderr, flush=True)
        wanted = [row for row in wanted if row.broker not in SHARED or row.broker in brokers]

        def one(row, number):
            name = f"{row.name} {row.broker}"
            counts = measure(row, drainit, brokers, number)
            if counts["problem"]:
                # A run that fails is tried once more.
                counts = measure(row, drainit, brokers, number)
            with lock:
                counts_of[name] = sum_of(counts_of[name], counts) if name in counts_of else counts
                print(f"workers: {name}: {counts_of[name]}", file=sys.stderr, flush=True)
                if counts_of[name]["runs"]:
                    kept[name] = counts_of[name]
                    KEPT_RESULTS.write_text(json.dumps(kept, indent=1))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(one, row, number) for number in range(runs) for row in wanted]:
                done.result()
        for broker in brokers.values():
            broker.child.kill()
            broker.child.wait()
    rows, bad, missing = [], [], []
    for row in ROWS if not words else wanted:
        counts = kept.get(f"{row.name} {row.broker}")
        if not counts:
            missing.append(f"{row.name} ({row.broker})")
            continue
        rows.append([row.name, version(row), row.broker, f"{counts['jobs']}", f"{counts['stops']}", f"{counts['cut']}",
                     f"{counts['early']}", f"{counts['twice'] + counts['both']}", f"{counts['again']}", f"{counts['missing']}",
                     f"{counts['longest']:.1f} s"])
        if wrong(row, counts):
            bad.append(f"{row.name} ({row.broker}): {counts}")
    head = ["Worker", "Version", "Broker", "Jobs", "Stops", "Cut", "Cut too early", "Twice without a kill", "Again after a kill",
            "Missing", "Longest stop"]
    text = table(head, rows, numbers=False)
    if words:
        print(text)
    else:
        write_page("workers.md", "make workers", results=f"{measured(missing)}\n\n{text}")
    print("\n".join(bad), file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
