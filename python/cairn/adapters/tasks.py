"""Steps that a framework runs as tasks, one a partition: each partition counts once, however often its task is run."""

import contextlib
import os
import pickle
import time
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from cairn import ContextKeyError, ContextStore, ContextStoreError, ItemId, Key, KeyLike, Work, _count_text

from .base import ContextAdapter

#: Seconds that a task of a store that is not strict waits until its partition is on disk: a task that has ended may be killed before anything more is sent.
TASK_SECONDS = 5.0
#: The same for what is of no weight, such as that a task failed.
_FAILURE_SECONDS = 1.0


class Part(Work):
    """
    What a task records of its partition. All of it is done as one when the task has made all that it makes of the partition, on disk before the task
    ends, and counts once: of a task that fails, is stopped or killed before that, nothing stays.
    """

    def __init__(self, store: ContextStore, prefix: Key, step: str, number: int) -> None:
        super().__init__(store, step, number)
        self._prefix = prefix
        self._amounts: Dict[str, int] = {}
        #: Number of the partition, from 0.
        self.number = number

    def add_context(self, key: KeyLike, value: Any, *, codec: Optional[str] = None) -> None:
        """
        Says something about a part of the partition, such as ``("column", "T")``; the adapter reads it as ``("partition", number, "column", "T")``.

        :raises ContextKeyError: where strict, a key that names no part of a partition
        """
        try:
            if not isinstance(key, (tuple, list)):
                raise _no_part(key)
            whole = ("partition", self.number, *key)
            check_partitioned(whole)
        except ContextKeyError as error:
            self._store._misused(error)
            return
        self.set((*self._prefix, *whole), value, codec=codec)

    def count(self, name: str, amount: int = 1, once: Optional[ItemId] = None) -> None:
        """Adds to a counter, once for this partition. Amounts of several calls add up."""
        if once is not None:
            super().count(name, amount, once)
            return
        try:
            # As the operation would be, so that what is wrong with it is said here.
            _count_text(name, amount, None)
        except ContextStoreError as error:
            self._store._misused(error)
            return
        self._amounts[name] = self._amounts.get(name, 0) + amount

    def _done(self) -> None:
        for name, amount in self._amounts.items():
            super().count(name, amount)
        self.__exit__(None)


class StepSummary(NamedTuple):
    """
    How far a step is.

    ``done``: different partitions that are done. ``total``: how many there are, None where that is not known. ``missing``: those that are not done, as ranges, first
    and last included; None without a total. ``attempts``: tasks that began, as far as they could say so; ``failed`` of them raised, ``repeated`` of them were not the first of their partition.
    """

    step: str
    done: int
    total: Optional[int]
    missing: Optional[List[Tuple[int, int]]]
    attempts: int
    failed: int
    repeated: int


class PartitionedContextAdapter(ContextAdapter):
    """
    Context of what a framework holds in partitions. Keys are ``("column", NAME, ...)``, ``("partition", NUMBER, ...)``,
    ``("partition", NUMBER, "column", NAME, ...)``; ``("step", STEP, NUMBER, ATTEMPT)`` is what is known of each task.
    """

    def columns(self) -> Optional[Sequence[str]]:
        """Names of the columns; None where the structure has none."""
        return None

    def partitions(self) -> Optional[int]:
        """How many partitions there are; None where that is not known without running anything."""
        return None

    def check_form(self, key: Key) -> None:
        check_partitioned(key)

    def check_part(self, key: Key) -> None:
        if key[0] == "partition":
            total = self.partitions()
            if total is not None and int(key[1]) >= total:
                raise ContextKeyError(f"{self.name or 'It'} has no partition {key[1]}, only {total}, from 0.", "Use the number of one of them.")
            key = key[2:]
        if key[:1] == ("column",):
            columns = self.columns()
            if columns is None or key[1] not in columns:
                raise ContextKeyError(f"{self.name or 'It'} has no column {key[1]!r}.", "Use the name of one of its columns.")

    def summary(self, step: str, total: Optional[int] = None, timeout: float = 10.0) -> StepSummary:
        """
        How far a step is, counting each partition once. Cost: a scan of what is known of its tasks, and what a `ContextStore.sync` costs.

        :param total: how many partitions there are, where the adapter could not know it
        :param timeout: seconds to wait for what peers of other nodes have
        """
        self.store.sync(timeout)
        prefix = (*self._prefix, "step", step)
        if total is None:
            total = (self.store.get(prefix) or {}).get("partitions")
        told = self.store.progress(step)._told(total=total)
        attempts = [(key[len(prefix)], value) for key, value in self.store.entries(prefix) if len(key) == len(prefix) + 2]
        missing = None if total is None else [(first, last) for first, last in told.get("missing", [])]
        failed = sum(value["state"] == "failed" for _, value in attempts)
        repeated = len(attempts) - len({number for number, _ in attempts})
        return StepSummary(step, int(told.get("count", 0)), total, missing, len(attempts), failed, repeated)

    def _tell_partitions(self, step: str, total: Optional[int]) -> None:
        if total is not None:
            self.store.set((*self._prefix, "step", step), {"partitions": total})


