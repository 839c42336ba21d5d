"""
A job of Spark in which tasks fail, die, lose their executor and run twice at a time. Prints what came out of it, as JSON. `CAIRN_SOCKET` names the agent.

    spark_job.py              with a session of its own, which serves Spark Connect, too
    spark_job.py sc://HOST    of that, by Spark Connect: the first starts it
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import cairn
from cairn.adapters import SparkContextAdapter
from pyspark import TaskContext
from pyspark.sql import SparkSession

#: Here attempts of one task tell each other where they are.
folder = os.getcwd()
rows = 2_400
partitions = 24


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.02)


def fault(step):
    """What goes wrong with the first attempt of some partitions, in the midst of them."""
    task = TaskContext.get()
    flag = os.path.join(folder, f"{step}-{task.partitionId()}")
    if task.partitionId() == 3:
        # A straggler that is not stuck: it goes on as soon as its speculative copy runs, and both are done at the same time.
        if task.attemptNumber() == 0:
            wait_for(flag)
        else:
            open(flag, "w").close()
    elif task.attemptNumber() == 0 and task.partitionId() % 5 == 1:
        raise RuntimeError("forced")
    elif task.attemptNumber() == 0 and task.partitionId() == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    elif step == "rdd" and task.partitionId() == 12 and not os.path.exists(flag):
        open(flag, "w").close()
        with open(f"/proc/{os.getppid()}/stat") as stat:
            executor = int(stat.read().rsplit(")", 1)[1].split()[1])
        os.kill(executor, signal.SIGKILL)
        time.sleep(60)


def of_rows(numbers, part):
    total = 0
    for at, number in enumerate(numbers):
        part.count("rdd rows")
        if at == 50:
            fault("rdd")
        total += number
        yield number
    part.count("rdd total", total)
    part.add_context(("last",), number)


def of_frames(step):
    def of(frames, part):
        taken = 0
        for frame in frames:
            frame = frame if hasattr(frame, "columns") and hasattr(frame, "assign") else frame.to_pandas()
            taken += len(frame)
            part.observe(f"{step} id", frame["id"].tolist())
            fault(step)
            part.add_context(("column", "id", "mean"), float(frame["id"].mean()))
            yield to_batch(frame) if step.endswith("arrow") else frame
        part.count(f"{step} rows", taken)

    return of


def of_each(step):
    # What it makes is asked for by nobody.
    def of(rows, part):
        for at, row in enumerate(rows):
            part.count(f"{step} rows")
            if at == 50 and "connect" in step:
                fault(step)
            yield row

    return of


def to_batch(frame):
    import pyarrow

    return pyarrow.RecordBatch.from_pandas(frame, preserve_index=False)


def figures(store, adapter, step):
    attempts = [value for _, value in store.entries((adapter.name, "step", step, 3))]
    return {
        "summary": adapter.summary(step)._asdict(),
        "rows": store.counter(f"{step} rows").value,
        "straggler": sorted((each["attempt"], each["state"]) for each in attempts),
    }


def by_connect(address):
    """Frames, batches and rows of a DataFrame of Spark Connect."""
    spark = SparkSession.builder.remote(address).getOrCreate()
    structure = spark.range(0, rows, 1, partitions)
    plain = structure.mapInPandas(lambda frames: frames, structure.schema).collect()
    store = cairn.ContextStore()
    frame = SparkContextAdapter(structure, "connected", store=store)
    said = {}
    for step, arrow in (("connect pandas", False), ("connect arrow", True)):
        made = frame.map_partitions(step, of_frames(step), arrow=arrow, total=partitions).collect()
        said[step] = {"is as without": made == plain, **figures(store, frame, step)}
        said[step]["observed"] = store.statistic(f"{step} id").summary()[:2]
    step = "connect each"
    frame.foreach_partition(step, of_each(step), total=partitions)
    said[step] = figures(store, frame, step)
    said["means"] = [frame.get_context(("partition", at, "column", "id", "mean")) for at in range(partitions)]
    spark.stop()
    store.close()
    print(json.dumps(said))


def main():
    options = {
        "spark.executor.cores": "2",
        "spark.speculation": "true",
        "spark.speculation.interval": "50ms",
        "spark.speculation.multiplier": "1.1",
        "spark.speculation.quantile": "0.3",
        "spark.speculation.minTaskRuntime": "200ms",
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
    }
    builder = SparkSession.builder
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    store = cairn.ContextStore()
    said = {}

    numbers = SparkContextAdapter(spark.sparkContext.parallelize(range(rows), partitions), "numbers", store=store)
    made = numbers.map_partitions("rdd", of_rows)
    said["rdd"] = {"sum": made.sum(), **figures(store, numbers, "rdd")}
    said["rdd"]["total"] = store.counter("rdd total").value
    said["rdd"]["last"] = [numbers.get_context(("partition", at, "last")) for at in range(partitions)]
    # Nothing was cached: all of it is made once more.
    said["again"] = {"count": made.count(), **figures(store, numbers, "rdd")}

    frame = SparkContextAdapter(spark.range(0, rows, 1, partitions), "frame", store=store)
    said["key errors"] = 0
    for key in (("column", "absent"), ("row", 5), ("partition", "one"), ("partition", -1)):
        try:
            frame.add_context(key, 1)
        except cairn.ContextKeyError:
            said["key errors"] += 1
    frame.add_context(("column", "id"), {"unit": "1"})
    for step, arrow in (("pandas", False), ("arrow", True)):
        made = frame.map_partitions(step, of_frames(step), arrow=arrow, total=partitions)
        said[step] = {"sum": made.groupBy().sum("id").collect()[0][0], **figures(store, frame, step)}
        said[step]["observed"] = store.statistic(f"{step} id").summary()[:2]
    said["frame keys"] = len(frame.list_context_keys(("partition",)))
    said["column"] = frame.get_context(("column", "id"))

    left = numbers.map_partitions("left", lambda rows, part: rows)
    said["left"] = {"taken": left.take(1), "done": numbers.summary("left").done}

    for each, step in ((numbers, "each of rdd"), (frame, "each of frame")):
        each.foreach_partition(step, of_each(step), total=partitions)
        said[step] = {"rows": store.counter(f"{step} rows").value, "done": each.summary(step).done}

    # Another process, which has no Java of its own. Its tasks run in the same executors.
    service = getattr(spark.sparkContext._jvm, "org.apache.spark.sql.connect.service.SparkConnectService$")
    served = getattr(service, "MODULE$").localPort()
    remote = subprocess.run([sys.executable, __file__, f"sc://127.0.0.1:{served}"], stdout=subprocess.PIPE, check=True)
    said["connect"] = json.loads(remote.stdout)

    # As README.md has it, with a store that is not strict.
    spark.range(0, rows, 1, 4).selectExpr("id", "if(id = 7, null, double(id)) as delay").write.parquet("flights.parquet")
    with open(os.path.join(os.path.dirname(cairn.__file__), "../README.md"), encoding="utf-8") as readme:
        (example,) = [each for each in re.findall(r"```python\n(.*?)```", readme.read(), re.DOTALL) if "SparkContextAdapter" in each]
    names = {"spark": spark}
    exec(example, names)
    said["readme"] = {
        "rows": store.counter("rows").value,
        "observed": store.statistic("delay").summary()[:2],
        "written": spark.read.parquet("normalised.parquet").count(),
        "unit": store.get(("flights", "column", "delay")),
        "is every file done": names["flights"].summary("normalise", total=spark.read.parquet("flights.parquet").rdd.getNumPartitions()).missing == [],
    }
    names["flights"].close()

    # An agent that is not there: the same result.
    absent = cairn.ContextStore(os.path.join(folder, "absent.sock"), strict=False)
    without = SparkContextAdapter(spark.range(0, rows, 1, partitions), "frame", store=absent)
    begun = time.monotonic()
    made = without.map_partitions("without", lambda frames, part: (frame for frame in frames))
    said["without"] = {"sum": made.groupBy().sum("id").collect()[0][0], "done": without.summary("without").done}
    print(f"without an agent {time.monotonic() - begun:.1f} s", file=sys.stderr)

    spark.stop()
    store.close()
    print(json.dumps(said))


if __name__ == "__main__":
    by_connect(*sys.argv[1:]) if sys.argv[1:] else main()
