"""Connects without a pause until it is told to stop, and says how many connects did not get through.

usage: fire.py SECONDS|- ASKED...

ASKED is ADDRESS,PORT,ANSWER or ADDRESS,PORT,ANSWER,SAY: what the peer answers, after SAY was sent to it.
The first line of the output comes when every ASKED was reached once; the last one is the outcome:
`CONNECTS failed FAILURES slowest MILLISECONDS per_second RATE`, with the first failures above it.
"""

import os
import signal
import socket
import sys
import threading
import time

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
lock = threading.Lock()
connects, failures, slowest = 0, [], 0.0


def connect(address, port, answer, say=""):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect((address, int(port)))
        if say:
            client.sendall(say.encode())
        got = b""
        while chunk := client.recv(256):
            got += chunk
        if client_asks_for(client, address) is False or got.decode() != answer:
            raise OSError(f"answered {got!r}")


def client_asks_for(client, address):
    try:
        return client.getpeername()[0] == address
    except OSError:
        return None  # The peer is gone already.


def work(asked):
    global connects, slowest
    while not stop.is_set():
        start = time.monotonic()
        try:
            connect(*asked)
            failure = None
        except OSError as error:
            failure = f"{asked}: {error}"
        took = time.monotonic() - start
        with lock:
            connects += 1
            slowest = max(slowest, took)
            if failure:
                failures.append(failure)
        # About as many a second as are asked for, over all threads.
        stop.wait(max(0.0, pace - took))


# Seconds between two connects of a thread. Where the machine is emulated, no pause would leave it no time
# for anything else.
pace = float(os.environ.get("PACE", "0.005"))
seconds, asked = sys.argv[1], [entry.split(",") for entry in sys.argv[2:]]
for entry in asked:
    connect(*entry)
print("begun", flush=True)
begun = time.monotonic()
threads = [threading.Thread(target=work, args=(entry,)) for entry in asked]
for thread in threads:
    thread.start()
stop.wait(None if seconds == "-" else float(seconds))
stop.set()
for thread in threads:
    thread.join()
elapsed = time.monotonic() - begun
for failure in failures[:10]:
    print(failure)
print(f"{connects} failed {len(failures)} slowest {slowest * 1000:.0f} per_second {connects / elapsed:.0f}")