class TrackedStep:
    """A step, and the function that does it, as they travel into tasks."""

    def __init__(self, store: ContextStore, prefix: Key, step: str, function: Callable[..., Any]) -> None:
        self.store = store
        self.prefix = prefix
        self.step = step
        self.function = function

    @contextlib.contextmanager
    def attempt(self, number: int, attempt: str, facts: Dict[str, Any]) -> Iterator[Part]:
        """One run of a task: what the block records of its partition stays where the block ends by itself."""
        store = store_of_task(self.store)
        key = (*self.prefix, "step", self.step, number, attempt)
        begun = time.monotonic()

        def now(state: str, **more: Any) -> Dict[str, Any]:
            return {**facts, "state": state, "seconds": time.monotonic() - begun, **more}

        part = Part(store, self.prefix, self.step, number)
        store.set(key, now("begun"))
        try:
            yield part
        except BaseException as error:
            # What takes no more rows, as `take` and `limit` do, leaves a generator before its end.
            state = "left" if isinstance(error, GeneratorExit) else "failed"
            with contextlib.suppress(ContextStoreError):
                store.set(key, now(state, error=type(error).__name__))
                store.flush(_FAILURE_SECONDS)
            raise
        part.set(key, now("done"))
        part._done()
        # Spark and Dask may end this process as soon as they have the result, and never run the task again.
        store.flush()


def check_partitioned(key: Key) -> None:
    """Raises `ContextKeyError` for a key that no structure of partitions has."""
    rest = key
    if rest[:1] == ("partition",):
        if len(rest) < 2 or type(rest[1]) is not int or rest[1] < 0:
            raise _no_part(key)
        rest = rest[2:]
        if rest[:1] != ("column",):
            return
    is_column = rest[:1] == ("column",) and len(rest) > 1 and isinstance(rest[1], str)
    is_step = rest is key and rest[:1] == ("step",) and len(rest) > 1
    if not is_column and not is_step:
        raise _no_part(key)


def _no_part(key: Any) -> ContextKeyError:
    return ContextKeyError(
        f"Invalid key: {key!r} names no part of a structure of partitions.",
        'Use ("column", NAME), ("partition", NUMBER) or ("partition", NUMBER, "column", NAME), and more behind them where you like.',
    )


_stores: Dict[Tuple[Any, ...], ContextStore] = {}


def store_of_task(store: ContextStore, strict: Optional[bool] = None) -> ContextStore:
    """
    The store of this process through which its tasks write: one for all tasks that brought the same store along, so that not each connects anew. Connects to nobody.

    It speaks to the socket that the store of the driver spoke to where this node has it, else to that which ``CAIRN_SOCKET`` names here.

    :param strict: other than that of the store
    """
    is_strict = store._strict if strict is None else strict
    key = (store._path, store._worker, is_strict, store._starter)
    found = _stores.get(key)
    if found is not None and not found._is_closed:
        return found
    twin: ContextStore = pickle.loads(pickle.dumps(store))
    twin._strict = is_strict
    # `cairn run` tells each process who it is: tasks are not the driver.
    twin._worker = os.environ.get("CAIRN_WORKER") or twin._worker
    here = os.environ.get("CAIRN_SOCKET")
    if here and not os.path.exists(twin._path):
        twin._path = here
    if not is_strict:
        twin._timeout = max(twin._timeout, TASK_SECONDS)
    if found is not None:
        _stores.pop(key, None)
    # Tasks run in threads: of several that come here at the same time, the store of one is that of all.
    return _stores.setdefault(key, twin)
