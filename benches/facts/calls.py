"""The effect on Envoy of each call to its admin interface, and of each signal."""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from kit import TYPED, Connection, Http1, Http2, WebSocket, add_udp, cluster, frame, free_ports
from table import after, measures, until, yes

BEGIN = "What begins a drain"
COUNTS = "What the statistics and the state say"
ENDS = "What ends Envoy, and what its signals do"


async def closing_answers(envoy, listener="http", count=20):
    """Opens `count` connections, and returns how many of them Envoy closes with the first answer."""
    clients = [await Http1.open(envoy, listener) for _ in range(count)]
    closed = [await client.request() for client in clients]
    for client in clients:
        client.close()
    return f"{sum(closed)} of {count}"


@measures(
    BEGIN,
    "`POST /drain_listeners?graceful` with `--drain-time-s 2`: new connections are refused",
    "`POST /drain_listeners?graceful&skip_exit` with `--drain-time-s 2`: new connections are refused within 5 s",
    "a second request to the Envoy of the previous row, `POST /drain_listeners?graceful`: status, and whether new connections are refused within 5 s",
    cheap=True,
)
async def graceful(start):
    async with start("--drain-time-s", "2") as plain, start("--drain-time-s", "2") as skipping:
        await plain.post("/drain_listeners?graceful")
        await skipping.post("/drain_listeners?graceful&skip_exit")
        refused = await until(lambda: refuses(plain), 6)
        await asyncio.sleep(5 - min(refused, 5))
        stays = await skipping.accepts()
        status = await skipping.post("/drain_listeners?graceful")
        await asyncio.sleep(5)
        return after(refused), yes(not stays), f"{status}; {yes(not await skipping.accepts())}"


async def refuses(envoy):
    return not await envoy.accepts()


@measures(
    BEGIN,
    "`POST /drain_listeners`: new connections are refused",
    "`POST /drain_listeners`: requests on open connections are answered",
    "`POST /drain_listeners`, `--drain-strategy immediate`: an answer on an open connection closes the connection",
    "`POST /drain_listeners?skip_exit`, without `graceful`: status",
    "`GET /drain_listeners`, `GET /healthcheck/fail`: status",
    "`GET /drain_listeners`: Envoy logs an error",
    "`GET /drain_listeners` with `--component-log-level admin:critical`: Envoy logs an error",
    cheap=True,
)
async def plain(start):
    async with start("--drain-strategy", "immediate") as envoy:
        gets = [(await envoy.admin(path))[0] for path in ("/drain_listeners", "/healthcheck/fail")]
        skip = await envoy.post("/drain_listeners?skip_exit")
        logs = [yes("[error][admin]" in envoy.said())]
    async with start("--drain-strategy", "immediate", "--component-log-level", "admin:critical") as envoy:
        await envoy.admin("/drain_listeners")
        logs.append(yes("[error][admin]" in envoy.said()))
        client = await Http1.open(envoy)
        await client.request()
        await envoy.post("/drain_listeners")
        refused = await until(lambda: refuses(envoy), 5)
        await asyncio.sleep(1)
        closes = await client.request()
        return after(refused), yes(client.status == 200), yes(closes), str(skip), ", ".join(map(str, gets)), *logs


@measures(
    BEGIN,
    "`POST /healthcheck/fail`: HTTP/1.1 answers that close their connection",
    "`POST /healthcheck/fail`, a listener with `drain_type: MODIFY_ONLY`: answers that close their connection",
    "`POST /healthcheck/fail`: HTTP/2 connections that get GOAWAY with their next answer",
    "`POST /healthcheck/fail`: `/ready`, and the state in `/server_info`",
    "`POST /drain_listeners?graceful` alone: `/ready`, and the state",
    cheap=True,
)
async def fail(start):
    async with start("--drain-time-s", "1000000") as envoy:
        clients = [await Http2.open(envoy) for _ in range(20)]
        tasks = []
        for client in clients:
            await client.begin()
            client.ask()
            tasks.append(asyncio.create_task(client.watch()))
        await until(lambda: all(client.done for client in clients), 5)
        await envoy.post("/drain_listeners?graceful&skip_exit")
        before = f"{(await envoy.admin('/ready'))[0]}, {await envoy.state()}"
        await envoy.post("/healthcheck/fail")
        http1 = await closing_answers(envoy), await closing_answers(envoy, "modify-only")
        for client in clients:
            client.ask()
        await until(lambda: all(client.how for client in clients), 3)
        http2 = f"{sum(client.how == 'GOAWAY' for client in clients)} of 20"
        state = f"{(await envoy.admin('/ready'))[0]}, {await envoy.state()}"
        for task in tasks:
            task.cancel()
        return *http1, http2, state, before


