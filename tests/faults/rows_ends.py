"""Tries processes that end unasked, and starts that fail."""

import time

import tools
from matrix import SUPERVISORS, US, group
from tools import Service

row, tested = group("Unasked ends and failed starts")
# s6 has oneshots only with s6-rc.
ONESHOTS = (US, "supervisord", "Horust")


# Supervisor#712, #775, s6-overlay#73, #87, #440, #599
@row("a process exits with 7", "the container ends with 7")
def exits(run):
    run.start(run.service("a", "exit=7")).end(7)


@row("a process dies of SIGSEGV", "the container ends with 139")
def crashes(run):
    run.start(Service("a", ["sh", "-c", "kill -SEGV $$"])).end(139)


# Horust#7, rossoctl/cortex#278
# holds: S113
@row("one of two processes exits with 7", "the other process gets SIGTERM and time to end, code 7", SUPERVISORS)
def one_of_two(run):
    run.start(run.service("base", "on=TERM:exit:0:300"), run.service("a", "sleep=800", "exit=7", after="base"))
    run.end(7).ended_well("base")


# holds: S127, C348
@row("the program does not exist", "the container ends with 127")
def missing(run):
    run.start(Service("a", ["/nowhere/program"])).end(127)


# holds: S126, C348
@row("the program is not executable", "the container ends with 126")
def not_executable(run):
    (run.dir / "program").write_text("#!/bin/sh\n")
    run.start(Service("a", [f"{run.dir}/program"])).end(126)


@row("a user that does not exist", "the process never starts, and the container ends (code not 0)", SUPERVISORS)
def wrong_user(run):
    run.start(run.service("base"), run.service("a", user="nobody-of-that-name", after="base"))
    run.end().check(run.code() != 0, "code 0").check(not run.events("start", "a"), "started")


@row("the config is unreadable (a directory)", "the tool refuses the config (code not 0)", SUPERVISORS)
def unreadable(run):
    name = {"drainit": "drainit.yaml", "supervisord": "supervisord.conf", "s6": "scan/a/run",
            "Horust": "services/a.toml"}[run.tool]
    command = tools.write(run.tool, run.dir, [run.service("a")])
    (run.dir / name).unlink()
    (run.dir / name).mkdir()
    run.start(tool=command).end().check(run.code() != 0, "code 0")


# pebble#240, multirun#26
@row("a crash loop", "pauses between restarts, and SIGTERM still ends the container", SUPERVISORS)
def crash_loop(run):
    run.start(run.service("a", "exit=1", restart=True), run.service("b", restart=True)).wait("b")
    time.sleep(4)
    starts = len(run.events("start", "a"))
    run.check(starts > 1, f"{starts} start").check(starts < 15, f"{starts} starts in 4 s").stop().ended_well("b")


@row("the port is in use for a second", "the process is restarted until the port is free", SUPERVISORS)
def port_in_use(run):
    free = time.time() + 1.5
    port_free = f"[ $(date +%s%N) -gt {int(free * 1e9)} ] || exit 1; exec "
    run.start(Service("a", ["sh", "-c", port_free + " ".join(run.child("a"))], restart=True))
    run.wait("a").stop().ended_well("a")


@row("a process ends before its dependent has started", "the dependent never starts, code 3", SUPERVISORS)
def dependency_dies(run):
    run.start(run.service("a", "sleep=300", "exit=3", ready=f"{run.dir}/a"), run.service("b", after="a"))
    run.end(3).check(not run.events("start", "b"), "started it")


# s6-overlay#183
# holds: C152
@row("a oneshot fails", "the dependent never starts, and the container ends with the code of the oneshot", ONESHOTS)
def oneshot_fails(run):
    run.start(run.service("a", "sleep=300", "exit=6", oneshot=True), run.service("b", after="a"))
    run.end(6).check(not run.events("start", "b"), "started it")


# pebble#712
# holds: C195
@row("a oneshot takes a while", "the dependent starts after the oneshot has completed", ONESHOTS)
def oneshot_is_slow(run):
    run.start(run.service("a", "sleep=1000", "exit=0", oneshot=True), run.service("b", after="a")).wait("b")
    ends = run.events("exit", "a")
    run.check(ends and ends[0].at < run.events("start", "b")[0].at, "started too early").stop().ended_well("b")


# Supervisor#733, #1373
# holds: C340
@row("a process fails at each of its three restarts", "the pauses grow, then the container ends with the code of the process", SUPERVISORS)
def restarts_are_limited(run):
    # Horust counts only failures before a process is ready.
    run.start(run.service("a", "exit=4", restarts=3, ready=f"{run.dir}/never")).end(4, within=20)
    starts, ends = (run.events(what, "a") for what in ("start", "exit"))
    pauses = [start.at - end.at for end, start in zip(ends, starts[1:])]
    run.check(len(starts) == 4, f"{len(starts)} starts").check(pauses[-1] > 1.5 * pauses[0], "pauses do not grow")
