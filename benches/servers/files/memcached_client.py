"""Keeps a connection until its input ends, or sends a value within 3 s: memcached_client.py PORT [set]"""

import socket
import sys
import time

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as stream:
    if "set" not in sys.argv:
        sys.stdin.read()
        sys.exit()
    stream.sendall(b"set key 0 0 30\r\n")
    for _ in range(30):
        stream.sendall(b"a")
        time.sleep(0.1)
    stream.sendall(b"\r\n")
    sys.exit(stream.recv(100) != b"STORED\r\n")
