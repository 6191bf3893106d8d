"""The effect of each flag of Envoy."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from kit import TOP, Http1, WebSocket, add_udp, cluster, free_ports, tested
from table import after, measures, until, yes

FLAGS = "What a flag changes"
HOT = "Hot restarts"


async def fate(start, *flags, **options):
    """Whether an Envoy with these flags starts."""
    async with start(*flags, **options) as envoy:
        if not envoy.ended.done():
            return "it starts"
        return f"exit code {envoy.process.returncode}"


@measures(
    FLAGS,
    "`--concurrency 0`: workers",
    "`--concurrency 1 --concurrency 1`",
    "`--drain-time-s=5`, with `=`",
    cheap=True,
)
async def concurrency(start):
    async with start("--concurrency", "0") as envoy:
        return await workers(envoy), await fate(start, "--concurrency", "1", "--concurrency", "1"), await fate(start, "--drain-time-s=5")


@measures(
    FLAGS,
    "no flag: `drain_time`, `parent_shutdown_time` in `/server_info`",
    "`--mode validate`: exit codes with a config that Envoy accepts, and with a config that Envoy refuses",
    cheap=True,
)
async def defaults(start):
    def spoil(config):
        config["static_resources"]["listeners"][0]["filter_chains"] = [{"filters": [{"name": "missing"}]}]

    async with start() as envoy:
        options = json.loads((await envoy.admin("/server_info"))[1])["command_line_options"]
    codes = []
    for change in (None, spoil):
        async with start("--mode", "validate", change=change) as envoy:
            codes.append(str(await asyncio.wait_for(envoy.ended, 10)))
    return f"{options['drain_time']}, {options['parent_shutdown_time']}", ", ".join(codes)


async def workers(envoy):
    return (await envoy.admin("/stats?filter=^server.concurrency$"))[1].split(": ")[1].strip()


@measures(FLAGS, "a machine with two processors, a limit of one processor, no `--concurrency`: workers")
async def in_a_cgroup(start):
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (old if old.exists() else new) / f"drainit-facts-{base_id()}"
    try:
        group.mkdir()
        limit = ("cpu.cfs_quota_us", "100000") if old.exists() else ("cpu.max", "100000 100000")
        (group / limit[0]).write_text(limit[1])
    except OSError:
        return "not measured: no cgroup here"
    within = ["sh", "-c", f"echo $$ >{group}/cgroup.procs && exec \"$@\"", "sh"]
    try:
        async with start(within=within, has_workers=False) as envoy:
            return await workers(envoy)
    finally:
        await until(lambda: not (group / "cgroup.procs").read_text(), 5)
        group.rmdir()


def runtime(name):
    """A change of the config that turns a reloadable feature off. A version without the feature ignores the change."""

    def change(config):
        layer = {"name": "static", "static_layer": {f"envoy.reloadable_features.{name}": False}}
        config["layered_runtime"] = {"layers": [layer]}

    return change


def updating(drain_time, *more, off=None):
    """Rows for an update of a filter chain, with more flags, or with a reloadable feature turned off."""
    how = " ".join([f"`--drain-time-s {drain_time}`", *(f"and `{' '.join(more)}`" for _ in more[:1])])
    how += f" without `{off}`" if off else ""
    rows = (
        f"{how}, an update of only the filter chains of a listener: busy old connections that Envoy closes within 5 s",
        f"{how}, an update of only the filter chains of a listener: idle old connections that Envoy closes within 5 s",
    )

    @measures(FLAGS, *rows)
    async def experiment(start):
        change = runtime(off) if off else None
        async with start("--drain-time-s", str(drain_time), *more, dynamic=True, change=change) as envoy:
            async def is_updated():
                return "_updated: 0" not in (await envoy.admin("/stats?filter=listener_in_place_updated"))[1]

            await until(envoy.accepts, 5)
            used = [await Http1.open(envoy) for _ in range(20)]
            idle = [await Http1.open(envoy) for _ in range(20)]
            for client in (*used, *idle):
                await client.request()
            tasks = [asyncio.create_task(client.keep_asking(0.3)) for client in used]
            tasks += [asyncio.create_task(client.watch()) for client in idle]
            envoy.write_listeners("another")
            assert await until(is_updated, 20) < 20, "Envoy has not updated a filter chain"
            await asyncio.sleep(5)
            for task in tasks:
                task.cancel()
            counts = [sum(client.asked is not None for client in clients) for clients in (used, idle)]
            return tuple(f"{count} of 20" for count in counts)


updating(600)
updating(600, "--drain-strategy", "immediate")
updating(600, off="filter_chain_drain_uses_configured_strategy")
updating(3)


def base_id():
    """A base ID that no other Envoy of this run has."""
    base_id.last += 7
    return str(base_id.last)


base_id.last = 20_000 + os.getpid() % 10_000


def chain(start, *flags):
    """Returns a function that makes the epochs of one hot restart."""
    base, first = base_id(), []

    def epoch(number, *more, **options):
        numbers = ("--base-id", base, "--restart-epoch", str(number))
        made = start(*numbers, *flags, *more, hot=first[0] if first else None, **options)
        first.append(made)
        return made

    return epoch


async def gone(envoy, limit=20):
    """The time at which an Envoy ended, in the words of a cell."""
    took = await until(envoy.ended.done, limit)
    return after(took) if envoy.ended.done() else f"not within {limit} s"


@measures(
    HOT,
    "`--restart-epoch 1`: new connections that fail while the new Envoy takes over",
    "`/server_info` answers with the epoch number of the new Envoy",
    "connections that the old Envoy answers and then closes (`--drain-strategy immediate`)",
    "`--parent-shutdown-time-s 4`: the end of the old Envoy, and its exit code",
    "a connection that is still open in the old Envoy is cut",
    "SIGTERM to the new Envoy while the old Envoy drains: both have ended",
)
async def hand_over(start):
    epoch = chain(start, "--drain-strategy", "immediate", "--parent-shutdown-time-s", "4")
    async with epoch(0) as old:
        clients = [await Http1.open(old) for _ in range(20)]
        idle = await Http1.open(old)
        for client in (*clients, idle):
            await client.request()
        failed, over = 0, False

        async def ask():
            nonlocal failed
            while not over:
                failed += not await old.accepts()
                await asyncio.sleep(0.01)

        asking = asyncio.create_task(ask())
        watching = asyncio.create_task(idle.watch())
        async with epoch(1) as new:
            began = time.monotonic()
            state = await new.state()
            closed = sum([await client.request() for client in clients])
            await until(old.ended.done, 12)
            ended = time.monotonic() - began
            over = True
            await asking
            await until(lambda: idle.ended, 2)
            watching.cancel()
            async with epoch(2) as newest:
                newest.signal()
                both = await until(lambda: new.ended.done() and newest.ended.done(), 10)
            code = old.process.returncode
            cells = str(failed), yes(state == "LIVE"), f"{closed} of 20", f"{after(ended)}, {code}"
            return *cells, yes(idle.ended), after(both)


HANDOFF = "udp_hot_restart_session_handoff"


@measures(
    HOT,
    "a session of the UDP proxy: datagrams of the client that reach the upstream after a hot restart, from the same port",
    "the same after the end of the old Envoy",
    f"without `{HANDOFF}`: datagrams that reach the upstream after a hot restart, from the same port",
)
async def udp_session(start):
    cells = []
    for off in (None, HANDOFF):
        [port] = free_ports(1)
        with socket.socket(type=socket.SOCK_DGRAM) as upstream, socket.socket(type=socket.SOCK_DGRAM) as client:
            upstream.bind(("127.0.0.1", 0))
            upstream.setblocking(False)

            async def ports(what, count):
                """The ports from which datagrams of the client with this text reach the upstream within 2 s."""
                for _ in range(count):
                    client.sendto(what, ("127.0.0.1", port))
                await asyncio.sleep(2)
                found = []
                with contextlib.suppress(BlockingIOError):
                    while True:
                        text, address = upstream.recvfrom(16)
                        found += [address[1]] if text == what else []
                return found

            def change(config):
                add_udp(config, port, "udp")
                config["static_resources"]["clusters"].append(cluster("udp", upstream.getsockname()[1]))
                if off:
                    runtime(off)(config)

            epoch = chain(start, "--drain-time-s", "20", "--parent-shutdown-time-s", "25")
            async with epoch(0, change=change) as old:
                [before] = await ports(b"first", 1)
                async with epoch(1, change=change) as new:
                    await new.state()
                    for what, wait in ((b"both", 0), (b"new", 60)):
                        await until(old.ended.done, wait)
                        found = await ports(what, 20)
                        cells.append(f"{len(found)} of 20" + (f", {yes(set(found) == {before})}" if found else ""))
    return tuple(cells[:3])


@measures(HOT, "two WebSockets are open in the old Envoy: `downstream_cx_upgrades_active`, `downstream_cx_upgrades_total` of the new Envoy")
async def merged(start):
    epoch = chain(start)
    async with epoch(0) as old:
        clients = [await WebSocket.open(old) for _ in range(2)]
        for client in clients:
            await client.upgrade()
        # The new Envoy gets only what the old one has counted since its last flush. There is one every 5 s.
        await asyncio.sleep(6)
        async with epoch(1) as new:

            async def counts():
                stats = (await new.admin("/stats?filter=^http.all.downstream_cx_upgrades"))[1]
                return ", ".join(line.partition(": ")[2] for line in sorted(stats.splitlines()))

            async def is_merged():
                return (await counts()).startswith("2")

            await until(is_merged, 10)
            return await counts()


@measures(
    HOT,
    "SIGKILL to the new Envoy: the old Envoy lives on",
    "SIGKILL to the new Envoy: the old Envoy accepts connections",
    "SIGKILL to the old Envoy: the new Envoy aborts",
    "a second epoch 0 while the first epoch 0 lives",
    "epoch 1 where no epoch 0 has ever been",
    "epoch 1 after an epoch 0 was killed",
    "epoch 1 after an epoch 0 was killed, `--skip-hot-restart-on-no-parent`",
    "a third epoch starts: the first epoch ends",
)
async def faults(start):
    long = ("--parent-shutdown-time-s", "60")
    killed = chain(start, *long)
    async with killed(0) as old, killed(1) as new:
        new.signal(signal.SIGKILL)
        await new.ended
        await asyncio.sleep(3)
        lives, accepts = not old.ended.done(), await old.accepts()
    orphaned = chain(start, *long)
    async with orphaned(0) as old, orphaned(1) as new:
        old.signal(signal.SIGKILL)
        aborts = await gone(new, 25)
        code = new.process.returncode
    double = ("--base-id", base_id(), "--restart-epoch", "0")
    async with start(*double):
        again = await fate(start, *double)
    alone = await fate(start, "--base-id", base_id(), "--restart-epoch", "1")
    after_death = []
    for more in ([], ["--skip-hot-restart-on-no-parent"]):
        base = ("--base-id", base_id(), "--restart-epoch")
        async with start(*base, "0") as dead:
            dead.signal(signal.SIGKILL)
            await dead.ended
        after_death.append(await fate(start, *base, "1", *more))
    third = chain(start, *long)
    async with third(0) as first, third(1), third(2):
        ends = await gone(first, 10)
    return yes(lives), yes(accepts), f"{aborts}, {code}", again, alone, *after_death, ends


@measures(HOT, "epoch 1 of this version takes over from an epoch 0 of every other version")
async def versions(start):
    failed = []
    for version in tested():
        chain = ("--base-id", base_id(), "--restart-epoch")
        async with start(*chain, "0", version=version) as old:
            async with start(*chain, "1", hot=old) as new:
                if await new.state() != "LIVE":
                    failed.append(version)
    return "yes" if not failed else f"not from {', '.join(failed)}"


@measures(
    HOT,
    "SIGKILL to a new Envoy that has read its bootstrap, but is not live yet: the admin of the old Envoy answers",
    "SIGKILL to a new Envoy that is not live yet: the old Envoy accepts connections",
    "SIGKILL to a new Envoy that is not live yet: a further hot restart of the old Envoy",
)
async def not_live(start):
    def waits(config):
        """An Envoy that waits for a control plane that never answers."""
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        xds = {**config["static_resources"]["clusters"][0], "name": "xds"}
        xds["load_assignment"] = {"cluster_name": "xds", "endpoints": endpoints}
        config["static_resources"]["clusters"].append(xds)
        config["node"] = {"id": "facts", "cluster": "facts"}
        grpc = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}
        source = {"api_config_source": grpc, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        config["dynamic_resources"] = {"lds_config": source}

    base = ("--base-id", base_id(), "--restart-epoch")
    async with start(*base, "0") as old:
        new = start(*base, "1", hot=old, change=waits)
        starting = asyncio.create_task(new.start())
        # Once the admin's address answers with the new epoch's number, the new Envoy has taken the address over.
        await until(lambda: new.answers(), 20)
        starting.cancel()
        new.signal(signal.SIGKILL)
        await new.ended
        try:
            await old.admin("/ready", limit=3)
            answers = True
        except (OSError, TimeoutError, IndexError):
            answers = False
        accepts = await old.accepts()
        again = await fate(start, *base, "1", hot=old)
        await new.__aexit__()
        return yes(answers), yes(accepts), again


@measures(
    HOT,
    "epoch 1 with `--use-dynamic-base-id`",
    "epoch 1 with `--disable-hot-restart`",
    "epoch 1 in another network namespace than epoch 0",
    cheap=True,
)
async def numbers(start):
    first = ("--restart-epoch", "1")
    dynamic = await fate(start, "--use-dynamic-base-id", *first)
    disabled = await fate(start, "--disable-hot-restart", *first)
    base = ("--base-id", base_id(), "--restart-epoch")
    async with start(*base, "0"):
        elsewhere = await fate(start, *base, "1", within=["unshare", "--net"])
    return dynamic, disabled, elsewhere


SHM = "mount -t tmpfs -o {} && exec \"$@\""


@measures(
    HOT,
    "clients of HTTP/3 at a hot restart with as many workers as before: requests fail",
    "clients of HTTP/3 at a hot restart from 2 workers to 4: requests fail",
)
async def http3(start):
    sys.path.append(str(TOP / "benches"))
    from http3 import measure

    drainit, envoy = (str(path) for path in (TOP / "target/static/drainit", start().binary))
    counts = [await measure(drainit, envoy, 2, then) for then in (2, 4)]
    return tuple(yes(count["failed"]) for count in counts)


@measures(HOT, *(f"`/dev/shm` {what}" for what in ("is read-only", "is full", "has 64 KiB")))
async def shared_memory(start):
    cells = []
    for options in ("ro none /dev/shm", "size=64k none /dev/shm && ! cat /dev/zero >/dev/shm/full 2>&-", "size=64k none /dev/shm"):
        within = ["unshare", "--mount", "sh", "-c", SHM.format(options), "sh"]
        cells.append(await fate(start, "--base-id", base_id(), "--restart-epoch", "0", within=within))
    return tuple(cells)
