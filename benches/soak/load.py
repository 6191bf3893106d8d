"""The traffic, and drainit's output: no request and no line may be lost."""

import http.client
import re
import threading
import time

PAUSE = 0.1
TIMEOUT = 30


class Client(threading.Thread):
    """Sends one request after the other over a connection that it keeps."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.requests, self.failures = port, 0, []
        self.is_over = threading.Event()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        while not self.is_over.wait(PAUSE):
            self.requests += 1
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.fail(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.fail(repr(error))
                connection.close()

    def fail(self, why):
        self.failures.append(f"{time.strftime('%H:%M:%S')} port {self.port}: {why}")


class Output(threading.Thread):
    """Checks the lines of the writer in drainit's output, and keeps all other lines."""

    def __init__(self, pipe, path):
        super().__init__(daemon=True)
        self.pipe, self.path, self.numbers = pipe, path, Numbers()

    def run(self):
        with open(self.path, "wb") as file:
            for line in self.pipe:
                if not self.numbers.take(line, rb'.*"process":"writer"'):
                    file.write(line)
                    file.flush()


class Numbers:
    """The lines of a writer.py so far: all, and the lines that are missing or out of order."""

    def __init__(self):
        self.lines, self.lost = 0, 0

    def take(self, line, prefix=b""):
        found = re.match(prefix + rb'.*"message":"line (\d+) ', line)
        if not found:
            return False
        number = int(found[1])
        self.lost += abs(number - self.lines)
        self.lines = number + 1
        return True
