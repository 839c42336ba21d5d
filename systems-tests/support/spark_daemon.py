"""Spark's daemon of workers in Python, which are forks of it: what it has imported none of them imports again. Many die here, and each would take a second for it."""

import pandas  # noqa: F401
import pyarrow  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    manager()
