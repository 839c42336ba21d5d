"""
A simulation: the same output and the same end, whatever becomes of the context that it records. For `test/cli/misfortunes.test.ts`.

    simulation.py FOLDER plain|context

Writes FOLDER/output, prints its digest, and ends with 7. At two steps it says so by a file FOLDER/halt-N, and waits for FOLDER/go-N. How many steps it was told are on disk, in order, is
in FOLDER/acknowledged.
"""

import hashlib
import os
import sys
import time

STEPS = 120
HALTS = {40: "1", 80: "2"}

folder, how = sys.argv[1:]
context = None
if how == "context":
    from cairn.adapters import ProcessContext

    context = ProcessContext("simulation", rows=STEPS)


def write(name, text):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


def record(step, cells):
    with context.store.progress("steps", total=STEPS).work(step) as work:
        work.count("cells", len(cells))
        work.observe("cell", cells)
    context.add_context(("step", step), {"first": cells[0], "is new": context.get_context(("step", step)) is None})
    context.store.counter("executed").add(1)
    if step % 5 == 4 and context.store.flush():
        write("acknowledged", str(step + 1))


digest = hashlib.sha256()
cells = list(range(1, 65))
with open(os.path.join(folder, "output"), "wb") as output:
    for step in range(STEPS):
        cells = [(3 * cell + cells[at - 1] + step) % 1_000_003 for at, cell in enumerate(cells)]
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
print(digest.hexdigest(), flush=True)
sys.exit(7)
