"""
The flights demo as a job of Spark: 300 tasks normalise a partition each, whatever is retried or run twice at a time. What they recorded ends in one file, with the same totals.

    spark-submit examples/flights/spark_job.py [--data FILE] [--shared DIRECTORY] [--out FILE] [--partitions N]

Needs `pip install ./python pyspark numpy pyarrow` here and where the executors run.
"""

import argparse
import json
import os
import time

import cairn
import flights
from cairn.adapters import SparkContextAdapter
from pyspark.sql import SparkSession


def normalise(path):
    def of_partition(numbers, part):
        for number in numbers:
            flights.record(flights.opened(path).read(number), number, part)

    return of_partition


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=flights.flights_file())
    parser.add_argument("--shared", default=os.environ.get("CAIRN_SHARED", "flights-shared"), help="for checkpoints, on the shared file system")
    parser.add_argument("--out", default="flights.cairn")
    parser.add_argument("--partitions", type=int, help="only the first so many")
    options = parser.parse_args()
    begun = time.monotonic()
    data = os.path.abspath(options.data)
    spark = SparkSession.builder.appName("flights").getOrCreate()
    spark.sparkContext.addPyFile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "flights.py"))
    store = cairn.local(shared=os.path.abspath(options.shared))

    count = options.partitions or flights.opened(data).count
    numbers = spark.sparkContext.parallelize(range(count), count)
    adapter = SparkContextAdapter(numbers, "flights", store=store)
    adapter.foreach_partition("normalize", normalise(data))

    summary = adapter.summary("normalize")
    spark.stop()
    store.checkpoint()
    cairn.merge(options.out, os.path.join(options.shared, "checkpoints"))
    told = {**summary._asdict(), "rows": store.counter("rows").value, "seconds": round(time.monotonic() - begun, 1)}
    store.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
