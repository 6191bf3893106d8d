#!/usr/bin/python3
"""Sends requests over HTTP/2 until a file exists: http2.py HOST:PORT FILE [DELAY_MS]

20 clients have a connection each, and open a stream twice a second. The answer to a stream takes DELAY_MS (500). After
a GOAWAY, a client opens no more streams on the connection, waits for its open streams, and opens a connection for the
next stream. No client repeats a request. Prints JSON as load.py does. Needs Debian's python3-h2.
"""

import asyncio
import collections
import json
import os
import sys
import time

import h2.config
import h2.connection
import h2.events

# After GOAWAY, a server still answers the requests that it has received, but the library ignores these answers.
STATES = h2.connection.ConnectionState
GOAWAY = (STATES.CLIENT_OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY)
h2.connection.H2ConnectionStateMachine._transitions[GOAWAY] = (None, STATES.CLIENT_OPEN)

HOST, PORT = sys.argv[1].rsplit(":", 1)
END = sys.argv[2]
DELAY = sys.argv[3] if len(sys.argv) > 3 else "500"
LIMIT = 30


class Connection:
    """A connection; `is_last` once the server has said GOAWAY or is gone."""

    async def open(self):
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection(HOST, int(PORT)), LIMIT)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.writer.write(self.h2.data_to_send())
        self.is_last = False
        self.streams = {}
        self.reading = asyncio.ensure_future(self.read())
        return self

    async def read(self):
        reason = "closed without an answer"
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.writer.write(self.h2.data_to_send())
        except ConnectionError:
            reason = "reset"
        self.is_last = True
        for answer in self.streams.values():
            if not answer.done():
                answer.set_result(reason)

    def take(self, event):
        answer = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ConnectionTerminated):
            self.is_last = True
            for stream, answer in self.streams.items():
                if stream > event.last_stream_id and not answer.done():
                    answer.set_result("refused by GOAWAY")
        elif isinstance(event, h2.events.ResponseReceived):
            answer.status = next(value for name, value in event.headers if name == ":status")
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset) and not answer.done():
            answer.set_result("stream reset")
        elif isinstance(event, h2.events.StreamEnded) and not answer.done():
            answer.set_result(None if answer.status == "200" else f"status {answer.status}")

    async def ask(self):
        """Returns the kind of the failure, if any."""
        stream = self.h2.get_next_available_stream_id()
        answer = self.streams[stream] = asyncio.get_running_loop().create_future()
        headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "gateway")]
        self.h2.send_headers(stream, [*headers, ("x-envoy-fault-delay-request", DELAY)], end_stream=True)
        self.writer.write(self.h2.data_to_send())
        try:
            return await asyncio.wait_for(answer, LIMIT)
        except (TimeoutError, asyncio.TimeoutError):
            return "timeout"
        finally:
            del self.streams[stream]
            if self.is_last and not self.streams:
                self.writer.close()


async def client(counts, first):
    connection, due, asking = None, time.time() + first, []
    while not os.path.exists(END):
        await asyncio.sleep(max(0, due - time.time()))
        due += 0.5
        if connection is None or connection.is_last:
            try:
                connection = await Connection().open()
            except Exception as error:
                counts["requests"] += 1
                counts[type(error).__name__] += 1
                connection = None
                continue
        asking.append(asyncio.ensure_future(connection.ask()))
    for failure in await asyncio.gather(*asking):
        counts["requests"] += 1
        if failure:
            counts[failure] += 1
    if connection:
        connection.writer.close()
        await connection.reading


async def main():
    counts = collections.Counter()
    await asyncio.gather(*(client(counts, number / 40) for number in range(20)))
    print(json.dumps({"HTTP/2": counts}), flush=True)


asyncio.run(main())
