"""
What it costs a simulation to record a thousand operations a second, under `cairn run`:

    python3 bench/run_overhead.py [--seconds 10]

A simulation computes in steps of ten milliseconds of processor time, and records ten values after each. Counted is the processor time that its thread spends on recording, and all that
the client's thread uses, for an operation; a thousand of them are the share of a second of computing that is told. (Two runs, one without context, differ by more than that for other reasons.) Told
beside it is what the agent, which all processes of the node share, uses for an operation. Then it computes the same without context. Prints one line of JSON; ends with 1 where the two outputs differ, or not everything is on disk.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "python"))

step_seconds, writes_of_a_step = 0.01, 10
operations_of_a_second = writes_of_a_step / step_seconds


def simulate(turns, steps, context):
    """The output, and the processor time that the thread spent on recording."""
    state, recording = 0.5, 0.0
    for step in range(steps):
        state = compute(state, turns)
        if context is not None:
            begun = time.thread_time()
            for at in range(writes_of_a_step):
                context.add_context(("row", step, at), state)
            recording += time.thread_time() - begun
    return state, recording


def compute(state, turns):
    for _ in range(turns):
        state = state * 3.9999 * (1.0 - state)
    return state


def turns_of_a_step():
    """So many that a step takes ten milliseconds of this processor, as it is after a second of work and on the average: the shortest run would be too short for all others."""
    turns = 10_000
    for _ in range(5):
        begun, runs = time.process_time(), 0
        while time.process_time() - begun < 0.2:
            compute(0.5, turns)
            runs += 1
        turns = max(1, round(turns * runs * step_seconds / (time.process_time() - begun)))
    return turns


def seconds_of(pid):
    """Processor time of all threads of a process, nearly to the nanosecond."""
    tasks, nanoseconds = f"/proc/{pid}/task", 0
    for task in os.listdir(tasks):
        with open(os.path.join(tasks, task, "schedstat")) as file:
            nanoseconds += int(file.read().split()[0])
    return nanoseconds / 1e9


def measure(seconds):
    from cairn.adapters import ProcessContext

    turns, steps = turns_of_a_step(), round(seconds / step_seconds)
    context = ProcessContext("simulation")
    # What compiles when it runs for the first time is not the question.
    simulate(turns, 100, context)
    agent = context.store._connection.greeting["pid"]
    agent_begun = seconds_of(agent)
    begun, process, thread = time.monotonic(), time.process_time(), time.thread_time()
    output, recording = simulate(turns, steps, context)
    # What is on its way belongs to it.
    time.sleep(0.2)
    taken, thread = time.monotonic() - begun - 0.2, time.thread_time() - thread
    others = time.process_time() - process - thread
    agent_used = seconds_of(agent) - agent_begun
    operations, computing = steps * writes_of_a_step, thread - recording
    is_same, is_kept = simulate(turns, steps, None)[0] == output, context.flush(30)
    told = {
        "operationsPerSecond": round(operations / taken),
        "stepMilliseconds": round(1e3 * computing / steps, 1),
        "overheadPercent": round(100 * operations_of_a_second * (recording + others) / operations, 2),
        "recordingMicroseconds": round(1e6 * recording / operations, 1),
        "threadMicroseconds": round(1e6 * others / operations, 1),
        "agentMicroseconds": round(1e6 * agent_used / operations, 1),
        "sameOutput": is_same,
        "allOnDisk": is_kept,
    }
    print(json.dumps(told))
    return 0 if is_same and is_kept else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        return measure(given.seconds)
    cairn = shlex.split(os.environ.get("CAIRN_COMMAND", f"node '{os.path.join(here, '..', 'dist', 'cli.js')}'"))
    program = [sys.executable, os.path.abspath(__file__), "--measure", "--seconds", str(given.seconds)]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([*cairn, "run", "--", *program], env={**os.environ, "TMPDIR": folder}).returncode


if __name__ == "__main__":
    sys.exit(main())
