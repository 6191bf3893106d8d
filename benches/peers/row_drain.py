"""The drain of a real Envoy: the time from the last closed connection to SIGTERM for Envoy."""

import json
import random
import socket
import subprocess
import threading
import time

import kit
from table import US, Row

ENVOY_CONFIG = """
admin: {address: {pipe: {path: DIR/admin.sock}}}
static_resources:
  listeners:
    - name: web
      address: {pipe: {path: DIR/web.sock}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: web
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: everything
                      domains: ["*"]
                      routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "hello"}}}]
"""
CLIENTS = 10
SCRIPT_SECONDS = 15
SCRIPT = """
ENVOY & pid=$!
echo 'everything is ready' >&2
drain() {
    curl -s -X POST --unix-socket DIR/admin.sock 'http://admin/drain_listeners?graceful' >/dev/null && sleep SECONDS
    echo 'router: sending SIGTERM' >&2
    kill -TERM $pid
    wait $pid
    exit 0
}
trap drain TERM
wait $pid
"""


def envoy_command(directory):
    config = directory / "envoy.yaml"
    config.write_text(ENVOY_CONFIG.replace("DIR", str(directory)))
    return [str(kit.ENVOY), "-c", str(config), "--disable-hot-restart", "--concurrency", "2", "--log-level", "off"]


def drainit(directory):
    config = directory / "drainit.yaml"
    admin = f"unix:{directory}/admin.sock"
    config.write_text(json.dumps({"processes": {"router": {
        "command": envoy_command(directory),
        "readiness": {"http": f"{admin}:/ready"},
        "drain": {"envoy": {"admin": admin, "time": "15s", "min": "0s"}},
    }}}))
    return [kit.DRAINIT, "run", "-c", config]


def script(directory):
    text = SCRIPT.replace("ENVOY", " ".join(envoy_command(directory))).replace("DIR", str(directory))
    return ["bash", "-c", text.replace("SECONDS", str(kit.rounds(SCRIPT_SECONDS, 3)))]


def connect(directory):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(directory / "web.sock"))
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    if not client.recv(4096).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("Envoy does not answer")
    return client


def ready(directory):
    try:
        connect(directory).close()
    except OSError:
        return False
    return True


def one_round(directory, command):
    """Milliseconds from the last close to the log line about SIGTERM for Envoy."""
    directory.mkdir()
    process = kit.start(command(directory), stderr=subprocess.PIPE)
    told, asked = [], []

    def listen():
        for line in process.stderr:
            if b"everything is ready" in line:
                told.append(line)
            if b"router: sending SIGTERM" in line:
                asked.append(time.monotonic())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    kit.wait_until(lambda: told and ready(directory), 20, "answer of Envoy")
    clients = [connect(directory) for _ in range(CLIENTS)]
    process.terminate()
    # The pause is random, so that it is not in step with peers that poll.
    time.sleep(1 + random.random())
    for client in clients:
        client.close()
    closed = time.monotonic()
    kit.wait_end(process, 30)
    listener.join(5)
    if not asked:
        raise RuntimeError("Envoy was not asked to end")
    return 1000 * (asked[0] - closed)


def measure(directory):
    times = [one_round(directory / f"drain-{number}", drainit) for number in range(kit.rounds(9, 2))]
    figures = {US: kit.median(times), "bash entrypoint": one_round(directory / "drain-script", script)}
    worst = max(times)
    return [Row("drain of Envoy 1.40: from the last closed connection to SIGTERM", "ms", figures, "at most 300 ms",
                worst <= 300,
                short="from the last closed connection to SIGTERM for Envoy, ms",
                detail=f"the longest of {len(times)}: {worst:.0f}")]
