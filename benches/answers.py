#!/usr/bin/env python3
"""Drains a server that has thousands of connections, with `drain: connections`, and counts the cut answers.

    PYTHONPATH=benches/peers benches/answers.py DRAINIT SERVER CONNECTIONS     (SERVER: asyncio, node, nginx, haproxy, go, uvicorn)

The clients send requests until 3 s after the stop signal. There are short and slow answers, streams with pauses,
uploads, two requests at a time, a connection for each request, and, if the server supports them, WebSockets and
parallel streams of HTTP/2. After these 3 s, the clients send nothing, but keep their connections. Go and nginx serve
over TLS. Every 0.1 s, the clients compare drainit's count with their own count. drainit's count must include each
connection that waited for an answer when drainit counted.

Prints the answers that were cut, the counts that were too low, the report's line about the drain, and how long the
drain lasted after the last traffic: the last byte on a connection that stays open, or the last close.
"""
import asyncio, base64, datetime, http.client, json, os, random, re, resource, signal, ssl, subprocess
import sys, tempfile, time

import kit

IDLE, QUITS = 2.0, 3.0
# A count in the status may be this many seconds old: the pause between two looks at the kernel, the look itself, and
# the time until drainit handles its result.
AGE = 3.0
# The longest tick of the kernel's clock, and the kinds of clients to which the server may send an answer in parts.
TICK, IN_PARTS = 0.01, ["stream", "two", "ws", "h2"]
KINDS = ["idle", "think", "stream", "upload", "two", "close"]

NODE = r"""
const parse = url => url.split("/").slice(1);
const server = require("http").createServer((request, response) => {
  const [kind, wait, parts] = parse(request.url);
  const serve = () => {
    let left = Number(parts);
    response.setHeader("Content-Length", left);
    if (kind == "stream") response.flushHeaders();
    const send = () => left-- > 0 ? (response.write("."), setTimeout(send, Number(wait))) : response.end();
    setTimeout(send, Number(wait));
  };
  request.on("data", () => {}).on("end", serve);
});
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = require("crypto").createHash("sha1").update(key).digest("base64");
  socket.write("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
               `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on("error", () => {}).on("data", data => {
    const length = data[1] & 127, mask = data.subarray(2, 6);
    const text = Buffer.from(data.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4])).toString();
    const [, wait, parts] = parse(text);
    let left = Number(parts);
    const send = () => left-- > 0 && (socket.write(Buffer.from([0x81, 1, 46])), setTimeout(send, Number(wait)));
    setTimeout(send, Number(wait));
  });
});
server.listen({port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096});
"""

GO = r"""
package main

import ("io"; "net/http"; "os"; "strconv"; "strings"; "time")

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body)
		path := strings.Split(request.URL.Path, "/")
		wait, _ := strconv.Atoi(path[2])
		parts, _ := strconv.Atoi(path[3])
		answer.Header().Set("Content-Length", path[3])
		if path[1] == "stream" { answer.(http.Flusher).Flush() }
		for ; parts > 0; parts-- {
			time.Sleep(time.Duration(wait) * time.Millisecond)
			answer.Write([]byte("."))
			if parts > 1 { answer.(http.Flusher).Flush() }
		}
	})
	panic(http.ListenAndServeTLS("127.0.0.1:" + os.Args[1], os.Args[2], os.Args[2], nil))
}
"""

ASGI = r"""
import asyncio
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            _, _, wait, parts = message["text"].split("/")
            for _ in range(int(parts)):
                await asyncio.sleep(int(wait) / 1000)
                await send({"type": "websocket.send", "text": "."})
        return
    while (await receive()).get("more_body"):
        pass
    _, kind, wait, parts = scope["path"].split("/")
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", parts.encode())]}
    if kind == "stream":
        await send(start)
    for left in reversed(range(int(parts))):
        await asyncio.sleep(int(wait) / 1000)
        if kind != "stream":
            await send(start)
        kind = "stream"
        await send({"type": "http.response.body", "body": b".", "more_body": left > 0})
"""

