# SPDX-License-Identifier: Apache-2.0
"""A service for the demonstration: accepts TCP connections on HOST:PORT and closes them."""

import socket
import sys

host, port = sys.argv[1].rsplit(":", 1)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((host, int(port)))
listener.listen(16)
print("listening", flush=True)
while True:
    listener.accept()[0].close()
