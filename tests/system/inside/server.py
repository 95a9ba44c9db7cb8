"""Says its name to whoever connects. usage: server.py NAME PORT"""

import os
import socket
import sys

name, port = sys.argv[1], int(sys.argv[2])
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen(128)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    connection, _ = server.accept()
    connection.sendall(name.encode())
    # What the client said is read, or closing would reset the connection.
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1)
    try:
        while connection.recv(256):
            pass
    except OSError:
        pass
    connection.close()
