"""
Context of what frameworks hold: a process, a table of pandas, ranks of MPI, partitions of Spark and Dask.

No framework is imported before it is used::

    from cairn.adapters import PandasContextAdapter

    columns = PandasContextAdapter(frame, "expression")
    columns.add_context(("column", "GeneSymbol"), {"method": "z-score", "mean": 3.0})

All of them know ``add_context``, ``get_context``, ``remove_context`` and ``list_context_keys``, take a ``shard``, and never raise
into the simulation unless told to by ``strict=True``, or given a store that is strict.
"""

from .base import ContextAdapter, Rank, Shard, ShardLike, detect_rank
from .dask import DaskContextAdapter
from .mpi import MPIContext
from .pandas import PandasContextAdapter
from .process import ProcessContext
from .spark import SparkContextAdapter
from .tasks import Part, PartitionedContextAdapter, StepSummary

__all__ = [
    "ContextAdapter",
    "DaskContextAdapter",
    "MPIContext",
    "PandasContextAdapter",
    "Part",
    "PartitionedContextAdapter",
    "ProcessContext",
    "Rank",
    "Shard",
    "ShardLike",
    "SparkContextAdapter",
    "StepSummary",
    "detect_rank",
]
