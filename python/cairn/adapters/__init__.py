"""
Context of what frameworks hold: a process, a table of pandas, ranks of MPI.

No framework is imported before it is used::

    from cairn.adapters import PandasContextAdapter

    columns = PandasContextAdapter(frame, "expression")
    columns.add_context(("column", "GeneSymbol"), {"method": "z-score", "mean": 3.0})

All of them know ``add_context``, ``get_context``, ``remove_context`` and ``list_context_keys``, take a ``shard``, and never raise
into the simulation unless told to by ``strict=True``, or given a store that is strict.
"""

from .base import ContextAdapter, Rank, Shard, ShardLike, detect_rank
from .mpi import MPIContext
from .pandas import PandasContextAdapter
from .process import ProcessContext

__all__ = [
    "ContextAdapter",
    "MPIContext",
    "PandasContextAdapter",
    "ProcessContext",
    "Rank",
    "Shard",
    "ShardLike",
    "detect_rank",
]
