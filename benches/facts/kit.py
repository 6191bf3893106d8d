"""A real Envoy with listeners of every kind, the server behind it, and clients that see how a connection ends."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TYPED = "type.googleapis.com/envoy.extensions."
# The listeners: the kind of each, and its further settings.
LISTENERS = {
    "http": {},
    "tcp": {},
    "inbound": {"traffic_direction": "INBOUND"},
    "outbound": {"traffic_direction": "OUTBOUND"},
    "modify-only": {"drain_type": "MODIFY_ONLY"},
    "inspected": {
        "listener_filters": [
            {
                "name": "tls",
                "typed_config": {"@type": TYPED + "filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ]
    },
}


def tested():
    """ENVOY_TESTED of the Makefile."""
    text = (TOP / "Makefile").read_text()
    return re.search(r"^ENVOY_TESTED = (.*)$", text, re.M)[1].split()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def at(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name, port):
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(port)}}]}]
    limits = {"thresholds": [{"max_connections": 9999, "max_requests": 9999, "max_pending_requests": 9999}]}
    return {
        "name": name,
        "circuit_breakers": limits,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def add_udp(config, port, to):
    """Adds a listener with a UDP proxy that passes the datagrams on to the cluster `to`."""
    kind = TYPED + "filters.udp.udp_proxy.v3."
    route = {"name": "route", "typed_config": {"@type": kind + "Route", "cluster": to}}
    proxy = {"@type": kind + "UdpProxyConfig", "stat_prefix": "udp", "matcher": {"on_no_match": {"action": route}}}
    address = {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": port}}
    filters = [{"name": "udp", "typed_config": proxy}]
    listener = {"name": "udp", "address": address, "udp_listener_config": {}, "listener_filters": filters}
    config["static_resources"]["listeners"].append(listener)


def http_filters(manager=None, access_log=None, timeout="0s"):
    route = {"match": {"prefix": "/"}, "route": {"cluster": "http", "timeout": timeout}}
    config = {
        "@type": TYPED + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "all",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {"name": "router", "typed_config": {"@type": TYPED + "filters.http.router.v3.Router"}}
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        **(manager or {}),
    }
    if timeout is None:
        del route["route"]["timeout"]
    if access_log:
        log = {"@type": TYPED + "access_loggers.file.v3.FileAccessLog", "path": access_log}
        config["access_log"] = [{"name": "file", "typed_config": log}]
    return [{"name": "http", "typed_config": config}]


class Upstream:
    """Echoes all data over TCP and WebSocket until the data `bye`, and answers requests: `/stream/S` with an event
    each half second for S seconds, `/sleep/S` after S seconds, and any other path at once. A WebSocket at `/refuses` is
    answered like a request."""

    async def __aenter__(self):
        self.servers = [
            await asyncio.start_server(self.http, "127.0.0.1", 0),
            await asyncio.start_server(self.echo, "127.0.0.1", 0),
        ]
        self.ports = [server.sockets[0].getsockname()[1] for server in self.servers]
        return self

    async def __aexit__(self, *_):
        for server in self.servers:
            server.close()

    async def echo(self, reader, writer):
        with contextlib.suppress(OSError):
            while (some := await reader.read(4096)) and some != b"bye":
                writer.write(some)
                await writer.drain()
        writer.close()

    async def http(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                if b"websocket" in head.lower() and path != "/refuses":
                    writer.write(b"HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                    return await self.echo(reader, writer)
                if path.startswith("/stream/"):
                    kind = b"application/grpc" if b"application/grpc" in head else b"text/event-stream"
                    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: " + kind + b"\r\n\r\n")
                    for _ in range(2 * int(path.split("/")[2])):
                        writer.write(b"9\r\ndata: x\n\n\r\n")
                        await asyncio.sleep(0.5)
                    writer.write(b"0\r\n\r\n")
                    return writer.close()
                if path.startswith("/sleep/"):
                    await asyncio.sleep(float(path.split("/")[2]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Envoy:
    """An Envoy of one version; `port` has the ports of its listeners. With `dynamic`, Envoy reads the listeners from a
    file that can be written again while Envoy runs."""

    def __init__(self, version, upstream, *flags, manager=None, change=None, dynamic=False, timeout="0s", within=(), hot=None, has_workers=True):
        self.version, self.upstream, self.flags, self.within = version, upstream, flags, list(within)
        self.binary = TOP / "target/envoy" / version / "envoy"
        self.directory = tempfile.TemporaryDirectory(prefix="facts-", dir="/tmp")
        self.place = Path(self.directory.name)
        self.manager, self.change, self.dynamic, self.timeout = manager, change, dynamic, timeout
        self.port = dict(zip([*LISTENERS, "admin"], free_ports(len(LISTENERS) + 1)))
        self.hot, self.has_workers = hot, has_workers
        if hot:
            self.port = hot.port
        self.process, self.output = None, b""

    def listeners(self, note=""):
        """The config of all listeners. If `note` differs, Envoy sees changed listeners."""
        manager = {**(self.manager or {}), **({"server_name": note} if note else {})}
        log = str(self.place / "access.log")
        chains = [{"filters": http_filters(manager, log, self.timeout)}]
        proxy = {"@type": TYPED + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "tcp"}
        tcp = [{"filters": [{"name": "tcp", "typed_config": proxy}]}]
        return [
            {"name": name, "address": at(self.port[name]), "filter_chains": tcp if name == "tcp" else chains, **more}
            for name, more in LISTENERS.items()
        ]

    def write_listeners(self, note=""):
        kind = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"}
        resources = [{**kind, **listener} for listener in self.listeners(note)]
        (self.place / "new.json").write_text(json.dumps({"version_info": note or "1", "resources": resources}))
        (self.place / "new.json").rename(self.place / "lds.json")

    def config(self):
        http, tcp = self.upstream.ports
        static = {"clusters": [cluster("http", http), cluster("tcp", tcp)]}
        config = {"admin": {"address": at(self.port["admin"])}, "static_resources": static}
        if self.dynamic:
            self.write_listeners()
            config["node"] = {"id": "facts", "cluster": "facts"}
            source = {"path_config_source": {"path": str(self.place / "lds.json")}, "resource_api_version": "V3"}
            config["dynamic_resources"] = {"lds_config": source}
        else:
            static["listeners"] = self.listeners()
        if self.change:
            self.change(config)
        return config

    async def start(self):
        """Starts Envoy, and waits until Envoy is live or has ended."""
        file = self.place / "envoy.json"
        file.write_text(json.dumps(self.config()))
        is_hot = self.hot or any("base-id" in flag for flag in map(str, self.flags))
        flags = [] if is_hot or "--disable-hot-restart" in self.flags else ["--disable-hot-restart"]
        if "--concurrency" not in self.flags and self.has_workers:
            flags += ["--concurrency", "2"]
        command = [*self.within, self.binary, "-c", file, "--log-level", "error", *flags, *self.flags]
        self.log = open(self.place / "log", "wb")
        self.process = await asyncio.create_subprocess_exec(*map(str, command), stdout=self.log, stderr=self.log)
        self.ended = asyncio.create_task(self.process.wait())
        for _ in range(600):
            if self.ended.done() or await self.state() == "LIVE":
                return self
            await asyncio.sleep(0.05)
        raise RuntimeError(f"Envoy {self.version} is not live:\n{self.said()}")

    def said(self):
        return (self.place / "log").read_text()

    async def state(self):
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            status, text = await self.admin("/server_info")
            info = json.loads(text)
            epoch = info["command_line_options"].get("restart_epoch", 0)
            if status == 200 and epoch == self.epoch():
                return info["state"]
        return None

    async def answers(self):
        """Whether this epoch answers at the admin's address."""
        return await self.state() is not None

    def epoch(self):
        flags = list(self.flags)
        return int(flags[flags.index("--restart-epoch") + 1]) if "--restart-epoch" in flags else 0

    async def __aenter__(self):
        return await self.start()

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            await self.ended
        self.log.close()
        self.directory.cleanup()

    async def admin(self, path, method="GET", limit=20):
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port["admin"], limit=2**26)
            writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            body = unchunked(body)
        return int(head.split()[1]), body.decode()

    async def post(self, path):
        return (await self.admin(path, "POST"))[0]

    async def drain(self, fail=True):
        """Begins a drain as drainit does."""
        await self.post("/drain_listeners?graceful&skip_exit")
        if fail:
            await self.post("/healthcheck/fail")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    async def accepts(self, listener="http"):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            client = await Http1.open(self, listener)
            await client.request()
            client.close()
            return True
        return False