@measures(
    BEGIN,
    *(
        f"a drain with `?inboundonly` and `--drain-strategy immediate`, a listener {which}: answers that close their connection"
        for which in ("with `traffic_direction: INBOUND`", "with `traffic_direction: OUTBOUND`", "without `traffic_direction`")
    ),
    cheap=True,
)
async def inbound(start):
    async with start("--drain-strategy", "immediate") as envoy:
        await envoy.post("/drain_listeners?inboundonly&graceful&skip_exit")
        return tuple([await closing_answers(envoy, listener) for listener in ("inbound", "outbound", "http")])


def share(*flags, title):
    @measures(BEGIN, f"a drain with `?inboundonly` but without `/healthcheck/fail`, with {title}: connections closed by one of their ten answers within 3 s")
    async def experiment(start):
        async with start(*flags) as envoy:
            clients = [await Http1.open(envoy, "inbound") for _ in range(50)]
            for client in clients:
                await client.request()
            await envoy.post("/drain_listeners?inboundonly&graceful&skip_exit")
            for _ in range(10):
                await asyncio.gather(*(client.request() for client in clients if client.asked is None))
                await asyncio.sleep(0.3)
            return f"{sum(client.asked is not None for client in clients)} of 50"


share(title="the defaults (`--drain-time-s 600`, `--drain-strategy gradual`)")
share("--drain-time-s", "4", title="`--drain-time-s 4`")
share("--drain-strategy", "immediate", title="`--drain-strategy immediate`")


@measures(BEGIN, "15 s after `POST /drain_listeners?graceful` alone, without a flag: answers that close their connection")
async def gradual(start):
    async with start() as envoy:
        await envoy.drain(fail=False)
        await asyncio.sleep(14)
        clients = [await Http1.open(envoy) for _ in range(50)]
        end, counts = time.monotonic() + 2, [0, 0]

        async def ask(client):
            while time.monotonic() < end:
                counts[await client.request()] += 1
                if client.asked:
                    client = await Http1.open(envoy)

        await asyncio.gather(*map(ask, clients))
        return f"{100 * counts[True] / sum(counts):.0f} %"


@measures(
    BEGIN,
    "a client that stays after `Connection: close`: Envoy closes the connection",
    "a client that sends `Connection: close` and waits: Envoy closes the connection",
    "an HTTP/2 client that stays after GOAWAY: Envoy closes the connection",
)
async def rude(start):
    async with start() as envoy:
        kept, told = await Http1.open(envoy), await Http1.open(envoy)
        http2 = await Http2.open(envoy)
        await http2.begin()
        tasks = [asyncio.create_task(http2.watch())]
        await envoy.drain()
        times = []
        for client, more in ((kept, ""), (told, "connection: close\r\n")):
            await client.request(more=more)
            tasks.append(asyncio.create_task(client.watch()))
            times.append(time.monotonic())
        http2.ask()
        await until(lambda: http2.how, 5)
        await until(lambda: all(one.ended for one in (kept, told, http2)), 20)
        for task in tasks:
            task.cancel()
        ends = [one.ended - began for one, began in zip((kept, told), times) if one.ended]
        return *[after(end) for end in ends], after(http2.ended - http2.asked) if http2.ended else "not within 20 s"


