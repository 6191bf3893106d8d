"""The inits that `make probe` judges: how each one runs one command as its own page recommends, and its version."""

import os
import re
import shlex
from dataclasses import dataclass, field

import kit
import tools

CIRCUS = kit.TOOLS / "circus"
CIRCUS_VERSION = "0.19.0"
# That of the Makefile. Horust does not print its version.
HORUST_VERSION = re.search(r"HORUST_VERSION = (.*)", (kit.ROOT / "Makefile").read_text())[1]
# docker stop kills after 10 s.
STOP = 8


@dataclass
class Init:
    name: str
    # The program that must be there, and the package of Debian that has it.
    program: str
    package: str
    # The command. `pid1-probe` appends the command of the child.
    command: list
    # How the page of the init says that a failed process starts again. None: the init starts one command once.
    restarting: list = field(default_factory=list)


def wrapped(tool):
    """Writes a config for the command of the child, then becomes the supervisor."""
    return ["/usr/bin/python3", "-B", str(kit.ROOT / "benches/inits/wrap.py"), tool]


def supervisor(name, program, package, tool):
    return Init(name, program, package, wrapped(tool), [*wrapped(tool), "--restart"])


def one(name, program, package, *options):
    return Init(name, program, package, [program, *options])


INITS = [
    one("drainit exec", kit.DRAINIT, "", "exec", "--"),
    supervisor("drainit run", kit.DRAINIT, "", "drainit"),
    one("tini", "tini", "tini", "--"),
    one("tini -g", "tini", "tini", "-g", "--"),
    one("tini-static", "tini-static", "tini", "--"),
    one("catatonit", "catatonit", "catatonit", "--"),
    one("dumb-init", "dumb-init", "dumb-init", "--"),
    one("docker-init", "docker-init", "docker.io", "--"),
    supervisor("s6-svscan", "s6-svscan", "s6", "s6"),
    supervisor("runsvdir", "runsvdir", "runit", "runit"),
    supervisor("supervisord", "supervisord", "supervisor", "supervisord"),
    supervisor("circus", str(CIRCUS / "bin/circusd"), "", "circus"),
    supervisor("Horust", "horust", "", "Horust"),
    one("a shell script", "sh", "dash", "-c", '"$@"; exit $?', "sh"),
]
# Asked for, and not to be had as a package of Debian 12, PyPI or crates.io.
MISSING = {"s6-overlay": "its own releases only", "dinit": "Debian 13 and newer", "pebble": "a module of Go"}


def version(init):
    if init.program == kit.DRAINIT:
        return kit.version_of([kit.DRAINIT, "--version"])
    if init.name == "circus":
        return kit.version_in(CIRCUS, "circus")
    if init.name == "Horust":
        return HORUST_VERSION
    if init.name == "docker-init":
        return kit.version_of(["docker-init", "--version"])
    return kit.version_of_debian(init.package)


def services(words, restart):
    """One service, or two with `--` between their commands, of which the second one needs the first one."""
    cut = words.index("--") if "--" in words else len(words)
    found = [tools.Service("first", words[:cut], restart=restart, stop=STOP)]
    if cut < len(words):
        found.append(tools.Service("second", words[cut + 1 :], after="first", restart=restart, stop=STOP))
    return found


def runit(directory, wanted):
    """Follows runsvdir(8) and runsv(8). Without a `down` file, runit always restarts."""
    for service in wanted:
        first = f"sv start {directory}/{service.after} >/dev/null || exit 1\n" if service.after else ""
        tools.script(directory / service.name / "run", f"#!/bin/sh\n{first}exec {tools.words(service.command)}\n")
    return [kit.which("runsvdir"), "-P", directory]


def circus(directory, wanted):
    """Follows circus's documentation of the config. `singleton` watchers stop in the order of their priority."""
    text = f"[circus]\nendpoint = ipc://{directory}/endpoint\npubsub_endpoint = ipc://{directory}/pubsub\nstatsd = false\n"
    for place, service in enumerate(wanted):
        respawn = "True" if service.restart else "False"
        text += f"""
[watcher:{service.name}]
cmd = {shlex.join(service.command)}
copy_env = True
priority = {len(wanted) - place}
graceful_timeout = {int(service.stop)}
respawn = {respawn}
stdout_stream.class = StdoutStream
stderr_stream.class = StdoutStream
"""
    (directory / "circus.ini").write_text(text)
    return [CIRCUS / "bin/circusd", directory / "circus.ini"]


def write(tool, directory, words, restart):
    """Writes the config of a supervisor into a directory, and returns the command that runs it."""
    wanted = services(words, restart)
    own = {"runit": runit, "circus": circus}.get(tool)
    if own:
        return [str(part) for part in own(directory, wanted)]
    command = tools.write(tool, directory, wanted, os.getuid() == 0)
    # The faults look at one output, the probe looks at both.
    for path in [*directory.glob("scan/*/run"), *directory.glob("supervisord.conf")]:
        text = path.read_text().replace("exec 2>&1\n", "")
        path.write_text(text.replace("redirect_stderr=true", "stderr_logfile=/dev/fd/2\nstderr_logfile_maxbytes=0"))
    return command
