"""Context of a table of pandas: of the table, its columns, rows and cells."""

from typing import TYPE_CHECKING, Optional

from cairn import ContextKeyError, ContextStore, ContextStoreError, Key, KeyElement

from .base import ContextAdapter, Rank, ShardLike

if TYPE_CHECKING:
    import pandas


class PandasContextAdapter(ContextAdapter):
    """
    Context of a ``DataFrame``, which itself is not changed::

        genes = PandasContextAdapter(frame, "expression", shard=Rank(3, 8))
        genes.add_context(("column", "T"), {"unit": "K"})
        for label, row in genes.part.iterrows():  # this rank's block of rows
            genes.add_context(("cell", label, "T"), "interpolated")

    Keys are ``("table",)``, ``("column", label)``, ``("row", label)`` and ``("cell", row label, column label)``; more elements may follow. Labels are those of the
    frame: texts, whole numbers or booleans, each of which occurs once.

    Cost: that of the store, and some microseconds to look a label up; the first time pandas builds its table of labels.

    :param frame: the whole table, or the rows of it that a range in ``shard`` (or a rank's block of ``rows``) names: as many as there are. Where it has the
        default index, as what was read from a part of a file, its rows are numbered as in the whole table
    :param rows: how many rows the whole table has, where the frame is a part of it
    """

    def __init__(
        self,
        frame: "pandas.DataFrame",
        name: str,
        *,
        store: Optional[ContextStore] = None,
        shard: Optional[ShardLike] = None,
        rows: Optional[int] = None,
        strict: bool = False,
    ) -> None:
        if not (hasattr(frame, "columns") and hasattr(frame, "iloc")):
            raise ContextStoreError("OPTION_INVALID", f"A {type(frame).__name__} is no DataFrame of pandas.", "Wrap a DataFrame.")
        self.frame = frame
        total = rows if rows is not None or not isinstance(shard, Rank) else len(frame)
        super().__init__(name, store=store, shard=shard, rows=total, strict=strict)
        mine = self.shard.rows
        #: Number in the whole table of the frame's first row.
        self._first = mine.start if mine is not None and len(mine) == len(frame) else 0
        index = frame.index
        #: What keys call the frame's first row, where it is numbered anew from 0.
        self._shift = self._first if type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1 else 0

    @property
    def part(self) -> "pandas.DataFrame":
        """The rows and columns of the frame that are of this process's shard; a view where pandas makes one."""
        part = self.frame
        if self.shard.rows is not None and not self._first:
            part = part.iloc[self.shard.rows.start : self.shard.rows.stop]
        if self.shard.columns is not None:
            part = part.loc[:, [each in self.shard.columns for each in part.columns]]
        return part

    def check_form(self, key: Key) -> None:
        """Raises `ContextKeyError` for a key that is none of a table, column, row or cell."""
        if len(key) < {"table": 1, "column": 2, "row": 2, "cell": 3}.get(str(key[0]), 10**9) or not isinstance(key[0], str):
            raise ContextKeyError(
                f"{key!r} names no part of a table.",
                'Use ("table",), ("column", label), ("row", label) or ("cell", row label, column label).',
            )

    def check_part(self, key: Key) -> None:
        """Raises `ContextKeyError` for a row or column that the frame has not."""
        kind = key[0]
        if kind in ("row", "cell"):
            self._position(key[1])
        if kind in ("column", "cell"):
            column = key[1] if kind == "column" else key[2]
            if not _has(self.frame.columns, column):
                raise ContextKeyError(f"{self.name!r} has no column {column!r}.", "Use a label of the frame's columns.")

    def owns_row(self, row: KeyElement) -> bool:
        """Whether a row, by its label, is of this process's shard."""
        return self.shard.rows is None or self.shard.has_row(self._first + self._position(row))

    def _position(self, row: KeyElement) -> int:
        """Of a row in the frame."""
        index = self.frame.index
        label = row - self._shift if self._shift and isinstance(row, int) and not isinstance(row, bool) else row
        position = index.get_loc(label) if _has(index, label) else None
        if position is None:
            raise ContextKeyError(f"{self.name!r} has no row {row!r} here.", "Use a label of the frame's index.")
        if not isinstance(position, int):
            raise ContextKeyError(f"{self.name!r} has several rows {row!r}.", "Give the rows labels that occur once: frame.reset_index().")
        return position


def _has(labels: "pandas.Index", label: KeyElement) -> bool:
    """Whether there is a label. That True is 1 to pandas makes no label of it."""
    return label in labels and isinstance(label, bool) == (labels.inferred_type == "boolean")