@measures(
    COUNTS,
    "`/stats?usedonly` lists `downstream_cx_active` of a listener that has had no client",
    "`/stats?usedonly` lists `downstream_cx_active` of a listener whose first client has left",
    "`/stats?filter=…&type=Gauges` lists counters",
    "the admin's own connections are counted in `listener.admin.downstream_cx_active`",
    "a listener filter inspects a connection that has sent nothing yet: `downstream_cx_active`, `downstream_pre_cx_active`",
    "a listener filter inspects a connection that sends nothing: Envoy closes the connection",
)
async def statistics(start):
    async with start() as envoy:
        name = f"listener.127.0.0.1_{envoy.port['http']}.downstream_cx_active"

        async def lists(path, what):
            return what in (await envoy.admin(path))[1]

        before = await lists("/stats?usedonly", name)
        await envoy.accepts()
        await asyncio.sleep(0.5)
        left = await lists("/stats?usedonly", name)
        counters = await lists("/stats?filter=downstream_cx&type=Gauges", "downstream_cx_total")
        own = await lists("/stats?filter=listener.admin", "listener.admin.downstream_cx_active: 1")
        silent = await Connection.open(envoy, "inspected")
        watching, began = asyncio.create_task(silent.watch()), time.monotonic()
        await asyncio.sleep(0.5)
        prefix = f"listener.127.0.0.1_{envoy.port['inspected']}."
        counts = (await envoy.admin(f"/stats?filter={prefix}downstream_(pre_)?cx_active"))[1]
        found = dict(line.split(": ") for line in counts.splitlines())
        both = [found[prefix + one] for one in ("downstream_cx_active", "downstream_pre_cx_active")]
        await until(lambda: silent.ended, 20)
        watching.cancel()
        closed = after(silent.ended - began) if silent.ended else "not within 20 s"
        return *map(yes, (before, left, counters, own)), ", ".join(both), closed


@measures(
    COUNTS,
    "`admin.allow_paths` with `exact: /drain_listeners`: status of `/drain_listeners`, `/drain_listeners?graceful`, `/ready`",
    "`admin.allow_paths` with `prefix: /drain_listeners`: status of `/drain_listeners?graceful&skip_exit`",
    cheap=True,
)
async def allowed(start):
    def allow(kind):
        def change(config):
            config["admin"]["allow_paths"] = [{kind: "/drain_listeners"}, {"exact": "/server_info"}]

        return change

    async with start(change=allow("exact")) as envoy, start(change=allow("prefix")) as other:
        if envoy.ended.done():
            return ("the config is refused",) * 2
        paths = ("/drain_listeners", "/drain_listeners?graceful", "/ready")
        exact = [str((await envoy.admin(path, "POST" if "drain" in path else "GET"))[0]) for path in paths]
        return ", ".join(exact), str(await other.post("/drain_listeners?graceful&skip_exit"))


def active(stats, name):
    """The sum of a statistic over all listeners or connection managers."""
    return sum(int(line.rpartition(": ")[2]) for line in stats.splitlines() if f".{name}: " in line)


@measures(COUNTS, "a session of the UDP proxy is counted in `downstream_cx_active`", cheap=True)
async def udp(start):
    [port] = free_ports(1)
    async with start(change=lambda config: add_udp(config, port, "tcp")) as envoy:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", port))

            async def has_session():
                return active((await envoy.admin("/stats"))[1], "downstream_sess_active") == 1

            await until(has_session, 5)
            stats = (await envoy.admin("/stats?filter=^listener.127"))[1]
        return yes(active(stats, "downstream_cx_active") > 0)


