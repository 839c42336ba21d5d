"""
The flights demo as a job of MPI: each rank normalises its block of the partitions. What all of them recorded ends in one file, with the same totals.

    mpirun -n 4 python3 examples/flights/mpi_job.py [--data FILE] [--shared DIRECTORY] [--out FILE]

Started again after an accident, with the same directory, it does what is missing. Needs `pip install ./python mpi4py numpy pyarrow`.
"""

import argparse
import json
import os
import time

import cairn
import flights
from cairn.adapters import MPIContext
from mpi4py import MPI


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=flights.flights_file())
    parser.add_argument("--shared", default=os.environ.get("CAIRN_SHARED", "flights-shared"), help="for checkpoints, on the shared file system")
    parser.add_argument("--out", default="flights.cairn")
    options = parser.parse_args()
    begun = time.monotonic()
    partitions = flights.opened(options.data)

    # Strict, because a demo is about its record; a simulation leaves that out, and no call raises.
    context = MPIContext.from_comm(MPI.COMM_WORLD, rows=partitions.count, shared=os.path.abspath(options.shared), strict=True)
    step = context.store.progress("normalize", total=partitions.count)
    for number in context.rows:
        if step.has(number):
            continue
        with step.work(number) as work:
            flights.record(partitions.read(number), number, work)

    context.collective_sync()
    told = {"done": step.count, "missing": step.missing(), "rows": context.store.counter("rows").value, "ranks": context.rank.size}
    context.collective_close()
    if context.rank.rank == 0:
        cairn.merge(options.out, os.path.join(options.shared, "checkpoints"))
        print(json.dumps({**told, "seconds": round(time.monotonic() - begun, 1)}))


if __name__ == "__main__":
    main()
