"""Configures each supervisor to run the same processes.

A supervisor is a function that writes its config into a directory and returns the command that runs
it there.
"""

import json
import os
import signal
from dataclasses import dataclass

from kit import CHILD, DRAINIT, ROOT, which


@dataclass
class Process:
    name: str
    command: list
    after: str = ""
    socket: str = ""
    log: bool = True
    # Whether the other processes continue if this process ends.
    may_end: bool = False


@dataclass(frozen=True)
class Supervisor:
    name: str
    write: object
    needs: tuple
    stop: int = signal.SIGTERM

    def missing(self):
        return [tool for tool in self.needs if not which(tool)]


def chain(directory, take=0):
    """The entrypoint of examples/api-gateway, with processes that are ready at once."""
    log = directory / "log"
    names = ["python-executor", "policy-engine", "router"]
    processes = []
    for place, name in enumerate(names):
        socket = str(directory / f"{name}.sock")
        command = [CHILD, "serve", name, str(log), f"socket={socket}", f"take={take}"]
        processes.append(Process(name, command, names[place - 1] if place else "", socket))
    return processes


def drainit(directory, processes, control=True):
    config = {"processes": {}}
    if control:
        config["control"] = {"listen": "127.0.0.1:0", "socket": str(directory / "control.sock")}
    for process in processes:
        entry = config["processes"][process.name] = {"command": process.command}
        if process.after:
            entry["depends_on"] = [process.after]
        if process.socket:
            entry |= {"sockets": [process.socket], "readiness": {"unix": process.socket}}
        if process.may_end:
            entry["on_exit"] = "ignore"
        if process.log:
            entry["log"] = {"prefix": process.name[:3]}
    path = directory / "drainit.yaml"
    # Every JSON document is also a YAML document.
    path.write_text(json.dumps(config))
    return [DRAINIT, "run", "-c", path]


def bash(directory, processes):
    return ["bash", ROOT / "benches/peers/entrypoint.sh", CHILD, directory, *processes[0].command[5:]]


def supervisord(directory, processes):
    text = f"""
[supervisord]
USER
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={directory}/supervisord.pid
minfds={len(processes) * 4 + 1024}
[unix_http_server]
file={directory}/supervisord.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    # Without `user`, supervisord warns root. With `user`, supervisord fails for every other user.
    text = text.replace("USER", "user=root" if os.geteuid() == 0 else "")
    for place, process in enumerate(processes):
        output = "stdout_logfile=/dev/fd/1\nstdout_logfile_maxbytes=0\nredirect_stderr=true\n"
        if not process.log:
            output = "stdout_logfile=NONE\nstderr_logfile=NONE\n"
        text += f"""
[program:{process.name}]
command={" ".join(process.command)}
priority={place}
startsecs=0
{output}"""
    path = directory / "supervisord.conf"
    path.write_text(text)
    return [which("supervisord"), "-c", path]


def horust(directory, processes):
    services = directory / "services"
    services.mkdir()
    for process in processes:
        after = f'start-after = ["{process.after}.toml"]\n' if process.after else ""
        before = [f'"{other.name}.toml"' for other in processes if other.after == process.name]
        health = f'[healthiness]\nfile-path = "{process.socket}"\n' if process.socket else ""
        (services / f"{process.name}.toml").write_text(f"""
command = "{" ".join(process.command)}"
stdout = "STDOUT"
stderr = "STDERR"
{after}
[restart]
strategy = "never"
[failure]
strategy = "shutdown"
[termination]
signal = "TERM"
wait = "10s"
{health}
""" .replace("[restart]", f'shutdown-after = [{", ".join(before)}]\n[restart]' if before else "[restart]"))
    return [which("horust"), "--services-path", services, "--uds-folder-path", directory]


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)


def service(scan, process, wait, ready=""):
    """Writes the directory of an s6 or runit service, which runs `wait` first if it needs another."""
    path = scan / process.name
    path.mkdir(parents=True)
    first = f"{wait}\n" if process.after else ""
    script(path / "run", f"#!/bin/sh\n{first}exec {' '.join(process.command)}{ready}\n")
    return path


def s6(directory, processes):
    scan = directory / "scan"
    for process in processes:
        wait = f"s6-svwait {'-U' if process.socket else '-u'} ../{process.after}"
        path = service(scan, process, wait, " notify=3" if process.socket else "")
        if process.socket:
            (path / "notification-fd").write_text("3\n")
        # An ended process stays down, as with the other supervisors.
        script(path / "finish", "#!/bin/sh\nexit 125\n")
    return [which("s6-svscan"), "-c", str(max(500, len(processes) + 10)), scan]


def runit(directory, processes):
    scan = directory / "runit"
    for process in processes:
        path = service(scan, process, f"sv start ../{process.after} >/dev/null || exit 1")
        if process.socket:
            script(path / "check", f"#!/bin/sh\nexec test -S {process.socket}\n")
    return [which("runsvdir"), "-P", scan]


DRAINIT_RUN = Supervisor("drainit", drainit, ())
BASH = Supervisor("bash entrypoint", bash, ("bash",))
SUPERVISORD = Supervisor("supervisord", supervisord, ("supervisord",))
HORUST = Supervisor("Horust", horust, ("horust",))
S6 = Supervisor("s6", s6, ("s6-svscan", "s6-svwait"))
# SIGTERM would leave the services running.
RUNIT = Supervisor("runit", runit, ("runsvdir", "sv"), stop=signal.SIGHUP)

ALL = [DRAINIT_RUN, BASH, SUPERVISORD, HORUST, S6, RUNIT]
