"""Connects to ADDRESS PORT again and again until SIGTERM, then prints how many connects there were and
each that failed or reached somebody else than NAME. Exits with 1 if there was any. READY once the first
succeeded."""

import os
import signal
import socket
import sys
import time

address, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stopped = False


def stop(*_):
    global stopped
    stopped = True


signal.signal(signal.SIGTERM, stop)
connects, failures, told = 0, [], False
while not stopped:
    connects += 1
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            said = connection.recv(64).decode()
        if said != name:
            failures.append(f"connect {connects}: reached {said!r}")
    except OSError as error:
        failures.append(f"connect {connects}: {error}")
    if not told and not failures:
        told = True
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    # Paced, so that the guest has time for what is tested.
    time.sleep(0.01)
print(f"{connects} connects, {len(failures)} failed", *failures[:5], sep="\n", flush=True)
sys.exit(bool(failures))