@measures(COUNTS, "a request that passes through an internal listener: `downstream_rq_active`, summed over all connection managers", cheap=True)
async def internal(start):
    def change(config):
        static = config["static_resources"]
        outer = next(listener for listener in static["listeners"] if listener["name"] == "http")
        inner = {"name": "inner", "internal_listener": {}, "filter_chains": outer["filter_chains"]}
        outer["filter_chains"] = json.loads(json.dumps(outer["filter_chains"]).replace('"cluster": "http"', '"cluster": "inner"'))
        raw = {"name": "raw", "typed_config": {"@type": TYPED + "transport_sockets.raw_buffer.v3.RawBuffer"}}
        kind = TYPED + "transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
        endpoint = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "inner"}}}}
        cluster = {
            "name": "inner",
            "transport_socket": {"name": "internal", "typed_config": {"@type": kind, "transport_socket": raw}},
            "load_assignment": {"cluster_name": "inner", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        static["listeners"].append(inner)
        static["clusters"].append(cluster)
        extension = {"@type": TYPED + "bootstrap.internal_listener.v3.InternalListener"}
        config["bootstrap_extensions"] = [{"name": "internal", "typed_config": extension}]

    async with start(change=change) as envoy:
        client = await Http1.open(envoy)
        answer = asyncio.create_task(client.request("/sleep/2"))
        await asyncio.sleep(1)
        count = active((await envoy.admin("/stats?filter=^http.all"))[1], "downstream_rq_active")
        await answer
        return str(count)


@measures(COUNTS, "while the admin lists the statistics of 3,000 clusters, `/ready` waits for the end of the list")
async def one_at_a_time(start):
    def change(config):
        clusters = config["static_resources"]["clusters"]
        config["static_resources"]["clusters"] += [{**clusters[0], "name": f"c{number}"} for number in range(3000)]

    async with start(change=change) as envoy:
        began = time.monotonic()
        listing = asyncio.create_task(envoy.admin("/stats?format=json"))
        await asyncio.sleep(0.03)
        await envoy.admin("/ready")
        ready = time.monotonic() - began
        await listing
        return yes(ready > (time.monotonic() - began) / 2)


def asks(config, port, **source):
    """Makes Envoy ask a control plane at this port for its listeners."""
    typed = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{typed}", "explicit_http_config": {"http2_protocol_options": {}}}
    xds = {**cluster("xds", port), "typed_extension_protocol_options": {typed: http2}}
    config["static_resources"]["clusters"].append(xds)
    config["node"] = {"id": "facts", "cluster": "facts"}
    grpc = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}
    source = {"api_config_source": grpc, "resource_api_version": "V3", **source}
    config["dynamic_resources"] = {"lds_config": source}


async def connected(envoy):
    return (await envoy.admin("/stats?filter=control_plane.connected_state"))[1].rpartition(": ")[2].strip()


@measures(
    COUNTS,
    "no control plane answers: `/ready`, before `initial_fetch_timeout` is over",
    "no control plane answers: `/ready` is 200 when `initial_fetch_timeout` is over",
    "no control plane answers, `initial_fetch_timeout` is not set: `/ready` is 200",
    "no control plane answers: `control_plane.connected_state`",
)
async def control_plane(start):
    envoy = start(change=lambda config: asks(config, 1))
    starting, began = asyncio.create_task(envoy.start()), time.monotonic()

    async def ready():
        with contextlib.suppress(OSError, TimeoutError, IndexError):
            return (await envoy.admin("/ready"))[0]

    async with start(change=lambda config: asks(config, 1, initial_fetch_timeout="2s")) as other:
        is_ready, state = (await other.admin("/ready"))[0] == 200, await connected(other)
    waiting = str(await ready())
    await starting
    took = time.monotonic() - began
    cell = after(took) if await ready() == 200 else "no"
    await envoy.__aexit__()
    return waiting, yes(is_ready), cell, state


class ControlPlane:
    """Answers each question of Envoy with an empty list of listeners, over gRPC."""

    async def __aenter__(self):
        self.writers = []
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader, writer):
        self.writers.append(writer)
        kind, was_asked = b"type.googleapis.com/envoy.config.listener.v3.Listener", set()
        # The fields of a DiscoveryResponse: `version_info`, `type_url`, `nonce`.
        message = b"\x0a\x011" + b"\x22" + bytes([len(kind)]) + kind + b"\x2a\x011"
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(24)
            writer.write(frame(4, 0, 0))
            while head := await reader.readexactly(9):
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                stream = int.from_bytes(head[5:], "big")
                if head[3] in (4, 6) and not head[4] & 1:
                    writer.write(frame(head[3], 1, 0, payload if head[3] == 6 else b""))
                if head[3] == 0 and payload and stream not in was_asked:
                    was_asked.add(stream)
                    writer.write(frame(1, 4, stream, b"\x88\x0f\x10\x10application/grpc"))
                    writer.write(frame(0, 0, stream, b"\0" + len(message).to_bytes(4, "big") + message))


@measures(
    COUNTS,
    "a control plane answers: `/ready`, `control_plane.connected_state`",
    "the control plane has gone: `/ready`, `control_plane.connected_state`, and whether requests are answered",
    cheap=True,
)
async def lost_control_plane(start):
    async with ControlPlane() as plane, start(change=lambda config: asks(config, plane.port)) as envoy:

        async def says(what):
            return await connected(envoy) == what

        await until(lambda: says("1"), 5)
        before = f"{(await envoy.admin('/ready'))[0]}, {await connected(envoy)}"
        await plane.__aexit__()
        await until(lambda: says("0"), 5)
        return before, f"{(await envoy.admin('/ready'))[0]}, {await connected(envoy)}; {yes(await envoy.accepts())}"


