"""
What it costs a simulation to record a thousand operations a second, under `cairn run`:

    python3 bench/run_overhead.py [--seconds 20]

A simulation computes in steps of ten milliseconds; with context, each step records ten values. Slices of twenty steps with and without context take turns, so that what else
the machine does meets both; the median of their ratios counts. Processor time is all that the process used: that of the client's thread, too. Prints one line of JSON; ends with 1
where the outputs of the two differ, or not everything is on disk.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "python"))

step_seconds, steps_of_a_slice, writes_of_a_step = 0.01, 20, 10


class Simulation:
    def __init__(self, turns, context):
        self.turns, self.context = turns, context
        self.state, self.step = 0.5, 0

    def run_slice(self):
        """The processor time of the process, and the time, that it took."""
        cpu, begun = time.process_time(), time.perf_counter()
        for _ in range(steps_of_a_slice):
            self.state = compute(self.state, self.turns)
            self.step += 1
            if self.context is not None:
                for at in range(writes_of_a_step):
                    self.context.add_context(("row", self.step, at), self.state)
        taken = time.perf_counter() - begun
        # What is on its way belongs to this slice.
        time.sleep(0.03)
        return time.process_time() - cpu, taken


def compute(state, turns):
    for _ in range(turns):
        state = state * 3.9999 * (1.0 - state)
    return state


def turns_of_a_step():
    """So many that a step takes ten milliseconds of this processor."""
    turns, least = 10_000, float("inf")
    for _ in range(50):
        begun = time.process_time()
        compute(0.5, turns)
        least = min(least, time.process_time() - begun)
    return round(turns * step_seconds / least)


def measure(seconds):
    from cairn.adapters import ProcessContext

    turns = turns_of_a_step()
    context = ProcessContext("simulation")
    bare, recorded = Simulation(turns, None), Simulation(turns, context)
    ratios = []
    times = []
    for _ in range(round(seconds / step_seconds / steps_of_a_slice / 2)):
        without, with_context = bare.run_slice(), recorded.run_slice()
        ratios.append([b / a for a, b in zip(without, with_context)])
        times.append(with_context[1])
    cpu, taken = (round(100 * (statistics.median(each) - 1), 2) for each in zip(*ratios))
    rate = round(steps_of_a_slice * writes_of_a_step / statistics.median(times))
    is_same, is_kept = bare.state == recorded.state, context.flush(30)
    told = {"operationsPerSecond": rate, "overheadPercent": {"cpu": cpu, "time": taken}, "sameOutput": is_same, "allOnDisk": is_kept}
    print(json.dumps(told))
    return 0 if is_same and is_kept else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
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
