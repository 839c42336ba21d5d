"""Context of what Spark holds, and steps of it that count each partition once, under retries and speculation, too."""

import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Sequence, Union

from cairn import ContextStore, ContextStoreError, Key

from .base import ShardLike
from .tasks import Part, PartitionedContextAdapter, TrackedStep

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType


class SparkContextAdapter(PartitionedContextAdapter):
    """
    Context of a DataFrame or an RDD, and steps that are tracked by partition::

        flights = SparkContextAdapter(spark.read.parquet("flights.parquet"), "flights")
        flights.add_context(("column", "delay"), {"unit": "minutes"})

        def normalise(frames, part):
            for frame in frames:
                part.count("rows", len(frame))
                yield frame

        flights.map_partitions("normalise", normalise).write.parquet("normalised.parquet")
        flights.summary("normalise").done

    A step is named for the partitions that it has: one that is done on another partitioning (after a shuffle that Spark divides as it likes, such as with
    ``spark.sql.adaptive.enabled``, unless ``repartition(n)`` says into how many) is another step. Each node that runs executors has an agent: that of the same socket as the driver's, or that which
    ``CAIRN_SOCKET`` names there (``spark.executorEnv.CAIRN_SOCKET``); ``cairn.local()`` as ``store`` starts it. The package is
    needed there, too (``pip``, ``--py-files`` or ``PYTHONPATH``).

    :param structure: a DataFrame, of Spark Connect, too, or an RDD
    :param name: of the structure, the same in all processes of the job; without, keys are those of the store
    :param store: see `ContextAdapter`
    :param shard: columns that this driver writes context of; see `Shard.of`
    :param strict: True: tasks and calls raise where the store cannot record. A task that raises so Spark runs again
    """

    def __init__(
        self,
        structure: Union["DataFrame", "RDD[Any]"],
        name: Optional[str] = None,
        *,
        store: Optional[ContextStore] = None,
        shard: Optional[ShardLike] = None,
        strict: bool = False,
    ) -> None:
        super().__init__(name, store=store, shard=shard, strict=strict)
        #: As it was given.
        self.structure: Any = structure

    @property
    def is_rdd(self) -> bool:
        """Whether the structure is an RDD."""
        return hasattr(type(self.structure), "mapPartitions")

    def columns(self) -> Optional[Sequence[str]]:
        """Names of the columns; None for an RDD."""
        return None if self.is_rdd else list(self.structure.columns)

    def partitions(self) -> Optional[int]:
        """How many partitions an RDD has; None for a DataFrame, which Spark would have to run to know."""
        return int(self.structure.getNumPartitions()) if self.is_rdd else None

    def tracked(self, step: str, function: Callable[[Iterator[Any], Part], Any]) -> Callable[[Iterator[Any]], Iterator[Any]]:
        """
        A function for any of Spark's calls that take one for partitions (``mapPartitions``, ``foreachPartition``, ``mapInPandas``, ``mapInArrow``).

        The partition is done when all that ``function`` makes of it was taken. Cost: some milliseconds a task, until its mark is on disk; where no agent answers, some 10
        microseconds, and the first time, at most, ``TASK_SECONDS``.

        :param function: is called with the rows (or frames, or batches) of a partition and its `Part`; yields or returns what it makes of them, or nothing
        """
        return _TrackedPartitions(self.store, self._prefix, step, function, self._application())

    def map_partitions(
        self,
        step: str,
        function: Callable[[Iterator[Any], Part], Any],
        schema: Optional[Union["StructType", str]] = None,
        *,
        arrow: bool = False,
        total: Optional[int] = None,
    ) -> Any:
        """
        What ``function`` makes of the partitions: an RDD of an RDD, a DataFrame of a DataFrame. Nothing is run before Spark needs it.

        :param step: what is done: the name of a progress
        :param function: see `tracked`. Of a DataFrame it takes and makes frames of pandas, or record batches of Arrow
        :param schema: of what it makes of a DataFrame; that of the DataFrame by default
        :param arrow: record batches of Arrow instead of frames of pandas
        :param total: how many partitions there are, for `summary`. Of an RDD it is known
        :raises ContextStoreError: ``OPTION_INVALID`` where ``arrow`` is asked of a Spark before 3.3
        """
        if arrow and not (self.is_rdd or hasattr(type(self.structure), "mapInArrow")):
            raise ContextStoreError("OPTION_INVALID", "This Spark knows no batches of Arrow.", "Use frames of pandas (arrow=False), or Spark 3.3 or later.")
        self._tell_partitions(step, self.partitions() if total is None else total)
        tracked = self.tracked(step, function)
        if self.is_rdd:
            return self.structure.mapPartitions(tracked)
        apply = self.structure.mapInArrow if arrow else self.structure.mapInPandas
        return apply(tracked, self.structure.schema if schema is None else schema)

    def foreach_partition(self, step: str, function: Callable[[Iterator[Any], Part], Any], *, total: Optional[int] = None) -> None:
        """Runs ``function`` on all partitions, for what it does and records; of a DataFrame it takes rows. See `map_partitions`."""
        self._tell_partitions(step, self.partitions() if total is None else total)
        tracked = self.tracked(step, function)

        def run(rows: Iterator[Any]) -> None:
            # Spark Connect does not take what a function makes: it would never begin.
            deque(tracked(rows), maxlen=0)

        self.structure.foreachPartition(run)

    def _application(self) -> str:
        if self.is_rdd:
            return str(self.structure.context.applicationId)
        # Before Spark 3.3 a DataFrame names its session by way of its SQL context.
        owner = self.structure if hasattr(type(self.structure), "sparkSession") else self.structure.sql_ctx
        return str(owner.sparkSession.conf.get("spark.app.id", "spark"))


class _TrackedPartitions(TrackedStep):
    """Travels into tasks: of the adapter it has only what is needed there."""

    def __init__(self, store: ContextStore, prefix: Key, step: str, function: Callable[..., Any], application: str) -> None:
        super().__init__(store, prefix, step, function)
        self.application = application
        # Spark names a column function after it.
        self.__name__ = getattr(function, "__name__", step)

    def __call__(self, rows: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        task = TaskContext.get()
        if task is None:
            raise ContextStoreError("OPTION_INVALID", "This is no task of Spark.", "Hand the function to Spark, or call yours.")
        facts = {"stage": task.stageId(), "attempt": task.attemptNumber(), "host": socket.gethostname()}
        with self.attempt(task.partitionId(), f"{self.application}/{task.taskAttemptId()}", facts) as part:
            made = self.function(rows, part)
            if made is not None:
                yield from made
