"""Connects, sends a stream, and gets it back behind a line that says who answers.

usage: client ADDRESS PORT; prints: own address and port, those of the peer, who answered, "intact".
"""

import socket
import sys

client = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
own, peer = client.getsockname(), client.getpeername()
sent = bytes(i % 251 for i in range(1000003))
client.sendall(sent)
client.shutdown(socket.SHUT_WR)
got = b"".join(iter(lambda: client.recv(65536), b""))
line, _, rest = got.partition(b"\n")
print(own[0], own[1], peer[0], peer[1], line.decode(), "intact" if rest == sent else "differs")
