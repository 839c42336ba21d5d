"""A job of Dask whose workers are killed while they are at it. Prints what came out of it, as JSON. `CAIRN_SOCKET` names the agent."""

import json
import os
import signal
import sys
import time

import cairn
import dask.array
import dask.bag
import dask.dataframe
import pandas
from cairn.adapters import DaskContextAdapter
from cairn.adapters.dask import DaskWorkerPlugin
from dask.distributed import Client, LocalCluster

rows = 2_400
partitions = 24
folder = os.getcwd()


def killed_once(step, number):
    """The worker that first does this item is killed in the midst of it, with all results that it holds."""
    path = os.path.join(folder, f"{step}-{number}")
    if not os.path.exists(path):
        open(path, "w").close()
        # Stores that are not strict gather for up to 0.4 s: that it was begun is told by then.
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)


def of_frame(frame, part):
    part.count("frame rows", len(frame))
    part.count("frame total", int(frame["id"].sum()))
    part.observe("frame id", frame["id"].tolist())
    part.add_context(("column", "id", "mean"), float(frame["id"].mean()))
    time.sleep(0.05)
    if part.number == 15:
        killed_once("frame", 15)
    return frame.assign(twice=2 * frame["id"])


def of_item(part, number):
    part.count("items", number)
    if part.number == 5:
        killed_once("items", 5)
    if number < 0:
        raise RuntimeError("forced")
    return 2 * number


def figures(adapter, step):
    return adapter.summary(step)._asdict()


def main():
    said = {}
    store = cairn.ContextStore()
    options = {"processes": True, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None, "scheduler_port": 0}
    with LocalCluster(n_workers=3, **options) as cluster, Client(cluster) as client:
        DaskWorkerPlugin(states=("error", "memory")).register(client)
        data = pandas.DataFrame({"id": range(rows)})
        frame = DaskContextAdapter(dask.dataframe.from_pandas(data, npartitions=partitions), "frame", store=store)
        made = frame.map_partitions("frame", of_frame)
        said["frame"] = {"sum": int(made["twice"].sum().compute()), **figures(frame, "frame")}
        # All of it is done again, of three partitions.
        said["again"] = {"sum": int(made.partitions[[3, 15, 20]]["id"].sum().compute()), **figures(frame, "frame")}
        said["rows"] = store.counter("frame rows").value
        said["total"] = store.counter("frame total").value
        said["observed"] = store.statistic("frame id").summary()[:2]
        said["means"] = [frame.get_context(("partition", at, "column", "id", "mean")) for at in range(partitions)]

        said["key errors"] = 0
        for key in (("column", "absent"), ("row", 5), ("partition", partitions), ("partition", 0, "column", "absent")):
            try:
                frame.add_context(key, 1)
            except cairn.ContextKeyError:
                said["key errors"] += 1

        tracked = frame.tracked("items", of_item)
        said["items"] = {"made": client.gather(client.map(tracked, range(10), range(10, 20))), "count": store.counter("items").value}
        failed = client.submit(tracked, 10, -1)
        said["failed"] = [type(failed.exception()).__name__, frame.summary("items", total=11)._asdict()]

        blocks = DaskContextAdapter(dask.array.arange(rows, chunks=200).reshape(12, 200).rechunk((4, 100)), "blocks", store=store)
        made = blocks.map_partitions("blocks", lambda block, part: count_block(block, part))
        said["blocks"] = {"sum": int(made.sum().compute()), "count": store.counter("blocks").value, **figures(blocks, "blocks")}
        said["block"] = blocks.get_context(("partition", 3, "first"))

        bag = DaskContextAdapter(dask.bag.from_sequence(range(rows), npartitions=6), "bag", store=store)
        made = bag.map_partitions("bag", lambda items, part: count_items(items, part))
        said["bag"] = {"sum": made.sum().compute(), "count": store.counter("bag").value, **figures(bag, "bag")}

        absent = cairn.ContextStore(os.path.join(folder, "absent.sock"), strict=False)
        without = DaskContextAdapter(frame.collection, "frame", store=absent)
        begun = time.monotonic()
        said["without"] = int(without.map_partitions("without", lambda frame, part: frame)["id"].sum().compute())
        print(f"without an agent {time.monotonic() - begun:.1f} s", file=sys.stderr)
    told = [event.type for event in store.journal.events("dask.")]
    said["started"] = told.count("dask.worker.started")
    said["ended"] = told.count("dask.worker.ended")
    said["errors"] = [event.data["state"] for event in store.journal.events("dask.task")].count("error")
    said["tasks"] = told.count("dask.task")
    store.close()
    print(json.dumps(said))


def count_block(block, part):
    part.count("blocks", int(block.size))
    if block.size:
        part.add_context(("first",), int(block[0, 0]))
    return block


def count_items(items, part):
    for item in items:
        part.count("bag")
        yield item


if __name__ == "__main__":
    main()