NGINX = """
daemon off; worker_processes 1; pid DIR/nginx.pid; error_log stderr; worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
    access_log off; client_body_temp_path DIR/b; proxy_temp_path DIR/p; proxy_buffering off;
    fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s; keepalive_timeout 300s;
    ssl_certificate DIR/pem; ssl_certificate_key DIR/pem; keepalive_requests 100000;
    server { listen 127.0.0.1:PORT ssl http2 backlog=4096; location / { proxy_pass http://127.0.0.1:BEHIND; } }
}
"""

HAPROXY = """
global
    maxconn 9500
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout tunnel 300s
frontend web
    bind 127.0.0.1:PORT backlog 4096
    default_backend app
backend app
    server app 127.0.0.1:BEHIND
"""


async def answer(reader, writer):
    """Serves HTTP/1.1 on a connection, without a library."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path, length = head.split()[1].decode(), re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            _, kind, wait, parts = path.split("/")
            start = f"HTTP/1.1 200 OK\r\nContent-Length: {parts}\r\n\r\n".encode()
            if kind == "stream":
                writer.write(start)
                start = b""
            for _ in range(int(parts)):
                await asyncio.sleep(int(wait) / 1000)
                writer.write(start + b".")
                start = b""
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(port):
    async with await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096) as server:
        await server.serve_forever()


async def frame(reader):
    """The type, flags, stream and bytes of a frame of HTTP/2."""
    head = await reader.readexactly(9)
    return head[3], head[4], int.from_bytes(head[5:]), await reader.readexactly(int.from_bytes(head[:3]))


def to_frame(kind, flags, stream, content):
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


class Load:
    def __init__(self, port, kinds, tls):
        self.port, self.kinds, self.tls = port, kinds, tls
        self.quits, self.cut, self.whole, self.moved, self.closed = None, 0, 0, 0.0, 0.0
        # `waiting`: for each connection that waits for an answer, since when, and whether the kernel may show the
        # answer as sent. `last`: the time of the last answer of each connection. `open`: all connections.
        self.waiting, self.last, self.open = {}, {}, {}

    def goes_on(self):
        return self.quits is None or time.time() < self.quits

    async def connect(self, number, protocol):
        tls = ssl._create_unverified_context() if self.tls else None
        if tls:
            tls.set_alpn_protocols([protocol])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls)
        self.open[number] = writer
        return reader, writer

    def asks(self, number):
        now = time.time()
        is_hidden = self.kinds[number % len(self.kinds)] in IN_PARTS or now - self.last.get(number, 0) < TICK
        self.waiting[number] = now, is_hidden

    def answered(self, number):
        self.whole, self.moved = self.whole + 1, time.time()
        self.last[number] = self.moved

    def owed(self, now):
        """The connections that a count at this time must include, without those that the docs except."""
        return {(number, since) for number, (since, is_hidden) in self.waiting.items()
                if since < now - AGE and not (is_hidden and since < now - IDLE)}

    async def client(self, number):
        dice, kind = random.Random(number), self.kinds[number % len(self.kinds)]
        try:
            await {"ws": self.websocket, "h2": self.http2}.get(kind, self.http1)(number, dice, kind)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.cut += 1
        self.waiting.pop(number, None)
        await asyncio.sleep(3600)

    def path(self, dice, is_stream):
        wait = dice.choice([0, 1, 5, dice.randrange(3000)])
        parts = 1
        if is_stream:
            parts, wait = dice.randrange(1, 6), dice.randrange(int(IDLE * 800))
        return f"/{'stream' if is_stream else 'whole'}/{wait}/{parts}", parts

    async def pause(self, dice, number):
        self.waiting.pop(number)
        await asyncio.sleep(dice.choice([0, 0.001, 0.05, 2]) * dice.random())

    async def http1(self, number, dice, kind):
        reader = writer = None
        while self.goes_on():
            if writer is None:
                reader, writer = await self.connect(number, "http/1.1")
            path, parts = self.path(dice, kind == "stream")
            method, body, more = "GET", b"", ""
            if kind == "upload":
                method, body, more = "POST", b"x" * 3000, "Content-Length: 3000\r\n"
            if kind == "close":
                more = "Connection: close\r\n"
            head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()
            count = 2 if kind == "two" else 1
            self.asks(number)
            writer.write(head * count)
            for at in range(0, len(body), 1000):
                await asyncio.sleep(dice.random() / 5)
                writer.write(body[at:at + 1000])
            for _ in range(count):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(parts)
                self.answered(number)
            if kind == "close":
                writer.close()
                writer, self.closed = None, time.time()
            if kind == "idle":
                return
            await self.pause(dice, number)

    async def websocket(self, number, dice, _):
        reader, writer = await self.connect(number, "http/1.1")
        key = base64.b64encode(dice.randbytes(16)).decode()
        writer.write(f"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        while self.goes_on():
            path, parts = self.path(dice, dice.random() < 0.5)
            self.asks(number)
            writer.write(bytes([0x81, 0x80 | len(path), 0, 0, 0, 0]) + path.encode())
            await reader.readexactly(3 * parts)
            self.answered(number)
            await self.pause(dice, number)

    async def http2(self, number, dice, _):
        reader, writer = await self.connect(number, "h2")
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + to_frame(4, 0, 0, b""))
        # Waits for the server's SETTINGS: if the client acknowledged them after the last answer, the acknowledgement
        # would look like a request.
        while (await frame(reader))[:2] != (4, 0):
            pass
        writer.write(to_frame(4, 1, 0, b""))
        if not self.goes_on():
            writer.close()
        stream = 1
        while self.goes_on():
            count, left = dice.randrange(1, 4), set()
            self.asks(number)
            for _ in range(count):
                path, _ = self.path(dice, dice.random() < 0.5)
                fields = {":method": "GET", ":scheme": "https", ":authority": "a", ":path": path}
                # Each field is sent literally, without HPACK's table and its Huffman code.
                block = b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
                                 for name, value in fields.items())
                writer.write(to_frame(1, 5, stream, block))
                left.add(stream)
                stream += 2
            while left:
                kind, flags, of, _ = await frame(reader)
                if kind in (3, 7):
                    raise ConnectionError
                if kind in (0, 1) and flags & 1:
                    left.discard(of)
                    self.answered(number)
            await self.pause(dice, number)


def count(port):
    """drainit's count, or None if the server is not being drained."""
    status = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    status.request("GET", "/status")
    processes = json.loads(status.getresponse().read())["processes"]
    web = next(process for process in processes if process["name"] == "web")
    return web.get("drain", {}).get("requests") if web["state"] == "draining" else None


