"""A waypoint that answers with what the PROXY header of version 2 says the client asked for, and with
what the client said. usage: waypoint.py PORT"""

import os
import socket
import socketserver
import struct
import sys

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        header = self.read(16)
        if header[:12] != SIGNATURE:
            return self.request.sendall(b"no header")
        kind, length = header[13], struct.unpack("!H", header[14:])[0]
        body = self.read(length)
        family, size = (socket.AF_INET, 4) if kind == 0x11 else (socket.AF_INET6, 16)
        asked = socket.inet_ntop(family, body[size : 2 * size])
        port = struct.unpack("!H", body[2 * size + 2 : 2 * size + 4])[0]
        self.request.sendall(f"{asked} {port} {self.read(2).decode()}".encode())

    def read(self, size):
        got = b""
        while len(got) < size:
            chunk = self.request.recv(size - len(got))
            if not chunk:
                raise ConnectionError(f"{len(got)} bytes of {size}")
            got += chunk
        return got


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(sys.argv[1])), Connection)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
