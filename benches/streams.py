#!/usr/bin/env python3
"""Counts the long streams that are complete although their gateway is stopped, and prints a table. Without SECONDS also
writes the table into docs/measured/rollout.md.

The gateway is examples/streams: Envoy before a server of server-sent events. Each stream takes SECONDS. The gateway
gets SIGTERM 5 s after all streams have begun. Ways: `recipe` is a shell that sleeps 15 s on SIGTERM and then stops
Envoy, like a preStop hook; `drainit` is the unchanged example.

Usage: benches/streams.py DRAINIT ENVOY [SECONDS] [STREAMS]
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import kit

RECIPE = """
python3 examples/streams/server.py --port "$STREAMS_SERVER_PORT" & server=$!
"$ENVOY" -c "$STREAMS_RUN_DIR/envoy.yaml" --log-level warning --disable-hot-restart & envoy=$!
stop() { sleep 15; kill -TERM $envoy; wait $envoy; kill -TERM $server; }
trap 'stop; exit 0' TERM
while kill -0 $envoy; do wait $envoy; done
"""


# Each way, and its words in the table.
WAYS = {"recipe": "a script: 15 s of sleep, then SIGTERM for Envoy", "drainit": "drainit"}


class Stream(threading.Thread):
    def __init__(self, port, seconds):
        super().__init__()
        self.text = b""
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.sendall(f"GET /chat?seconds={seconds} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        self.text = self.connection.recv(4096)
        self.start()

    def run(self):
        try:
            while not self.is_whole() and (more := self.connection.recv(4096)):
                self.text += more
        except OSError:
            pass  # reset: the stream was cut

    def is_whole(self):
        return b"data: [DONE]" in self.text


def wait_for(port):
    for _ in range(300):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
    sys.exit("the gateway does not serve")


def measure(way, drainit, envoy, seconds, streams):
    """The streams that completed, and the seconds from SIGTERM to the end of the gateway."""
    with tempfile.TemporaryDirectory() as directory:
        port = kit.free_port()
        variables = {
            "ENVOY": envoy,
            "STREAMS_RUN_DIR": directory,
            "STREAMS_PORT": str(port),
            "STREAMS_ADDRESS": "127.0.0.1",
            "STREAMS_SERVER_PORT": str(kit.free_port()),
            "STREAMS_CONTROL": f"127.0.0.1:{kit.free_port()}",
            "STREAMS_LONGEST_SECONDS": str(seconds + 240),
            "TERMINATION_GRACE_PERIOD_SECONDS": str(seconds + 300),
        }
        command = [drainit, "run", "-c", "examples/streams/drainit.yaml"]
        if way == "recipe":
            with open("examples/streams/envoy.yaml.tmpl") as template:
                text = template.read()
            for name, value in variables.items():
                text = text.replace(f"${{{name}}}", value)
            with open(f"{directory}/envoy.yaml", "w") as config:
                config.write(text)
            command = ["bash", "-c", RECIPE]
        log = open(f"{directory}/log", "w+")
        gateway = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
        try:
            wait_for(port)
            time.sleep(1)  # the server behind Envoy may still be starting
            clients = [Stream(port, seconds) for _ in range(streams)]
            time.sleep(5)
            stopped = time.monotonic()
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(seconds + 300)
            took = time.monotonic() - stopped
            for client in clients:
                client.join(10)
        finally:
            gateway.kill()
        log.seek(0)
        print(log.read(), file=sys.stderr)
        return sum(client.is_whole() for client in clients), took


def main():
    drainit, envoy = sys.argv[1:3]
    seconds, streams = (int(number) for number in (sys.argv[3:] + ["600", "100"][len(sys.argv) - 3 :]))
    rows = []
    for way in WAYS:
        whole, took = measure(way, drainit, envoy, seconds, streams)
        rows.append((WAYS[way], f"{streams}", f"{whole}", f"{streams - whole}", f"{took:.0f}"))
    table = kit.table(("on SIGTERM", "streams", "completed", "cut", "seconds"), rows)
    print(table)
    if len(sys.argv) == 3:
        kit.write_page("rollout.md", "make bench-streams", streams=table)
    if whole < streams:
        sys.exit(f"drainit cut {streams - whole} streams")


main()
