"""The cost of a drain's polls for an Envoy with many statistics, before `min` is over, while
nothing can end the drain yet."""

import json
import re
import signal
import socket
import subprocess
import time

import kit
import row_drain
from table import US, Row

CLUSTERS = 3000
LISTENERS = 200
MIN_SECONDS = 12
# The first and the last seconds of `min`, which are not measured: drainit begins the drain with several calls, and
# polls often before the end.
BEGIN, REST = 1.5, 1.5


def config(directory, clusters, listeners):
    """An Envoy config with many clusters, each of which has its own statistics."""
    one = row_drain.ENVOY_CONFIG.split("    - name: web\n")
    head, body = one[0], "    - name: web\n" + one[1]
    text = head + body + "".join(
        body.replace("name: web", f"name: web{number}").replace("DIR/web.sock", f"DIR/web{number}.sock")
            .replace("stat_prefix: web", f"stat_prefix: web{number}") for number in range(1, listeners))
    text += "  clusters:\n" + "".join(
        f"    - {{name: c{number}, connect_timeout: 1s, type: STATIC, load_assignment: {{cluster_name: c{number}, endpoints: "
        f"[{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9}}}}}}}}]}}]}}}}\n"
        for number in range(clusters))
    path = directory / "envoy.yaml"
    path.write_text(text.replace("DIR", str(directory)))
    return [str(kit.ENVOY), "-c", str(path), "--disable-hot-restart", "--concurrency", "2", "--log-level", "off"]


def ask(directory, path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(directory / "admin.sock"))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer.decode()


def one(directory, clusters, listeners):
    """(statistics, per cent of a core that Envoy uses during `min`, the same without polls)"""
    directory.mkdir()
    admin = f"unix:{directory}/admin.sock"
    setup = directory / "drainit.yaml"
    setup.write_text(json.dumps({"processes": {"router": {
        "command": config(directory, clusters, listeners),
        "readiness": {"http": f"{admin}:/ready", "timeout": "120s"},
        "drain": {"envoy": {"admin": admin, "time": f"{MIN_SECONDS + 3}s", "min": f"{MIN_SECONDS}s"}},
    }}}))
    process = kit.start([kit.DRAINIT, "run", "-c", setup], stderr=subprocess.PIPE)
    lines = iter(process.stderr.readline, b"")
    if not any(b"everything is ready" in line for line in lines):
        raise RuntimeError("Envoy is not ready")
    envoy = kit.descendants(process.pid)[0]
    statistics = len(re.findall(r"\n", ask(directory, "/stats")))
    # Envoy's work after its start, and drainit's verification of the drain, are not measured.
    time.sleep(4)
    seconds = MIN_SECONDS - BEGIN - REST
    idle = spent(envoy, 3)
    process.send_signal(signal.SIGTERM)
    time.sleep(BEGIN)
    part = spent(envoy, seconds)
    process.stderr.close()
    kit.wait_end(process, 60)
    return statistics, part, idle


def spent(pid, seconds):
    """Per cent of a core over this time."""
    before, began = kit.cpu_ns(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (kit.cpu_ns(pid) - before) / 1e9 / (time.monotonic() - began)


def measure():
    rows = []
    sizes = [(0, 1, "small"), (CLUSTERS, LISTENERS, "large")]
    with kit.Scratch() as directory:
        for clusters, listeners, name in sizes:
            statistics, part, idle = one(directory / name, clusters, listeners)
            rows.append(Row(f"polls of a drain: processor time of an Envoy with {statistics:,} statistics during `min`", "% of a core",
                            {US: part}, "at most 3 % more", part - idle <= 3,
                            detail=f"{idle:.1f} without polls"))
    return rows