LISTENER = ("downstream_cx_active", "downstream_pre_cx_active", "downstream_cx_total")
MANAGER = (
    "downstream_rq_active",
    "downstream_rq_total",
    "downstream_cx_drain_close",
    "downstream_cx_tx_bytes_buffered",
    "downstream_cx_upgrades_active",
    "downstream_cx_upgrades_total",
)


@measures(
    COUNTS,
    "`/stats` of each listener has " + ", ".join(f"`{name}`" for name in LISTENER),
    "`/stats` of each connection manager has " + ", ".join(f"`{name}`" for name in MANAGER),
    cheap=True,
)
async def names(start):
    async with start() as envoy:
        stats = [line.partition(": ")[0].rpartition(".") for line in (await envoy.admin("/stats"))[1].splitlines()]

    def has_all(kind, wanted):
        of = {before: set() for before, _, _ in stats if before.startswith(kind) and before.count(".") < 5 and "worker" not in before}
        for before, _, name in stats:
            of.get(before, set()).add(name)
        return yes(any(set(wanted) <= found for found in of.values()))

    return has_all("listener.127", LISTENER), has_all("http.all", MANAGER)


@measures(
    COUNTS,
    "one WebSocket is closed by its server, another by Envoy late in the drain: counts of the connection manager that differ between the two",
    "a WebSocket that its server refuses: `downstream_cx_upgrades_active`, `downstream_cx_upgrades_total`",
    "a WebSocket that begins in a drain, and is still open: `downstream_cx_upgrades_active`, `downstream_cx_drain_close`",
    cheap=True,
)
async def websockets(start):
    async with start("--drain-time-s", "4", manager={"drain_timeout": "1s"}) as envoy:

        async def counts():
            stats = json.loads((await envoy.admin("/stats?filter=^http.all.downstream&format=json"))[1])["stats"]
            return {stat["name"]: stat["value"] for stat in stats if "value" in stat and "bytes" not in stat["name"]}

        async def close(how):
            """How much each statistic changes from the opening of a WebSocket until Envoy no longer counts it."""
            await until(is_gone, 3)
            before = await counts()
            client = await WebSocket.open(envoy)
            await client.upgrade()
            await how(client)
            watch = asyncio.create_task(client.watch())
            await until(lambda: client.ended, 6)
            is_closed = client.ended is not None
            await until(is_gone, 3)
            watch.cancel()
            client.close()
            return is_closed and {name: value - before.get(name, 0) for name, value in (await counts()).items()}

        async def is_gone():
            return (await counts())["http.all.downstream_cx_active"] == 0

        async def say_bye(client):
            client.writer.write(b"bye")

        async def rise(path, *names):
            """How much these statistics change when a client asks for a WebSocket at `path`, and stays."""
            await until(is_gone, 3)
            before = await counts()
            client = await WebSocket.open(envoy)
            await client.upgrade(path)
            now = await counts()
            client.close()
            return ", ".join(str(now[name] - before[name]) for name in (f"http.all.downstream_cx_{name}" for name in names))

        refused = await rise("/refuses", "upgrades_active", "upgrades_total")
        by_server, by_envoy = await close(say_bye), await close(lambda _: envoy.drain())
        begun = await rise("/ws", "upgrades_active", "drain_close")
        if not by_envoy:
            return "Envoy closes none", refused, begun
        differ = [name for name in by_server | by_envoy if by_server.get(name, 0) != by_envoy.get(name, 0)]
        return ", ".join(f"`{name.rpartition('.')[2]}`" for name in differ) or "none", refused, begun


