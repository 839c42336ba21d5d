"""What all adapters share: keys of a structure, checked; the part of it that is one process's own; a store that does not hurt."""

import os
from typing import (
    Any,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Type,
    TypeVar,
    Union,
)

import cairn
from cairn import ContextKeyError, ContextStore, Health, Journal, Key, KeyElement, KeyLike

#: Elements of keys that need no second look; the store looks at lengths and magnitudes.
_PLAIN = frozenset((str, int, bool))
_Adapter = TypeVar("_Adapter", bound="ContextAdapter")

#: In this order, the first that is set; those of Slurm in a step only, as the batch script has them, too.
_RANK = (
    "CAIRN_RANK",
    "PMIX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "FLUX_TASK_RANK",
    "SLURM_PROCID",
    "JSM_NAMESPACE_RANK",
    "PALS_RANKID",
)
_SIZE = (
    "CAIRN_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "FLUX_JOB_SIZE",
    "SLURM_STEP_NUM_TASKS",
    "JSM_NAMESPACE_SIZE",
)
#: From here on Slurm's step ids stand for the batch script and other things that are no step.
_STEP_IDS_MAX = 0xFFFF_FFF0


class Rank(NamedTuple):
    """Number of a process, from 0, among ``size``."""

    rank: int
    size: int

    def rows(self, total: int) -> range:
        """This rank's share of ``total`` rows or items: one block, all blocks of the same length or one more, in the order of the ranks."""
        return range(self.rank * total // self.size, (self.rank + 1) * total // self.size)


#: What a ``shard`` may be: a range of rows, names of columns, or a rank.
ShardLike = Union[range, Rank, Iterable[str], "Shard"]


class Shard(NamedTuple):
    """
    The part of a structure that one process has, and writes context of. What is None is not restricted. Rows are numbered as in the whole structure, so
    that context means the same wherever it is read, and with however many processes it goes on.
    """

    rows: Optional[range] = None
    columns: Optional[FrozenSet[str]] = None

    @classmethod
    def of(cls, given: Optional[ShardLike], total: Optional[int] = None) -> "Shard":
        """
        A shard of what stands for one.

        :param given: ``range(1000, 2000)``: these rows; ``["T", "p"]``: these columns; ``Rank(3, 8)``: the block of that rank, of ``total`` rows; None: everything
        :param total: how many rows the whole structure has; without it a rank has all of them
        :raises ContextStoreError: ``OPTION_INVALID``
        """
        if given is None:
            return cls()
        if isinstance(given, Shard):
            return given
        if isinstance(given, Rank):
            if not 0 <= given.rank < given.size:
                raise _bad_shard(given)
            return cls() if total is None else cls(rows=given.rows(total))
        if isinstance(given, range):
            if given.step != 1 or given.start < 0:
                raise _bad_shard(given)
            return cls(rows=given)
        if isinstance(given, str) or not hasattr(given, "__iter__"):
            raise _bad_shard(given)
        columns = frozenset(given)
        if not all(isinstance(each, str) for each in columns):
            raise _bad_shard(given)
        return cls(columns=columns)

    def has_row(self, row: int) -> bool:
        """Whether a row, as the whole structure numbers it, is of this shard."""
        return self.rows is None or row in self.rows

    def has_column(self, column: KeyElement) -> bool:
        """Whether a column is of this shard."""
        return self.columns is None or column in self.columns


def _bad_shard(given: Any) -> cairn.ContextStoreError:
    return cairn.ContextStoreError(
        "OPTION_INVALID",
        f"{given!r} is no shard.",
        'Use range(first, end) for rows, ["T", "p"] for columns, Rank(rank, size) for the block of a rank.',
    )


def detect_rank(variables: Optional[Mapping[str, str]] = None) -> Optional[Rank]:
    """Rank and size that the launcher (``cairn run``, ``srun``, ``mpirun``, ``flux run``, ``jsrun``, ``aprun``) told this process; None where it told none."""
    found = os.environ if variables is None else variables
    step = found.get("SLURM_STEP_ID", "")
    is_step = step.isdigit() and int(step) < _STEP_IDS_MAX

    def number(names: Sequence[str]) -> Optional[int]:
        for name in names:
            text = found.get(name, "").strip()
            if text.isdigit() and (is_step or not name.startswith("SLURM_")):
                return int(text)
        return None

    rank, size = number(_RANK), number(_SIZE)
    return None if rank is None or size is None or rank >= size else Rank(rank, size)


class ContextAdapter:
    """
    Context of a structure. An adapter of a framework says which keys there are: it overrides `check_form` and `check_part`.

    The store holds a key of the structure below the structure's name: ``("column", "T")`` of ``"expression"`` is ``("expression", "column", "T")``. Without a
    name, keys are those of the store.
    Counters, progress, statistics, journal and all else are those of ``store``.

    Cost of a call: that of the store's ``set``, ``get``, ``delete``; where the agent is gone and the store is not strict, some 10 microseconds.

    :param name: of the structure, one for all processes that hold parts of it
    :param store: where to; by default that of the agent that ``CAIRN_SOCKET`` names, as ``cairn run`` sets it, else as ``cairn.local()`` finds or starts it
    :param shard: the part that this process has; see `Shard.of`
    :param rows: how many rows or items the whole structure has, for the block of a rank
    :param strict: of the store that is opened here: whether its calls raise. A store that is given keeps its own
    :raises ContextStoreError: ``OPTION_INVALID`` where the shard is none; where strict, what ``cairn.local`` raises
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
        self.name = name
        self._prefix: Key = () if name is None else (name,)
        self.shard = Shard.of(shard, rows)
        checks = ("check_form", "check_part", "check_shard")
        is_unchecked = all(getattr(type(self), name) is getattr(ContextAdapter, name) for name in checks)
        #: Every key is a part: what may be wrong with one all the same, the store finds.
        self._takes_all = is_unchecked and self.shard == Shard()
        self._owns_store = store is None
        self.store = _store_of_node(strict) if store is None else store

    # --- Which keys there are

    def check_form(self, key: Key) -> None:
        """Raises `ContextKeyError` for a key that cannot name a part of any structure of this kind."""

    def check_part(self, key: Key) -> None:
        """Raises `ContextKeyError` for a key that names no part of this very structure."""

    def check_shard(self, key: Key) -> None:
        """Raises `ContextKeyError` for a key of a row (``("row", 5, ...)``), column or cell (``("cell", 5, "T", ...)``) that another process has."""
        if self.shard.rows is None and self.shard.columns is None:
            return
        kind, rest = key[0], key[1:]
        row = rest[0] if kind in ("row", "cell") and rest else None
        column = rest[0] if kind == "column" and rest else rest[1] if kind == "cell" and len(rest) > 1 else None
        if row is not None and not self.owns_row(row):
            raise ContextKeyError(f"Row {row!r} is not of this shard of {self.name!r}.", "Have the process write it that has the row.")
        if column is not None and not self.shard.has_column(column):
            raise ContextKeyError(f"Column {column!r} is not of this shard of {self.name!r}.", "Have the process write it that has the column.")

    def owns_row(self, row: KeyElement) -> bool:
        """Whether a row, as keys name it, is of this process's shard."""
        return not isinstance(row, int) or self.shard.has_row(row)

    # --- Context

    def add_context(self, key: KeyLike, value: Any, *, codec: Optional[str] = None) -> None:
        """
        Says something about a part of this process's own; what was said under the key before is replaced.

        :raises ContextKeyError: where strict, a key that names no part of the structure, or one that another process has
        :raises ContextStoreError: where strict, ``VALUE_INVALID``
        """
        if self._takes_all and type(key) is tuple and key:
            self.store.set(self._prefix + key, value, codec=codec)
            return
        checked = self._checked(key, self.check_form, self.check_part, self.check_shard)
        if checked is not None:
            self.store.set(checked, value, codec=codec)

    def get_context(self, key: KeyLike, default: Any = None) -> Any:
        """
        What was said about a part, by whomever; ``default`` where nothing was.

        :raises ContextKeyError: where strict, nothing was said and the whole structure has no such part
        """
        checked = self._checked(key, self.check_form)
        if checked is None:
            return default
        held = self.store.get(checked, _nothing)
        if held is not _nothing:
            return held
        self._check_whole(key)
        return default

    def remove_context(self, key: KeyLike) -> bool:
        """
        Takes back what was said about a part of this process's own; False where nothing was, and where nobody answered.

        :raises ContextKeyError: where strict, another process has the part, or nothing was said and the whole structure has no such part
        """
        checked = self._checked(key, self.check_form, self.check_shard)
        if checked is None:
            return False
        is_removed = self.store.delete(checked)
        if not is_removed:
            self._check_whole(key)
        return is_removed

    def list_context_keys(self, prefix: KeyLike = ()) -> List[Key]:
        """Keys of the structure about which something was said, by whomever, that begin with ``prefix``, in key order."""
        if not isinstance(prefix, (tuple, list)):
            self.store._misused(cairn._bad_key(prefix))
            return []
        return [key[len(self._prefix) :] for key in self.store.list_keys((*self._prefix, *prefix))]

    def _checked(self, key: KeyLike, *checks: Any) -> Optional[Key]:
        """The key as the store has it; None for one that is refused where not strict."""
        try:
            if type(key) is tuple and key and _PLAIN.issuperset(map(type, key)):
                plain = key
            else:
                cairn._key_text(key)
                plain = tuple(cairn._plain(each) for each in key)
            for check in checks:
                check(plain)
        except ContextKeyError as error:
            self.store._misused(error)
            return None
        return (*self._prefix, *plain)

    def _check_whole(self, key: KeyLike) -> None:
        """Of a structure of which only a shard is here nobody knows which parts it lacks."""
        if self.shard == Shard():
            self._checked(key, self.check_part)

    # --- The rest of a context

    @property
    def journal(self) -> Journal:
        """What happened, in order."""
        return self.store.journal

    @property
    def health(self) -> Health:
        """How the store is doing: what is pending, lost, refused, missed. Asks nobody."""
        return self.store.health

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until all that was said here is on disk; see `ContextStore.flush`."""
        return self.store.flush(timeout)

    def close(self) -> None:
        """Closes the store, where it was opened here; one that was given stays open, and is only flushed."""
        if self._owns_store:
            self.store.close()
        else:
            self.store.flush()

    def __enter__(self: _Adapter) -> _Adapter:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *error: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, store={self.store!r}, shard={self.shard!r})"


def _store_of_node(strict: bool) -> ContextStore:
    # Who named an agent starts it again, too: `cairn run` does. To start one takes half a second, or long where it fails.
    named = os.environ.get("CAIRN_SOCKET")
    return ContextStore(named, strict=False) if named and not strict else cairn.local(strict=strict)


#: Nobody else has it: stands for a key that holds nothing.
_nothing = object()
