"""
Dask on Slurm: each worker is a job of Slurm (`dask-jobqueue`), and finds the agent of its node.

    CAIRN_JOB=my-run cairn run --shared DIRECTORY -- python3 examples/slurm/dask_job.py

Needs `pip install dask-jobqueue ./python`. DIRECTORY is on the shared file system. In the end `my-run.cairn` holds what all of them recorded.
"""

import os
import shlex

import cairn
from cairn.adapters import DaskContextAdapter
from cairn.adapters.dask import DaskWorkerPlugin
from dask import bag
from dask.distributed import Client
from dask_jobqueue import SLURMCluster


def square(numbers, part):
    for number in numbers:
        part.count("numbers")
        yield number**2


def main():
    shared, job = os.environ["CAIRN_SHARED"], os.environ["CAIRN_JOB"]
    # To Slurm the workers are jobs of their own, to Cairn they are this one.
    told = [f"export CAIRN_SHARED={shlex.quote(shared)}", f"export CAIRN_JOB={shlex.quote(job)}"]
    workers = {"cores": 1, "memory": "1GB", "walltime": "00:30:00"}
    with SLURMCluster(**workers, python="cairn run -- python3", job_script_prologue=told) as cluster, Client(cluster) as client:
        cluster.scale(jobs=2)
        DaskWorkerPlugin().register(client)
        with DaskContextAdapter(bag.from_sequence(range(1_000), npartitions=20), "numbers") as numbers:
            print("sum", numbers.map_partitions("square", square).sum().compute())
            print("done", numbers.summary("square").done, "of", numbers.partitions())
            numbers.store.checkpoint()
    cairn.merge(f"{job}.cairn", os.path.join(shared, "checkpoints"))


if __name__ == "__main__":
    main()
