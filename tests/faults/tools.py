"""Configures drainit and its peers to run the same services, each as its own documentation recommends.

A tool is a function that writes its config into a directory and returns the command that runs it.
"""

import json
import shlex
from dataclasses import dataclass

import kit

# The seconds that a service gets to end, and the seconds after which a container runtime kills the
# container.
STOP = 1
GRACE = 10


@dataclass
class Service:
    name: str
    command: list
    after: str = ""
    # The service is ready when this file exists. Only some tools have a time limit for the readiness.
    ready: str = ""
    ready_within: int = 2
    restart: bool = False
    # The number of restarts after which the container ends.
    restarts: int = 0
    # Whether the service must end with code 0 before its dependents start.
    oneshot: bool = False
    log: bool = False
    user: str = ""
    stop: float = STOP
    # A command that runs after the end of the service.
    post_stop: list = ()
    # A shell command that is the readiness probe, in place of the file.
    probe: str = ""
    log_file: str = ""
    # Further keys, only for drainit.
    more: dict = None


def drainit(directory, services):
    """Follows docs/config.md."""
    config = {"shutdown": {"grace_period": f"{GRACE}s", "reserve": "1s"}, "processes": {},
              "control": {"socket": f"{directory}/control.sock"}}
    for service in services:
        entry = config["processes"][service.name] = {
            "command": service.command, "stop_grace_period": f"{service.stop}s"}
        if service.after:
            entry["depends_on"] = [service.after]
        if service.ready:
            entry["readiness"] = {"file": service.ready, "timeout": f"{service.ready_within}s"}
        if service.probe:
            entry["readiness"] = {"exec": ["sh", "-c", service.probe], "timeout": f"{service.ready_within}s"}
        if service.restart:
            entry |= {"restart": "always", "restart_delay": "200ms"}
        if service.restarts:
            entry |= {"restart": f"on-failure:{service.restarts}", "restart_delay": "200ms"}
        if service.oneshot:
            entry["type"] = "oneshot"
        if service.log:
            entry["log"] = {"prefix": service.name}
        if service.log_file:
            entry["log"] = {"file": str(service.log_file)}
        if service.user:
            entry["user"] = service.user
        if service.post_stop:
            entry["hooks"] = {"post_stop": {"command": service.post_stop, "timeout": "1s"}}
        for key, value in (service.more or {}).items():
            (config if key in ("control", "shutdown", "logging") else entry)[key] = value
    # Every JSON document is also a YAML document. drainit reads `$$` in a value as one `$`.
    (directory / "drainit.yaml").write_text(json.dumps(config).replace("$", "$$"))
    return [kit.DRAINIT, "run", "-c", directory / "drainit.yaml"]


def tini(directory, services):
    """Follows the README of tini: the command after `--`. A second service would need a shell script."""
    (service,) = services
    return [kit.which("tini"), "--", *service.command]


def depth(service, services):
    """The length of the chain of services that a service needs."""
    needed = [other for other in services if other.name == service.after]
    return 1 + depth(needed[0], services) if needed else 0


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def words(command):
    return shlex.join(str(part) for part in command)


def s6(directory, services):
    """Follows the documentation of s6 for containers, and of s6-overlay: the end of a service ends the container with
    the code of the service. Leftover processes get SIGTERM, and SIGKILL after a second."""
    scan = directory / "scan"
    scan.mkdir()
    for service in services:
        path = scan / service.name
        needed = next((other for other in services if other.name == service.after), None)
        limit = f"-t {needed.ready_within * 1000} -U" if needed and (needed.ready or needed.probe) else "-u"
        supervised = f"until s6-svok ../{service.after}; do sleep 0.1; done\n"
        wait = f"{supervised}s6-svwait {limit} ../{service.after} || exit 1\n" if needed else ""
        probe = service.probe or (f"test -e {service.ready}" if service.ready else "")
        ready = f"s6-notifyoncheck -d -n 0 -s 20 -t 1000 -c '{probe}' " if probe else ""
        user = f"s6-setuidgid {service.user} " if service.user else ""
        script(path / "run", f"#!/bin/sh\nexec 2>&1\n{wait}exec {ready}{user}{words(service.command)}\n")
        after = f"{words(service.post_stop)}\n" if service.post_stop else ""
        end = "" if service.restart else """\
[ "$1" = 256 ] && code=$((128 + $2)) || code=$1
[ -e ../.s6-svscan/code ] || echo "$code" >../.s6-svscan/code
s6-svscanctl -t ..
exit 125
"""
        # `limit` ends the script, unless the service has failed too often.
        limit = f"s6-permafailon 60 {service.restarts + 1} 1-255 true && exit 0\n" if service.restarts else ""
        script(path / "finish", f"#!/bin/sh\n{limit}{after}{end}")
        (path / "timeout-kill").write_text(f"{int(service.stop * 1000)}\n")
        if probe:
            (path / "notification-fd").write_text("3\n")
        if service.log_file:
            script(path / "log/run", f"#!/bin/sh\nexec s6-log {service.log_file.parent}\n")
    script(scan / ".s6-svscan/SIGTERM",
           "#!/bin/sh\n[ -e .s6-svscan/code ] || echo 0 >.s6-svscan/code\nexec s6-svscanctl -t .\n")
    script(scan / ".s6-svscan/finish",
           '#!/bin/sh\nkill -TERM -1 2>/dev/null && sleep 1\nexit "$(cat .s6-svscan/code 2>/dev/null || echo 0)"\n')
    return [kit.which("s6-svscan"), "-c", str(max(500, len(services) + 10)), scan]


