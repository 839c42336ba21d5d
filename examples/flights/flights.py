"""
The data of the demo, in Python: partitions of 10,000 flights, normalised to z-scores, and what is recorded of each. The same as `partitions.js` and `worker.js`.

Needs NumPy and PyArrow.
"""

import collections
import functools
import hashlib
import os

import numpy
import pyarrow.compute
import pyarrow.parquet

rows_per_partition = 10_000
#: The columns that are normalised.
normalised_columns = ("delay", "distance")


def flights_file():
    """Where the npm package `vega-datasets` keeps 3,000,000 flights of 2001."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.join(here, "../../node_modules/vega-datasets/data/flights-3m.parquet")


class Partitions:
    """
    Partitions are cut out of row groups (272,727 rows), of which the last that was read is kept: read partitions in ascending order.
    """

    def __init__(self, path):
        self._file = pyarrow.parquet.ParquetFile(path)
        self.rows = self._file.metadata.num_rows
        #: How many partitions there are; the last may be shorter.
        self.count = -(-self.rows // rows_per_partition)
        lengths = [self._file.metadata.row_group(at).num_rows for at in range(self._file.num_row_groups)]
        self._starts = [sum(lengths[:at]) for at in range(len(lengths) + 1)]
        self._kept = (None, None)

    def read(self, number):
        """Columns of a partition: delay (minutes) and distance (miles) as doubles, NaN where the file has a null, and airports."""
        start = number * rows_per_partition
        end = min(start + rows_per_partition, self.rows)
        groups = [at for at in range(len(self._starts) - 1) if self._starts[at] < end and self._starts[at + 1] > start]
        pieces = []
        for at in groups:
            first = self._starts[at]
            pieces.append(self._group(at).slice(max(start - first, 0), min(end, self._starts[at + 1]) - max(start, first)))
        table = pyarrow.concat_tables(pieces)
        doubles = {name: pyarrow.compute.cast(table[name], "double").to_numpy() for name in normalised_columns}
        return {**doubles, "origin": table["origin"].to_pylist()}

    def _group(self, at):
        if self._kept[0] != at:
            self._kept = (at, self._file.read_row_group(at, columns=[*normalised_columns, "origin"]))
        return self._kept[1]


@functools.lru_cache(maxsize=1)
def opened(path):
    """The partitions of a file, opened once in a process."""
    return Partitions(path)


def normalise(values):
    """Z-scores of a column, (x - mean) / stddev, 0 where all values are equal; nulls stay nulls. With what is to be said of it."""
    present = values[~numpy.isnan(values)]
    mean, stddev, least, greatest = 0.0, 0.0, 0.0, 0.0
    if present.size > 0:
        mean, stddev = float(present.mean()), float(present.std())
        least, greatest = float(present.min()), float(present.max())
    output = values - mean
    if stddev != 0:
        output = output / stddev
    context = {
        "operation": "normalise",
        "method": "z-score",
        "rows": int(values.size),
        "nulls": int(values.size - present.size),
        "mean": mean,
        "stddev": stddev,
        "min": least,
        "max": greatest,
        "checksum": checksum(output),
    }
    return output, context


def checksum(output):
    """First 16 hexadecimal characters of the SHA-256 of the numbers as little-endian doubles."""
    return hashlib.sha256(output.astype("<f8").tobytes()).hexdigest()[:16]


def record(partition, number, work):
    """Normalises a partition, and records what was done to it: in a unit of work, so that it counts once, however often it is done."""
    for name in normalised_columns:
        # A real job would write the output to its own files here; the context is what we are after.
        _, context = normalise(partition[name])
        work.set(("partition", number, "column", name), context)
    departures = collections.Counter(airport for airport in partition["origin"] if airport is not None)
    work.set(("summary", "departures", number), dict(sorted(departures.items())))
    delay = partition["delay"]
    work.observe("delay", delay[~numpy.isnan(delay)].tolist())
    work.count("rows", int(delay.size))
