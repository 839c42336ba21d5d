"""
A job of several ranks that normalises items, for `systems-tests/mpi.test.ts`: each rank those of its block that nobody has done.

    mpirun -n 8 python3 mpi_job.py SHARED ITEMS [RANK ITEM]

Two nodes are played by two halves of the ranks. With RANK and ITEM that rank is killed in the midst of that one of its items, and nobody does anything collective
after the start. Otherwise all close together, and rank 0 merges.
"""

import os
import signal
import sys

from mpi4py import MPI

import cairn
from cairn.adapters import MPIContext

comm = MPI.COMM_WORLD
shared, items = sys.argv[1], int(sys.argv[2])
victim, fatal = (int(word) for word in sys.argv[3:5]) if len(sys.argv) > 3 else (-1, -1)

half = comm.rank * 2 // comm.size
os.environ["CAIRN_SCRATCH"] = os.path.join(shared, f"node-{half}")
context = MPIContext.from_comm(comm, node=comm.Split(half), rows=items, shared=shared, strict=True)
store = context.store
assert store.worker == f"rank-{comm.rank}", store.worker
step = store.progress("normalise", total=items)
store.counter("started").add(1, once=f"{os.environ['CAIRN_RESTART']}/{comm.rank}")
for done, item in enumerate(context.rows):
    if step.has(item):
        continue
    with step.work(item) as work:
        work.set(("row", item, "square"), item * item)
        work.count("rows", item)
        work.observe("residual", [item / 4, -item])
    if (comm.rank, done) == (victim, fatal):
        os.kill(os.getpid(), signal.SIGKILL)
store.counter("finished").add(1)
context.add_context(("rank", comm.rank), {"node": half, "items": len(context.rows)})
if victim >= 0:
    context.close()
    print(f"rank {comm.rank} is through", flush=True)
    # Whoever is killed does not take part in what ends MPI.
    os._exit(0)

assert context.collective_sync()
assert step.count == items, step.count
assert step.missing() == []
assert context.collective_checkpoint("all")
assert context.collective_close()
if comm.rank == 0:
    cairn.merge(os.path.join(shared, "job.cairn"), os.path.join(shared, "checkpoints"))
    print("merged", flush=True)
