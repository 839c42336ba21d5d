"""
One side of the rows `python-put-answered` and `python-put-batched`: a program in Python that writes, to us through the agent or to a peer. For each line of standard input, `WAY COUNT`,
it writes so many and tells the seconds that it took, until the last is seen by who keeps it.

    python3 python_writes.py SIDE PLACE

`PLACE` is a directory, or the socket of the server. The record is a number under ("row", n, "residual"), n going on from line to line.
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.join(here, "..", "..", "..")
sys.path.insert(0, os.path.join(root, "python"))
os.environ.setdefault("CAIRN_COMMAND", f"node '{os.path.join(root, 'dist', 'cli.js')}'")

batch_length = 1_000


class Ours:
    """The client, as it is used: a write that waits for its answer, and batches that go on while answers come."""

    def __init__(self, place):
        import cairn

        places = {"dir": os.path.join(place, "store"), "socket": os.path.join(place, "agent", "agent.sock")}
        self.gathering = cairn.local(linger=1, **places)
        self.waiting = cairn.local(buffered=False, **places)

    def put(self, at):
        self.waiting.set(("row", at, "residual"), at)

    def put_batch(self, first):
        with self.gathering.batch() as batch:
            for at in range(first, first + batch_length):
                batch.set(("row", at, "residual"), at)

    def see(self):
        self.gathering.version()

    def keep(self):
        self.gathering.flush()

    def close(self):
        self.waiting.close()
        self.gathering.close()


class BareSocket:
    """A process of Node that answers each piece of what comes with a few bytes, does nothing else, and is sent what our client would send: no agent that is written in Node can be faster."""

    def __init__(self, place):
        path = os.path.join(place, "bare.sock")
        self.server = subprocess.Popen(["node", os.path.join(here, "bare-socket.js"), path], stdout=subprocess.PIPE)
        self.server.stdout.readline()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)

    def put(self, at):
        self.socket.sendall(b'{"n":%d,"do":[["set",["row",%d,"residual"],%d]]}\n' % (at, at, at))
        self.socket.recv(1 << 16)

    def put_batch(self, first):
        operations = [["set", ["row", at, "residual"], at] for at in range(first, first + batch_length)]
        self.socket.sendall(json.dumps({"n": first, "do": operations}, separators=(",", ":")).encode() + b"\n")
        self.socket.recv(1 << 16)

    def see(self):
        pass

    keep = see

    def close(self):
        self.server.kill()
        self.server.wait()


class Sqlite:
    """The module of Python's own library: a transaction a write, or a batch; written ahead, and not awaited on disk, as ours."""

    def __init__(self, place):
        self.database = sqlite3.connect(os.path.join(place, "database"), isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.execute("CREATE TABLE context (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def put(self, at):
        self.database.execute("INSERT OR REPLACE INTO context VALUES (?, ?)", (f"row/{at}/residual", json.dumps(at)))

    def put_batch(self, first):
        rows = ((f"row/{at}/residual", json.dumps(at)) for at in range(first, first + batch_length))
        self.database.execute("BEGIN")
        self.database.executemany("INSERT OR REPLACE INTO context VALUES (?, ?)", rows)
        self.database.execute("COMMIT")

    def see(self):
        pass

    def keep(self):
        self.database.execute("PRAGMA wal_checkpoint(FULL)")

    def close(self):
        self.database.close()


class Redis:
    """SET, and MSET a batch, over its Unix socket, without what a client library adds."""

    def __init__(self, place):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(place)

    def put(self, at):
        self.ask([b"SET", b"row/%d/residual" % at, b"%d" % at])

    def put_batch(self, first):
        words = [b"MSET"]
        for at in range(first, first + batch_length):
            words += (b"row/%d/residual" % at, b"%d" % at)
        self.ask(words)

    def ask(self, words):
        pieces = [b"*%d" % len(words)]
        for word in words:
            pieces += (b"$%d" % len(word), word)
        self.socket.sendall(b"\r\n".join(pieces) + b"\r\n")
        answer = self.socket.recv(1 << 16)
        if answer != b"+OK\r\n":
            raise RuntimeError(repr(answer))

    def see(self):
        pass

    keep = see

    def close(self):
        self.ask([b"FLUSHALL"])
        self.socket.close()


sides = {"ours": Ours, "bare-socket": BareSocket, "sqlite": Sqlite, "redis-everysec": Redis}


def main():
    side = sides[sys.argv[1]](sys.argv[2])
    written = 0
    for line in sys.stdin:
        way, _, told = line.partition(" ")
        count = int(told)
        begun = time.perf_counter()
        if way == "answered":
            for at in range(written, written + count):
                side.put(at)
        else:
            for first in range(written, written + count, batch_length):
                side.put_batch(first)
            side.see()
        taken = time.perf_counter() - begun
        written += count
        side.keep()
        print(taken, flush=True)
    side.close()


if __name__ == "__main__":
    main()
