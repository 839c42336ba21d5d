"""
How many writes a second a program in Python does through the agent, one at a time and in batches:

    python3 bench/run_client.py [--seconds 5]

Four ways: each write waits for its answer (``buffered=False``), each write is gathered and all are seen by the agent at the end, batches of a thousand writes, and batches that wait for their answers.
Each way runs for a share of the time, in ten rounds; told is the best round, for other programs of the machine only ever slow one down, and the processor time of both sides. Prints a line of JSON for each way.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "python"))
os.environ.setdefault("CAIRN_COMMAND", f"node '{os.path.join(here, '..', 'dist', 'cli.js')}'")

rounds, batch_length = 10, 1_000


def one_by_one(store, count):
    for at in range(count):
        store.set(("row", at, "residual"), at)


def gathered(store, count):
    for at in range(count):
        store.set(("row", at, "residual"), at)
    store.version()


def batched(store, count):
    for start in range(0, count, batch_length):
        with store.batch() as batch:
            for at in range(start, start + batch_length):
                batch.set(("row", at, "residual"), at)
    store.version()


def agent_seconds(pid):
    """Processor time of the agent, in all of its threads."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name, write, store, seconds, pid):
    count, best, total = batch_length, 0.0, 0
    own, agent = own_seconds(), agent_seconds(pid)
    for _ in range(rounds):
        begun = time.perf_counter()
        write(store, count)
        taken = time.perf_counter() - begun
        best, total = max(best, count / taken), total + count
        store.flush()
        # A round takes its share of the time.
        count = max(1, round(count * seconds / rounds / taken / batch_length)) * batch_length
    own, agent = own_seconds() - own, agent_seconds(pid) - agent
    told = {
        "writes": name,
        "perSecond": round(best),
        "clientMicroseconds": round(1e6 * own / total, 1),
        "agentMicroseconds": round(1e6 * agent / total, 1),
    }
    print(json.dumps(told), flush=True)


def main():
    import cairn

    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = {"dir": os.path.join(folder, "store"), "socket": os.path.join(folder, "agent", "agent.sock")}
        with cairn.local(linger=1, **places) as store, cairn.local(buffered=False, **places) as unbuffered:
            pid = store._connection.greeting["pid"]
            measure("each answered", one_by_one, unbuffered, given.seconds / 4, pid)
            measure("gathered", gathered, store, given.seconds / 4, pid)
            measure("batches of 1000", batched, store, given.seconds / 4, pid)
            measure("batches of 1000, each answered", batched, unbuffered, given.seconds / 4, pid)


if __name__ == "__main__":
    main()
