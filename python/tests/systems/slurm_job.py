"""
A rank of a job of Slurm, for `systems-tests/slurm.test.ts`; started by `cairn run`.

    slurm_job.py FOLDER ITEMS [wait | endless | array]

Does its block of the items, those that nobody has done. With `wait` it stops halfway, says so by a file in FOLDER, and goes on when there is a file FOLDER/go. Told to
end, by SIGTERM, it closes its store and says how many items it did. What it is, and which agent it speaks with, is in FOLDER/process-RESTART-RANK. With `array` each task of
an array has so many items.
"""

import json
import os
import signal
import sys
import time

import cairn
from cairn.adapters import ProcessContext

folder, items, how = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""
told = set()
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda signal_, _frame: told.add(signal_))

context = ProcessContext(store=cairn.ContextStore(), rows=items)
store, rank = context.store, context.rank.rank
restart = int(os.environ.get("SLURM_RESTART_COUNT", 0))
task = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
if how == "array":
    rank, context.shard = task, context.shard._replace(rows=range(task * items, (task + 1) * items))


def say(name, text):
    path = os.path.join(folder, f"{name}-{restart}-{rank}")
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


greeting = store._connection.greeting
say("process", json.dumps({"pid": os.getpid(), "agent": greeting["pid"], "job": greeting["job"], "worker": store.worker}))
store.counter("started").add(1)
step = store.progress("solve", total=items)
done = 0
for i, item in enumerate(context.rows):
    if how == "wait" and i == len(context.rows) // 2:
        store.flush()
        say("waits", "")
        while not os.path.exists(os.path.join(folder, "go")) and signal.SIGTERM not in told:
            time.sleep(0.05)
    if signal.SIGUSR1 in told:
        told.remove(signal.SIGUSR1)
        store.journal.append("warned", {"item": item})
    if signal.SIGTERM in told:
        break
    if step.has(item):
        continue
    with step.work(item) as work:
        work.set(("row", item), item)
        work.count("rows", item)
    store.counter("executed").add(1)
    done += 1
    if how == "endless":
        time.sleep(0.05)
else:
    store.set(("finished", "by restart", rank), restart)
store.close()
say("did", str(done))