def unchunked(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole


class Connection:
    """One connection. `asked` is the moment at which Envoy first asks the client to leave, and `how` says how."""

    @classmethod
    async def open(cls, envoy, listener="http"):
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", envoy.port[listener])
        self.asked = self.how = self.ended = None
        self.is_whole = False
        return self

    def learn(self, how):
        if self.asked is None:
            self.asked, self.how = time.monotonic(), how

    def end(self):
        self.learn("closed")
        self.ended = self.ended or time.monotonic()

    def close(self):
        self.writer.close()

    async def watch(self):
        """Reads until the other side closes."""
        try:
            while some := await self.reader.read(65536):
                self.seen(some)
        except OSError:
            pass  # reset
        self.end()

    def seen(self, some):
        pass

    async def say(self, what, period):
        """Sends data again and again, until the connection has ended."""
        with contextlib.suppress(OSError):
            while self.ended is None and not self.writer.is_closing():
                self.writer.write(what)
                await self.writer.drain()
                await asyncio.sleep(period)


class Http1(Connection):
    async def send(self, path="/", more=""):
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n".encode())
        await self.writer.drain()

    async def request(self, path="/", more=""):
        """Whether the answer closes the connection."""
        await self.send(path, more)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        self.status = int(head.split()[1])
        if b"content-length: " in head:
            await self.reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
        closes = b"connection: close" in head
        if closes:
            self.learn("`Connection: close`")
        return closes

    async def keep_asking(self, period):
        """A polite client, which leaves when Envoy asks it to."""
        try:
            while not await self.request():
                await asyncio.sleep(period)
            self.close()
        except (OSError, asyncio.IncompleteReadError):
            self.end()

    def seen(self, some):
        self.is_whole |= some.endswith(b"0\r\n\r\n")


class WebSocket(Http1):
    async def upgrade(self, path="/ws"):
        more = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
        await self.request(path, more)


# A masked text frame, and the mask 0.
FRAME = b"\x81\x85\0\0\0\0hello"


class Http2(Connection):
    async def begin(self):
        self.number, self.rest, self.done = -1, b"", set()
        self.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        await self.writer.drain()

    def ask(self, path="/", grpc=False):
        self.number += 2
        text = path.encode()
        fields = [b"\x83" if grpc else b"\x82", b"\x86", b"\x04" + bytes([len(text)]) + text, b"\x01\x01x"]
        if grpc:
            fields += [b"\x0f\x10\x10application/grpc", b"\x00\x02te\x08trailers"]
        self.writer.write(frame(1, 4 if grpc else 5, self.number, b"".join(fields)))

    def seen(self, some):
        self.rest += some
        while len(self.rest) >= 9:
            length, kind, flags = int.from_bytes(self.rest[:3], "big"), self.rest[3], self.rest[4]
            if len(self.rest) < 9 + length:
                return
            stream, self.rest = int.from_bytes(self.rest[5:9], "big"), self.rest[9 + length :]
            if kind == 4 and not flags & 1:
                self.writer.write(frame(4, 1, 0))
            if kind == 7:
                self.learn("GOAWAY")
            if kind in (0, 1) and flags & 1:
                self.done.add(stream)
                self.is_whole = True
            if kind == 3:
                self.done.add(stream)

    async def keep_asking(self, period):
        with contextlib.suppress(OSError):
            while self.asked is None:
                self.ask()
                await asyncio.sleep(period)
        self.close()


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
