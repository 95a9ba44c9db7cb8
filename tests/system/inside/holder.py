"""Holds connections open, and tells whether the connection table has them as they are.

Commands are lines of stdin, and each is answered by one line:

  open NAME ADDRESS   connects to port 80 there: `open`
  close NAME          `closed`
  check               `fine N`, or what is wrong with the table, of all N connections that are open
"""
import json
import socket
import subprocess
import sys
import time

SO_COOKIE = 57
# The clock of rows is as coarse as a tick, and numbers in JSON are rounded.
SLACK = 0.1


class Held:
    def __init__(self, address):
        self.before = time.monotonic()
        self.socket = socket.create_connection((address, 80))
        self.after = time.monotonic()
        self.asked = (address, 80)
        self.cookie = int.from_bytes(self.socket.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)

    def wrong(self, row, before, after):
        peer = self.socket.getpeername()[:2]
        if peer != self.asked:
            return f"the peer is {peer}"
        address, port = self.asked
        asked = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        if row["original_destination"] != asked:
            return f"it has {row['original_destination']}"
        youngest, oldest = before - self.after - SLACK, after - self.before + SLACK
        if not youngest <= row["age_seconds"] <= oldest:
            return f"its age is {row['age_seconds']}, not {youngest} to {oldest}"
        service = {"10": "web", "11": "far"}[address.replace(":", ".").rsplit(".", 1)[1]]
        if row.get("service") != service:
            return f"its service is {row.get('service')}"
        return None


def check(held, own):
    before = time.monotonic()
    output = subprocess.run(["kmesh-lite", "connections", "--json"], capture_output=True, text=True)
    after = time.monotonic()
    try:
        rows = json.loads(output.stdout)["connections"]
    except (ValueError, KeyError):
        return f"no table: {output}"
    expected = {it.cookie: it for it in held.values()}
    # As the host numbers processes, which a guest in a container does not see.
    own.update(row["pid"] for row in rows if row["cookie"] in expected)
    rows = {row["cookie"]: row for row in rows if row["pid"] in own}
    if rows.keys() != expected.keys():
        return f"the table has {sorted(rows)}, open are {sorted(expected)}"
    for cookie, it in expected.items():
        what = it.wrong(rows[cookie], before, after)
        if what:
            return f"{it.asked}: {what}"
    return f"fine {len(rows)}"


def main():
    held, own = {}, set()
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "open":
            name, address = words
            held[name] = Held(address)
            print("open", flush=True)
        elif verb == "close":
            held.pop(words[0]).socket.close()
            print("closed", flush=True)
        else:
            print(check(held, own), flush=True)


main()
