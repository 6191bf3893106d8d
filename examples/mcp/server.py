"""An MCP server over streamable HTTP, without a library and without anything for a drain.

    python3 server.py ADDRESS PORT

`POST /mcp` is answered with JSON; the tool `wait` takes its argument `seconds`. `GET /mcp` is a stream for messages of
the server. Like the streams of the Python SDK, this stream gets a comment every 15 s, and ends only with the server.
"""

import http.server
import json
import sys
import time

TOOL = {"name": "wait", "description": "Waits.", "inputSchema": {"type": "object"}}


class Mcp(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write for the head and the body

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = b"" if "id" not in call else json.dumps(
            {"jsonrpc": "2.0", "id": call["id"], "result": self.result(call)}
        ).encode()
        self.send_response(200 if body else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def result(self, call):
        if call["method"] == "initialize":
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "wait", "version": "1"}}
        if call["method"] == "tools/list":
            return {"tools": [TOOL]}
        if call["method"] == "tools/call":
            time.sleep(float(call["params"]["arguments"]["seconds"]))
            return {"content": [{"type": "text", "text": "waited"}]}
        return {}

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while True:
            self.wfile.write(b": ping\n\n")
            self.wfile.flush()
            time.sleep(15)

    def log_message(self, *_):
        """Logs nothing."""


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Mcp).serve_forever()
