"""One round: every request that an operator or a cluster may send to drainit, once."""

import http.client
import json
import socket
import subprocess
import time

import kit
import load

LONGEST = 60


class World:
    """The running drainit: its directory, its ports, its events, and the operations so far."""

    def __init__(self, drainit, directory, log, ports, sites):
        self.drainit, self.directory, self.log = drainit, directory, log
        self.ports, self.sites = ports, sites
        self.operations, self.failures = {}, []
        self.events, self.read_to = [], 0
        self.filed = load.Numbers()

    def command(self, name, *arguments, code=0):
        """Calls drainit's command, and notes an exit code that is not the expected one."""
        command = [self.drainit, name, "--socket", self.directory / "control.sock", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
        self.count(name if code == 0 else f"{name} that fails")
        if run.returncode != code:
            said = (run.stdout + run.stderr)[-2000:]
            self.fail(f"drainit {name} {' '.join(arguments)}: {run.returncode}: {said}")

    def count(self, operation, number=1):
        self.operations[operation] = self.operations.get(operation, 0) + number

    def fail(self, why):
        self.failures.append(f"{time.strftime('%H:%M:%S')} {why}")

    def get(self, path):
        port = self.ports["CONTROL_PORT"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self.count("requests of /status, /metrics and /readyz")
        return answer.status, text

    def write(self, name, text):
        """Replaces a file of the directory at once."""
        new = self.directory / f".{name}.new"
        new.write_text(text)
        new.rename(self.directory / name)

    def wait_event(self, event, process=None):
        """Waits for the next event of this kind, and drops all earlier events."""
        def found():
            self.read_events()
            for place, each in enumerate(self.events):
                if each["event"] == event and process in (None, each.get("name")):
                    self.events = self.events[place + 1:]
                    return True
            return False
        try:
            what = f"event {event} of {process}"
            kit.wait_until(lambda: found() or time.sleep(0.05), LONGEST, what)
        except TimeoutError as error:
            self.fail(str(error))

    def read_events(self):
        with open(self.log, "rb") as file:
            file.seek(self.read_to)
            whole = file.read().rpartition(b"\n")[0]
            self.read_to += len(whole) + bool(whole)
            for line in whole.splitlines():
                event = json.loads(line) if line.startswith(b"{") else {}
                if "event" not in event:
                    continue
                self.count(f"event {event['event']}")
                self.events.append(event)

    def forget_events(self):
        """The next `wait_event` looks at later events only."""
        self.read_events()
        self.events.clear()

    def read_filed(self, name):
        """Reads a log file whose lines follow the lines that were already read."""
        path = self.directory / name
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            self.filed.take(line)

    def wait_quiet(self):
        """Waits until everything is ready, and no old instance is left."""
        def is_quiet():
            status = json.loads(self.get("/status")[1])
            odd = [each for each in status["processes"] if "replaces" in each or "replaced" in each]
            return (status["ready"] and not odd) or time.sleep(0.2)
        kit.wait_until(is_quiet, LONGEST, "quiet")


def run(world, number):
    """Runs the round with this number."""
    replace(world, number)
    watch(world, number)
    reload(world, number)
    ask(world, number)
    world.wait_quiet()


def replace(world, number):
    world.write("app.env", f"NUMBER={number}\n")
    for process in ["app", "web", "router", "base"]:
        world.command("restart", process)
    refuse = world.directory / "refuse"
    refuse.touch()
    world.command("restart", "stubborn", code=1)
    refuse.unlink()
    world.command("start", "prepare")
    world.command("stop", "base")
    world.command("start", "watched")


def watch(world, number):
    world.forget_events()
    world.write("notifier.conf", str(number))
    world.write("watched.conf", str(number))
    world.wait_event("request_done", "watched")


def reload(world, number):
    """Changes to the other config and back. Each change reloads by command and by watch."""
    for site in ["b", "a"]:
        world.forget_events()
        world.write("site.yaml", f"# {number}\n{world.sites[site]}")
        world.command("reload")
        world.wait_event("reload_done")
        world.wait_event("reload_done")
    # A reload by command refuses a wrong config. The file gets its old content back before the watch sees a change.
    good = (world.directory / "site.yaml").read_text()
    world.write("site.yaml", "processes: [")
    world.command("reload", code=1)
    world.write("site.yaml", good)


def ask(world, number):
    world.command("status")
    world.command("status", "--format", "json")
    world.command("kill", "-s", "CONT", "base")
    for path in ["/metrics", "/status", "/readyz"] * 3:
        world.get(path)
    # Clients that go away in the middle of a request, or never send one.
    for part in [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"]:
        with socket.create_connection(("127.0.0.1", world.ports["CONTROL_PORT"])) as client:
            client.sendall(part)
    world.read_filed("filer.log.1")
    (world.directory / "filer.log").rename(world.directory / "filer.log.1")
    world.count("rotation of a log file")