@measures(
    COUNTS,
    "SDS reads a certificate from a file, with `watched_directory`, and this file is renewed: new connections get the new certificate",
    "the config names the file of a certificate, and this file is renewed: new connections get the new certificate within 5 s",
    cheap=True,
)
async def renewed(start):
    def new(name):
        (place / name).mkdir()
        files = ["-keyout", place / name / "tls.key", "-out", place / name / "tls.crt"]
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", *files]
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
        # Swaps the directory, as the kubelet does when it renews a Secret.
        (place / "new").symlink_to(name)
        (place / "new").rename(place / "..data")

    def change(config):
        file = lambda name: {"filename": str(place / "..data" / name)}
        pair = {"certificate_chain": file("tls.crt"), "private_key": file("tls.key")}
        watched = {**pair, "watched_directory": {"path": str(place)}}
        secret = {"@type": TYPED + "transport_sockets.tls.v3.Secret", "name": "pair", "tls_certificate": watched}
        config["node"] = {"id": "facts", "cluster": "facts"}
        (place / "sds.json").write_text(json.dumps({"resources": [secret]}))
        source = {"path_config_source": {"path": str(place / "sds.json")}, "resource_api_version": "V3"}
        by_sds = {"tls_certificate_sds_secret_configs": [{"name": "pair", "sds_config": source}]}
        for name, common in (("http", by_sds), ("inbound", {"tls_certificates": [pair]})):
            context = {"@type": TYPED + "transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
            tls = {"transport_socket": {"name": "tls", "typed_config": context}}
            listener = next(one for one in config["static_resources"]["listeners"] if one["name"] == name)
            listener["filter_chains"] = [{**chain, **tls} for chain in listener["filter_chains"]]

    async def certificate(port):
        # Envoy opens the listener only when it has the certificate, so early attempts fail.
        while True:
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
            await asyncio.sleep(0.05)

    with tempfile.TemporaryDirectory(prefix="facts-", dir="/tmp") as directory:
        place = Path(directory)
        new("one")
        async with start(change=change) as envoy:
            before, named = [await certificate(envoy.port[listener]) for listener in ("http", "inbound")]
            new("two")

            async def is_other():
                return await certificate(envoy.port["http"]) != before

            took = await until(is_other, 9)
            await asyncio.sleep(5 - took)
            return after(took), yes(await certificate(envoy.port["inbound"]) != named)


@measures(COUNTS, "a route without `timeout`: a request without an answer gets 504")
async def route_timeout(start):
    async with start(timeout=None) as envoy:
        client, began = await Http1.open(envoy), time.monotonic()
        await client.request("/sleep/20")
        return after(time.monotonic() - began) if client.status == 504 else f"no: {client.status}"


@measures(COUNTS, "`max_stream_duration: 2s`: a stream of 25 s is cut, and its connection is closed", cheap=True)
async def stream_duration(start):
    async with start(manager={"common_http_protocol_options": {"max_stream_duration": "2s"}}) as envoy:
        return await end_of_stream(envoy, "/stream/25")


@measures(COUNTS, "no `stream_idle_timeout`: a request without an answer ends", rests=True)
async def idle_stream(start):
    async with start() as envoy:
        return await end_of_stream(envoy, "/sleep/360")


async def end_of_stream(envoy, path):
    client, began = await Http1.open(envoy), time.monotonic()
    await client.send(path)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(350):
            while b"\r\n0\r\n\r\n" not in (some := await client.reader.read(65536)) and some and b" 408 " not in some and b" 504 " not in some:
                pass
    return after(time.monotonic() - began)


def ending(title, how):
    rows = (f"{title}: exit code", f"{title}: Envoy is gone", f"{title}: a request in flight")

    @measures(ENDS, *rows, cheap=True)
    async def experiment(start):
        async with start() as envoy:
            client = await Http1.open(envoy)
            answer = asyncio.create_task(client.request("/sleep/4"))
            await asyncio.sleep(0.5)
            began = time.monotonic()
            await how(envoy)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(envoy.ended), 8)
            gone = time.monotonic() - began
            try:
                await answer
                outcome = "is answered"
            except (OSError, asyncio.IncompleteReadError):
                outcome = "is cut"
            if not envoy.ended.done():
                return "none", "not within 8 s", outcome
            return str(envoy.process.returncode), after(gone), outcome


async def quit_call(envoy):
    await envoy.post("/quitquitquit")


async def term(envoy):
    envoy.signal()


async def interrupt(envoy):
    envoy.signal(signal.SIGINT)


async def hang_up(envoy):
    envoy.signal(signal.SIGHUP)


ending("`POST /quitquitquit`", quit_call)
ending("SIGTERM", term)
ending("SIGINT", interrupt)
ending("SIGHUP", hang_up)


@measures(ENDS, "SIGUSR1: the access log is opened again", cheap=True)
async def reopen(start):
    async with start() as envoy:
        log = envoy.place / "access.log"
        await envoy.accepts()
        await until(log.exists, 5)
        log.rename(envoy.place / "old.log")
        envoy.signal(signal.SIGUSR1)
        return yes(await until(log.exists, 5) < 5)
