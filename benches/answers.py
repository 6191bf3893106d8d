#!/usr/bin/env python3
"""Drains a server with thousands of connections by `drain: connections`, and counts what was cut.

    benches/answers.py DRAINIT SERVER CONNECTIONS     (SERVER: asyncio, node, nginx)

The clients keep asking until 3 s after the stop signal: short and slow answers, streams with pauses,
uploads, two requests at once, and a connection for each request. Then they are silent, but keep their
connections. Prints the answers that were cut, what the report says, and how long after the last
movement of a connection that stays open, or after the last close, the drain was over.
"""
import asyncio, datetime, os, random, re, resource, signal, socket, subprocess, sys, tempfile, time

IDLE, QUITS = 2.0, 3.0

NODE = r"""
require("http").createServer((request, response) => {
  const [, kind, wait, parts] = request.url.split("/");
  const serve = () => {
    let left = Number(parts);
    response.setHeader("Content-Length", left);
    if (kind == "stream") response.flushHeaders();
    const send = () => left-- > 0 ? (response.write("."), setTimeout(send, Number(wait))) : response.end();
    setTimeout(send, Number(wait));
  };
  request.on("data", () => {}).on("end", serve);
}).listen({port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096});
"""

NGINX = """
daemon off; worker_processes 1; pid DIR/nginx.pid; error_log stderr; worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
    access_log off; client_body_temp_path DIR/b; proxy_temp_path DIR/p; proxy_buffering off;
    fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s; keepalive_timeout 300s;
    server { listen 127.0.0.1:PORT backlog=4096; location / { proxy_pass http://127.0.0.1:BEHIND; } }
}
"""


async def answer(reader, writer):
    """A server of its own, without a library."""
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


class Load:
    def __init__(self, port):
        self.port, self.quits, self.cut, self.whole, self.moved = port, None, 0, 0, 0.0
        self.closed = 0.0

    def goes_on(self):
        return self.quits is None or time.time() < self.quits

    async def client(self, number):
        dice = random.Random(number)
        kind = ["idle", "think", "stream", "upload", "two", "close"][number % 6]
        reader = writer = None
        while self.goes_on():
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            wait = dice.choice([0, 1, 5, dice.randrange(3000)])
            parts, method, body, more = 1, "GET", b"", ""
            if kind == "stream":
                parts, wait = dice.randrange(1, 6), dice.randrange(int(IDLE * 800))
            if kind == "upload":
                method, body, more = "POST", b"x" * 3000, "Content-Length: 3000\r\n"
            if kind == "close":
                more = "Connection: close\r\n"
            path = f"/{'stream' if kind == 'stream' else 'whole'}/{wait}/{parts}"
            head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()
            count = 2 if kind == "two" else 1
            try:
                writer.write(head * count)
                for at in range(0, len(body), 1000):
                    await asyncio.sleep(dice.random() / 5)
                    writer.write(body[at:at + 1000])
                for _ in range(count):
                    await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(parts)
                    self.whole += 1
                if kind == "close":
                    writer.close()
                    writer, self.closed = None, time.time()
                else:
                    self.moved = time.time()
            except (asyncio.IncompleteReadError, ConnectionError):
                self.cut += 1
                return
            await asyncio.sleep(3600 if kind == "idle" else dice.choice([0, 0.001, 0.05, 2]) * dice.random())
        await asyncio.sleep(3600)


async def main(drainit, server, number):
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        def write(name, text):
            with open(f"{directory}/{name}", "w") as file:
                file.write(text.replace("DIR", directory).replace("PORT", str(ports[0])).replace("BEHIND", str(ports[1])))
        node = lambda port: f"[node, {directory}/server.js, '{port}']"
        write("server.js", NODE)
        write("nginx.conf", NGINX)
        command = {
            "asyncio": f"[python3, {os.path.abspath(__file__)}, --serve, '{ports[0]}']",
            "node": node(ports[0]),
            "nginx": f"[nginx, -e, stderr, -p, {directory}, -c, {directory}/nginx.conf]",
        }[server]
        behind = f"  app: {{command: {node(ports[1])}, readiness: {{tcp: '127.0.0.1:{ports[1]}'}}}}\n"
        write("drainit.yaml", f"shutdown: {{grace_period: 90s}}\nprocesses:\n{behind if server == 'nginx' else ''}"
              f"  web: {{command: {command}, readiness: {{tcp: '127.0.0.1:{ports[0]}'}}, stop_signal: KILL, "
              f"depends_on: [{'app' if server == 'nginx' else ''}], "
              f"drain: {{connections: {{min: 1s, time: 60s, idle: {IDLE}s}}}}}}\n")
        log = open(f"{directory}/log", "w+")
        run = subprocess.Popen([drainit, "run", "-c", f"{directory}/drainit.yaml"], stdout=log, stderr=log)
        while "ready" not in open(f"{directory}/log").read():
            await asyncio.sleep(0.1)
        load = Load(ports[0])
        tasks = []
        for at in range(number):
            tasks.append(asyncio.create_task(load.client(at)))
            if at % 100 == 0:
                await asyncio.sleep(0.02)
        await asyncio.sleep(3)
        load.quits = time.time() + QUITS
        run.send_signal(signal.SIGTERM)
        while run.poll() is None:
            await asyncio.sleep(0.1)
        text = open(f"{directory}/log").read()
        over = re.search(r"(\S+Z) web: drain over", text)[1]
        over = datetime.datetime.fromisoformat(over.replace("Z", "+00:00")).timestamp()
        report = next(line for line in text.splitlines() if "drain web:" in line)
        known = max(load.moved + IDLE, load.closed)
        print(f"{server}, {number} connections: {load.whole} answers, {load.cut} cut; the drain was over "
              f"{(over - known) * 1000:.0f} ms after the last movement and `idle`\n  {report.split('  ')[-1]}")
        return load.cut


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "--serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        cut = asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
        os._exit(1 if cut else 0)