# An event listener, as in supervisord's documentation: the end of a program ends the container. The arguments are the
# oneshots, which may end with code 0.
LISTENER = """\
import os, signal, sys
while True:
    print("READY", flush=True)
    header = dict(word.split(":") for word in sys.stdin.readline().split())
    event = dict(word.split(":") for word in sys.stdin.read(int(header["len"])).split())
    if event["processname"] not in sys.argv or event.get("expected") != "1":
        os.kill(os.getppid(), signal.SIGTERM)
    print("RESULT 2\\nOK", end="", flush=True)
"""


def supervisord(directory, services, root=True):
    text = f"""
[supervisord]
{"user=root" if root else ""}
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={directory}/supervisord.pid
childlogdir={directory}
[unix_http_server]
file={directory}/control.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    if not all(service.restart for service in services):
        (directory / "listener.py").write_text(LISTENER)
        text += f"""
[eventlistener:end]
command=/usr/bin/python3 {directory}/listener.py {" ".join(service.name for service in services if service.oneshot)}
events=PROCESS_STATE_EXITED,PROCESS_STATE_FATAL
"""
    # supervisord stops one group after the other, and all programs of a group at the same time. A program outside all
    # groups has its own group.
    levels = {}
    for service in services:
        levels.setdefault(depth(service, services), []).append(service.name)
    for level, names in levels.items():
        if len(names) > 1:
            text += f"""
[group:level{level}]
programs={",".join(names)}
priority={level}
"""
    for service in services:
        text += f"""
[program:{service.name}]
command={words(service.command).replace("%", "%%")}
startsecs={1 if service.restarts else 0}
autorestart={"true" if service.restart else "false"}
startretries={3 if service.restart else service.restarts}
priority={depth(service, services)}
stopwaitsecs={max(1, int(service.stop))}
stopasgroup=true
killasgroup=true
stdout_logfile={service.log_file or "/dev/fd/1"}
stdout_logfile_maxbytes=0
redirect_stderr=true
{f"user={service.user}" if service.user else ""}
"""
    (directory / "supervisord.conf").write_text(text)
    return [kit.which("supervisord"), "-c", directory / "supervisord.conf"]


def horust(directory, services):
    """Follows Horust's DOCUMENTATION.md. Because of the flag `--unsuccessful-exit-finished-failed`, Horust's exit code
    reports a failure."""
    folder = directory / "services"
    folder.mkdir()
    for service in services:
        health = f'[healthiness]\nfile-path = "{service.ready}"' if service.ready else ""
        health = f'[healthiness]\ncommand = "{service.probe}"' if service.probe else health
        health += "\nmax-failed = 5" if health else ""
        before = [f'"{other.name}.toml"' for other in services if other.after == service.name]
        (folder / f"{service.name}.toml").write_text(f"""
command = {json.dumps(words(service.command).replace("$", "$$"))}
stdout = "{service.log_file or "STDOUT"}"
stderr = "STDERR"
start-after = [{f'"{service.after}.toml"' if service.after else ""}]
shutdown-after = [{", ".join(before)}]
{f'user = "{service.user}"' if service.user else ""}
[restart]
strategy = "{"always" if service.restart else "on-failure" if service.restarts else "never"}"
backoff = "200ms"
{f"attempts = {service.restarts}" if service.restarts else ""}
[failure]
successful-exit-code = [0]
strategy = "{"ignore" if service.restart or service.restarts else "shutdown"}"
[termination]
signal = "TERM"
wait = "{int(service.stop * 1000)}ms"
[environment]
keep-env = true
{health}
""")
    return [kit.which("horust"), "--unsuccessful-exit-finished-failed", "--services-path", folder,
            "--uds-folder-path", directory]


WRITE = {"drainit": drainit, "tini": tini, "s6": s6, "supervisord": supervisord, "Horust": horust}
NEEDS = {"tini": ["tini"], "s6": ["s6-svscan", "s6-notifyoncheck", "execlineb"],
         "supervisord": ["supervisord"], "Horust": ["horust"]}


def write(tool, directory, services, root=True):
    options = {} if root else {"root": False}
    return [str(part) for part in WRITE[tool](directory, services, **(options if tool == "supervisord" else {}))]
