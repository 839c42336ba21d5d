"""Context of what Dask holds, steps of it that count each partition once, and what its workers tell while they run."""

import asyncio
import contextlib
import functools
import threading
import uuid
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Optional, Sequence

from cairn import ContextStore, Key

from .base import ShardLike, _store_of_node
from .tasks import Part, PartitionedContextAdapter, TrackedStep, store_of_task

if TYPE_CHECKING:
    from distributed import Client


class DaskContextAdapter(PartitionedContextAdapter):
    """
    Context of a dataframe, array or bag, and steps that are tracked by partition::

        flights = DaskContextAdapter(dask.dataframe.read_parquet("flights.parquet"), "flights")
        flights.add_context(("column", "delay"), {"unit": "minutes"})

        def normalise(frame, part):
            part.count("rows", len(frame))
            return (frame - frame.mean()) / frame.std()

        flights.map_partitions("normalise", normalise).to_parquet("normalised.parquet")
        flights.summary("normalise").done

    A worker that is killed loses what it held, and Dask does its tasks again: each partition counts once all the same. Each node that runs workers has an agent: that of the same
    socket as the client's, or that which ``CAIRN_SOCKET`` names there; ``cairn.local()`` as ``store`` starts it.

    :param collection: of ``dask.dataframe``, ``dask.array`` or ``dask.bag``
    :param name: of the collection, the same in all processes of the job; without, keys are those of the store
    :param store: see `ContextAdapter`
    :param shard: columns that this client writes context of; see `Shard.of`
    :param strict: True: tasks and calls raise where the store cannot record
    """

    def __init__(
        self,
        collection: Any,
        name: Optional[str] = None,
        *,
        store: Optional[ContextStore] = None,
        shard: Optional[ShardLike] = None,
        strict: bool = False,
    ) -> None:
        super().__init__(name, store=store, shard=shard, strict=strict)
        self.collection = collection

    def columns(self) -> Optional[Sequence[str]]:
        """Names of the columns of a dataframe; None for arrays and bags."""
        return list(self.collection.columns) if hasattr(self.collection, "columns") else None

    def partitions(self) -> int:
        """How many partitions there are; of an array, blocks."""
        return int(self.collection.npartitions)

    def tracked(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """
        A function for ``client.submit``, ``client.map`` and ``dask.delayed``, whose first argument is the number of the item that the task does.

        Cost: some milliseconds a task, until its mark is on disk; where no agent answers, some 10 microseconds, and the first time, at most, ``TASK_SECONDS``.

        :param function: is called with the `Part` of the item, and all other arguments
        """
        return _TrackedItems(self.store, self._prefix, step, function)

    def map_partitions(self, step: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """
        The collection of what ``function`` makes of each partition. Nothing is computed before it is asked for.

        :param step: what is done: the name of a progress
        :param function: is called with a partition, its `Part`, and all that was given besides; of an array, with a block
        :param arguments: more arguments, as ``map_partitions`` (``map_blocks``) of the collection takes them
        :param options: more options of that, such as ``meta``; without it ``function`` is tried on some rows, and what it records of those is of no account
        """
        self._tell_partitions(step, self.partitions())
        collection = self.collection
        if hasattr(collection, "map_blocks"):
            blocks = _TrackedBlocks(self.store, self._prefix, step, function, collection.numblocks)
            return collection.map_blocks(blocks, *arguments, **options)
        tracked = _TrackedPartitions(self.store, self._prefix, step, function)
        count = self.partitions()
        if not hasattr(collection, "columns"):
            from dask.bag import from_sequence

            return collection.map_partitions(tracked, from_sequence(range(count), npartitions=count), *arguments, **options)
        import pandas
        from dask.dataframe import from_pandas

        # Dask's own `partition_info` counts what is left where later only some partitions are asked for: the number goes along as data.
        numbers = from_pandas(pandas.DataFrame({"number": range(count)}), npartitions=count, sort=False)
        if "meta" not in options:
            options["meta"] = function(collection._meta_nonempty, Part(self.store, self._prefix, step, 0), *arguments)
        return collection.map_partitions(tracked, numbers, *arguments, align_dataframes=False, **options)


class _Tracked(TrackedStep):
    """Travels into tasks: of the adapter it has only what is needed there."""

    @property
    def __name__(self) -> str:
        return getattr(self.function, "__name__", self.step)

    def _made(self, number: int, function: Callable[[Part], Any]) -> Any:
        with self.attempt(int(number), uuid.uuid4().hex[:12], _facts()) as part:
            made = function(part)
            # What is made only when somebody takes it is not made yet.
            return list(made) if hasattr(made, "__next__") else made


class _TrackedItems(_Tracked):
    def __call__(self, number: int, *arguments: Any, **options: Any) -> Any:
        return self._made(number, lambda part: self.function(part, *arguments, **options))


class _TrackedPartitions(_Tracked):
    def __call__(self, partition: Any, numbers: Any, *arguments: Any, **options: Any) -> Any:
        (number,) = numbers["number"] if hasattr(numbers, "columns") else numbers
        return self._made(number, lambda part: self.function(partition, part, *arguments, **options))


class _TrackedBlocks(_Tracked):
    def __init__(self, store: ContextStore, prefix: Key, step: str, function: Callable[..., Any], blocks: Sequence[int]) -> None:
        super().__init__(store, prefix, step, function)
        self.blocks = tuple(blocks)

    def __call__(self, block: Any, *arguments: Any, block_id: Optional[Sequence[int]] = None, **options: Any) -> Any:
        def made(part: Part) -> Any:
            return self.function(block, part, *arguments, **options)

        if not block_id:
            # Of no block: Dask looks what comes out of it.
            return made(Part(self.store, self.prefix, self.step, 0))
        # In the order in which Dask counts them: the last axis first.
        number = functools.reduce(lambda number, axis: number * axis[0] + axis[1], zip(self.blocks, block_id), 0)
        return self._made(number, made)


def _facts() -> Dict[str, Any]:
    """Who runs this task, as far as it runs on a worker of ``distributed``."""
    from dask.distributed import get_worker

    with contextlib.suppress(ValueError):
        worker = get_worker()
        return {"worker": str(worker.name), "address": worker.address}
    return {"worker": threading.current_thread().name}


class _WorkerEvents:
    """
    Has each worker of Dask write into the journal when it starts and ends, and which of its tasks failed::

        DaskWorkerPlugin().register(client)

    Nothing of it blocks the worker's event loop: events are gathered, and sent by a thread. Where no agent answers, they are kept up to 64 MiB, and counted after that.

    :param store: to where; by default, what the agent of the node is on each worker. Its own strictness is of no account: it never raises into a worker
    :param states: of tasks about which to write ``dask.task`` with its key: ``"error"``, ``"memory"`` (it is done). An event a task is much where tasks are short
    """

    name = "cairn"
    idempotent = True

    def __init__(self, store: Optional[ContextStore] = None, states: Sequence[str] = ("error",)) -> None:
        self._given = store
        self._states = tuple(states)
        self._who: Dict[str, Any] = {}
        self._store: Optional[ContextStore] = None

    def register(self, client: "Client") -> None:
        """Has all workers of the client's cluster, those that come later, too, run this."""
        # Before 2023.9 it had a name for each kind of plugin.
        register = getattr(client, "register_plugin", None) or getattr(client, "register_worker_plugin")
        register(self)

    async def setup(self, worker: Any) -> None:
        """Dask calls it where a worker starts."""
        who = {"worker": str(worker.name), "address": worker.address}
        # Where no agent is named it is started, which takes time.
        store = await _aside(lambda: self._given if self._given is not None else _store_of_node(strict=False))
        self._store, self._who = store_of_task(store, strict=False), who
        self._store.journal.append("dask.worker.started", who)

    def transition(self, key: Any, start: str, finish: str, **more: Any) -> None:
        """Dask calls it, on its event loop, where a task changes its state."""
        if finish in self._states and self._store is not None:
            self._store.journal.append("dask.task", {**self._who, "key": str(key), "state": finish})

    async def teardown(self, worker: Any) -> None:
        """Dask calls it where a worker ends, unless that is killed."""
        if self._store is not None:
            self._store.journal.append("dask.worker.ended", self._who)
            await _aside(self._store.flush)

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_store": None}


async def _aside(act: Callable[[], Any]) -> Any:
    """Not on the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, act)


def __getattr__(name: str) -> Any:
    """Made where it is first asked for: Dask wants it to be a class of its own."""
    if name != "DaskWorkerPlugin":
        raise AttributeError(name)
    from distributed import WorkerPlugin

    made = type(name, (_WorkerEvents, WorkerPlugin), {"__doc__": _WorkerEvents.__doc__, "__module__": __name__})
    return globals().setdefault(name, made)
