#!/usr/bin/env python3
"""Counts the requests that clients of HTTP/3 lose when their Envoy is drained or hot-restarted, and prints a table.

40 clients have a connection each, send 5 requests/s, and connect anew after a GOAWAY, as browsers do. After 4 s of
traffic, the gateway is stopped, or Envoy is replaced by its hot restart.

Usage: benches/http3.py DRAINIT ENVOY, with openssl, and aioquic from PyPI
"""

import asyncio
import collections
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

CLIENTS = 40
PAUSE = 0.2
BEFORE = 4
# The seconds of traffic after the stop signal: fewer than `min`, because no other gateway takes the traffic over.
AFTER_STOP = 4
# The seconds of traffic after the hot restart begins: more than the life of the old epoch.
AFTER_RESTART = 12

ENVOY_CONFIG = """
admin: {address: {pipe: {path: "DIR/admin.sock"}}}
static_resources:
  listeners:
    - name: http3
      address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: PORT}}
      udp_listener_config: {quic_options: {}}
      filter_chains:
        - transport_socket:
            name: quic
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport
              downstream_tls_context:
                common_tls_context:
                  tls_certificates:
                    - {certificate_chain: {filename: DIR/cert.pem}, private_key: {filename: DIR/key.pem}}
          filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                codec_type: HTTP3
                stat_prefix: http3
                route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [
                  {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "hello"}}}]}]}
                http_filters: [{name: router, typed_config: {
                  "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
"""
# If the config has a UDP listener, drainit refuses a hot restart with another number of workers. The rows here need
# such a restart, and --config-yaml makes it possible: drainit then does not know the listeners.
CONFIG = """
control: {socket: DIR/drainit.sock}
shutdown: {grace_period: 30s}
processes:
  router:
    command: [ENVOY, -c, DIR/envoy.yaml, --config-yaml, "{}", --log-level, error, --concurrency, "WORKERS", --base-id, "BASE",
              --drain-strategy, immediate, --drain-time-s, "6", --parent-shutdown-time-s, "8"]
    update: hot-restart
    readiness: {envoy: "unix:DIR/admin.sock"}
    drain: {envoy: {admin: "unix:DIR/admin.sock", time: 15s, min: 5s}}
"""


class Client(QuicConnectionProtocol):
    """A connection. `answers` has the requests in flight."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.told_to_go = self.closed = False
        # aioquic skips GOAWAY, so this code looks at the type of each frame.
        check = self.http._check_control_frame_type
        self.http._check_control_frame_type = lambda kind: (self.saw(kind), check(kind))[1]

    def saw(self, kind):
        self.told_to_go |= kind == FrameType.GOAWAY

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.closed = True
            for answer in self.answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("closed"))
        for frame in self.http.handle_event(event):
            answer = self.answers.get(frame.stream_id)
            if answer and frame.stream_ended and not answer.done():
                answer.set_result(None)

    async def get(self):
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = asyncio.get_running_loop().create_future()
        head = {b":method": b"GET", b":scheme": b"https", b":authority": b"localhost", b":path": b"/"}
        self.http.send_headers(stream, list(head.items()), end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.answers[stream], 3)


async def client(port, end, counts):
    settings = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    while time.monotonic() < end:
        try:
            async with connect("127.0.0.1", port, configuration=settings, create_protocol=Client) as connection:
                while time.monotonic() < end and not connection.told_to_go and not connection.closed:
                    counts["sent"] += 1
                    try:
                        await connection.get()
                    except (ConnectionError, asyncio.TimeoutError):
                        counts["failed"] += 1
                        break
                    await asyncio.sleep(PAUSE)
        except ConnectionError:
            counts["failed"] += 1


async def measure(drainit, envoy, workers, then):
    """Replaces an Envoy by one with `then` workers, or stops it if `then` is None. Returns the counts."""
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def write(name, text, workers):
            for word, value in ("DIR", directory), ("PORT", port), ("ENVOY", envoy), ("WORKERS", workers), ("BASE", port):
                text = text.replace(word, str(value))
            with open(f"{directory}/{name}", "w") as file:
                file.write(text)

        subject = ["-subj", "/CN=localhost", "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, stderr=-3)
        write("envoy.yaml", ENVOY_CONFIG, workers)
        write("drainit.yaml", CONFIG, workers)
        run = subprocess.Popen([drainit, "run", "-c", f"{directory}/drainit.yaml"], stderr=-3)
        try:
            command = [drainit, "health", "--wait", "20s", "--socket", f"{directory}/drainit.sock"]
            while subprocess.run(command, stdout=-3, stderr=-3).returncode != 0:
                await asyncio.sleep(0.1)
            after = AFTER_STOP if then is None else AFTER_RESTART
            end = time.monotonic() + BEFORE + after
            load = [asyncio.create_task(client(port, end, counts)) for _ in range(CLIENTS)]
            await asyncio.sleep(BEFORE)
            if then is None:
                run.send_signal(signal.SIGTERM)
            else:
                write("drainit.yaml", CONFIG, then)
                command = ["restart", "router"] if then == workers else ["reload"]
                command = [drainit, *command, "--socket", f"{directory}/drainit.sock"]
                replacing = await asyncio.create_subprocess_exec(*command)
                if await replacing.wait() != 0:
                    sys.exit(f"{command} has failed")
            await asyncio.gather(*load)
            run.send_signal(signal.SIGTERM)
            run.wait(40)
        finally:
            run.kill()
    return counts


def main():
    drainit, envoy = (os.path.abspath(path) for path in sys.argv[1:3])
    print("| what happens to Envoy | requests | failed |\n|---|--:|--:|")
    for title, workers, then in (
        ("drained and stopped", 2, None),
        ("hot restart, 2 workers as before", 2, 2),
        ("hot restart from 2 workers to 4", 2, 4),
        ("hot restart from 4 workers to 2", 4, 2),
    ):
        counts = asyncio.run(measure(drainit, envoy, workers, then))
        print(f"| {title} | {counts['sent']:,} | {counts['failed']} |", flush=True)


if __name__ == "__main__":
    main()