async def compare(load, port, trail):
    """Compares drainit's count with the clients' while the drain lasts. Returns the counts that were too low."""
    low = 0
    while True:
        now = time.time()
        before = load.owed(now)
        try:
            counted = await asyncio.to_thread(count, port)
        except (OSError, http.client.HTTPException):
            return low
        if counted is not None:
            still = sum(load.waiting.get(number, (0,))[0] == since for number, since in before)
            trail.append((now, counted, still))
            if counted < still:
                low += 1
                print(f"  {counted} counted, {still} wait, {time.time() - now:.2f} s after the question")
        elif trail:
            return low
        await asyncio.sleep(0.1)


async def main(drainit, server, number):
    ports = [kit.free_port() for _ in range(3)]
    with tempfile.TemporaryDirectory() as directory:
        def write(name, text):
            with open(f"{directory}/{name}", "w") as file:
                file.write(text.replace("DIR", directory).replace("PORT", str(ports[0])).replace("BEHIND", str(ports[1])))
        node = lambda port: f"[node, {directory}/server.js, '{port}']"
        for name, text in {"server.js": NODE, "nginx.conf": NGINX, "haproxy.cfg": HAPROXY, "app.py": ASGI, "go.go": GO}.items():
            write(name, text)
        command, kinds, tls = {
            "asyncio": (f"[python3, {os.path.abspath(__file__)}, --serve, '{ports[0]}']", KINDS, False),
            "node": (node(ports[0]), [*KINDS, "ws"], False),
            "nginx": (f"[nginx, -e, stderr, -p, {directory}, -c, {directory}/nginx.conf]", [*KINDS, "h2"], True),
            "haproxy": (f"[haproxy, -db, -f, {directory}/haproxy.cfg]", [*KINDS, "ws"], False),
            "go": (f"[{directory}/go, '{ports[0]}', {directory}/pem]", [*KINDS, "h2"], True),
            "uvicorn": (f"[uvicorn, --app-dir, {directory}, --port, '{ports[0]}', --log-level, error, --ws, wsproto, "
                        "--timeout-keep-alive, '300', --backlog, '4096', 'app:app']", [*KINDS, "ws"], False),
        }[server]
        if tls:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
            subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj",
                            "/CN=a", "-keyout", f"{directory}/key", "-out", f"{directory}/pem"], **quiet)
            write("pem", open(f"{directory}/key").read() + open(f"{directory}/pem").read())
        if server == "go":
            subprocess.run(["go", "build", "-o", f"{directory}/go", f"{directory}/go.go"], check=True)
        is_proxy = server in ("nginx", "haproxy")
        behind = f"  app: {{command: {node(ports[1])}, readiness: {{tcp: '127.0.0.1:{ports[1]}'}}}}\n"
        write("drainit.yaml", f"shutdown: {{grace_period: 90s}}\ncontrol: {{listen: '127.0.0.1:{ports[2]}'}}\n"
              f"processes:\n{behind if is_proxy else ''}"
              f"  web: {{command: {command}, readiness: {{tcp: '127.0.0.1:{ports[0]}'}}, stop_signal: KILL, "
              f"depends_on: [{'app' if is_proxy else ''}], "
              f"drain: {{connections: {{min: 1s, time: 60s, idle: {IDLE}s}}}}}}\n")
        log = open(f"{directory}/log", "w+")
        run = subprocess.Popen([drainit, "run", "-c", f"{directory}/drainit.yaml"], stdout=log, stderr=log)
        while "everything is ready" not in (text := open(f"{directory}/log").read()):
            if run.poll() is not None:
                sys.exit(text)
            await asyncio.sleep(0.1)
        load = Load(ports[0], kinds, tls)
        tasks = []
        for at in range(number):
            tasks.append(asyncio.create_task(load.client(at)))
            if at % 100 == 0:
                await asyncio.sleep(0.2 if tls else 0.02)
        await asyncio.sleep(3)
        load.quits, trail = time.time() + QUITS, []
        run.send_signal(signal.SIGTERM)
        low = await compare(load, ports[2], trail)
        while run.poll() is None:
            await asyncio.sleep(0.1)
        text = open(f"{directory}/log").read()
        over = re.search(r"(\S+Z) web: drain over", text)[1]
        over = datetime.datetime.fromisoformat(over.replace("Z", "+00:00")).timestamp()
        report = next(line for line in text.splitlines() if "drain web:" in line)
        known = max(load.moved + IDLE, load.closed)
        print(f"{server}, {number} connections: {load.whole} answers, {load.cut} cut, {low} of {len(trail)} counts too low; "
              f"the drain was over {(over - known) * 1000:.0f} ms later than `idle` after the last data\n"
              f"  {report.split('  ')[-1]}", flush=True)
        if over - known > 1:
            print("  the last counts:", [(round(at - known, 1), counted, waiting) for at, counted, waiting in trail][-30:])
        return load.cut + low


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A proxy opens a second connection for each connection of a client.
    most = hard // (2 if sys.argv[2] in ("nginx", "haproxy") else 1) - 500
    if sys.argv[1] == "--serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        bad = asyncio.run(main(sys.argv[1], sys.argv[2], min(int(sys.argv[3]), most)))
        os._exit(1 if bad else 0)
