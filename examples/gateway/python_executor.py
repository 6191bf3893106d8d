"""The Python Executor: runs the policies that are written in Python, and answers over a Unix socket.

    python3 python_executor.py --listen SOCKET
"""

import argparse
import json

import unix_http


def evaluate(request):
    """The only policy: every path below /forbidden is refused."""
    return not request["path"].startswith("/forbidden")


class Executor(unix_http.Handler):
    """`POST` with `{"method": …, "path": …}` is answered with `{"allow": true}` or `{"allow": false}`."""

    def decide(self, body):
        try:
            allow = evaluate(json.loads(body))
        except (ValueError, KeyError, TypeError) as problem:
            return 400, f"not a request to judge: {problem}\n".encode()
        return 200, json.dumps({"allow": allow}).encode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True, metavar="SOCKET")
    options = parser.parse_args()
    unix_http.serve("python executor", options.listen, Executor)


if __name__ == "__main__":
    main()
