"""Context of a process that uses no framework that is known here."""

from typing import Optional

from cairn import ContextStore

from .base import ContextAdapter, Rank, ShardLike, detect_rank


class ProcessContext(ContextAdapter):
    """
    Context of a process among those of a job; any key is a part of it::

        context = ProcessContext("solver", rows=10_000)
        for cell in context.rows:  # this rank's block of 10,000
            context.add_context(("row", cell, "residual"), 0.25)

    :param shard: by default the block of this process's rank, as the launcher told it, of ``rows``
    """

    def __init__(
        self,
        name: Optional[str] = None,
        *,
        store: Optional[ContextStore] = None,
        shard: Optional[ShardLike] = None,
        rows: Optional[int] = None,
        strict: bool = False,
    ) -> None:
        #: Rank and size of this process; 0 of 1 where no launcher told them.
        self.rank = shard if isinstance(shard, Rank) else detect_rank() or Rank(0, 1)
        self._total = rows
        super().__init__(name, store=store, shard=self.rank if shard is None else shard, rows=rows, strict=strict)

    @property
    def rows(self) -> range:
        """The rows or items of this process; empty where ``rows`` was not told and the shard is no range."""
        if self.shard.rows is not None:
            return self.shard.rows
        return range(self._total or 0)
