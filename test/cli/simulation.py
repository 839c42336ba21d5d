"""
A simulation: the same output and the same end, whatever becomes of the context that it records. For `test/cli/misfortunes.test.ts`, and as ranks of MPI and Slurm for `systems-tests`.

    simulation.py FOLDER plain|context [mpi]

Writes FOLDER/output, prints its digest, and ends with 7. At two steps it says so by a file FOLDER/halt-N, and waits for FOLDER/go-N. How many steps it was told are on disk, in order, is
in FOLDER/acknowledged. Of several ranks each has a folder of its own, FOLDER/RANK; those of MPI exchange a cell at each step, and the first prints the digests of all.
"""

import hashlib
import os
import sys
import time

STEPS = 120
HALTS = {40: "1", 80: "2"}

folder, how = sys.argv[1:3]
rank, size = int(os.environ.get("SLURM_PROCID", 0)), int(os.environ.get("SLURM_NTASKS", 1))
comm, context = None, None
if "mpi" in sys.argv[3:]:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    rank, size = comm.rank, comm.size
if how == "context":
    from cairn.adapters import MPIContext, ProcessContext

    name = f"simulation-{rank}" if size > 1 else "simulation"
    context = ProcessContext(name, rows=STEPS) if comm is None else MPIContext.from_comm(comm, name, rows=STEPS)
if size > 1:
    folder = os.path.join(folder, str(rank))


def write(name, text):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


def record(step, cells):
    with context.store.progress("steps").work(rank * STEPS + step) as work:
        work.count("cells", len(cells))
        work.observe("cell", cells)
    context.add_context(("step", step), {"first": cells[0], "is new": context.get_context(("step", step)) is None})
    context.store.counter("executed").add(1)
    if step % 5 == 4 and context.store.flush():
        write("acknowledged", str(step + 1))


digest = hashlib.sha256()
cells = list(range(1 + rank, 65 + rank))
with open(os.path.join(folder, "output"), "wb") as output:
    for step in range(STEPS):
        left = cells[-1] if comm is None else comm.sendrecv(cells[-1], dest=(rank + 1) % size, source=(rank - 1) % size)
        cells = [(3 * cell + before + step) % 1_000_003 for before, cell in zip([left, *cells], cells)]
        line = (" ".join(map(str, cells)) + "\n").encode()
        digest.update(line)
        output.write(line)
        if context is not None:
            record(step, cells)
        time.sleep(0.002)
        if step in HALTS:
            write("halt-" + HALTS[step], "")
            while not os.path.exists(os.path.join(folder, "go-" + HALTS[step])):
                time.sleep(0.01)
if comm is None:
    print(digest.hexdigest(), flush=True)
else:
    digests = comm.gather(digest.hexdigest())
    if context is not None:
        context.collective_close()
    if rank == 0:
        print("\n".join(digests), flush=True)
sys.exit(7)
