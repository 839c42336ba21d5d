"""Context of a rank of MPI: one agent a node, found by the ranks that share its memory."""

import contextlib
from typing import TYPE_CHECKING, Any, Callable, Optional, Type, TypeVar

import cairn
from cairn import ContextStore, ContextStoreError

from .base import Rank, ShardLike
from .process import ProcessContext

if TYPE_CHECKING:
    from mpi4py import MPI

_Context = TypeVar("_Context", bound="MPIContext")


class MPIContext(ProcessContext):
    """
    Context of this rank, made by `from_comm`::

        context = MPIContext.from_comm(MPI.COMM_WORLD, rows=10_000, shared="/scratch/job")
        for cell in context.rows:  # this rank's block of 10,000
            context.add_context(("row", cell, "residual"), 0.25)
        context.collective_close()

    Each rank writes as a worker of its own, ``rank-3``. Collective is what its name says, and `from_comm`: all other calls speak with the agent of the node
    only, also after ranks were killed.
    """

    _comm: "MPI.Comm"
    _node: "MPI.Comm"

    @classmethod
    def from_comm(
        cls: Type[_Context],
        comm: "MPI.Comm",
        name: Optional[str] = None,
        *,
        node: Optional["MPI.Comm"] = None,
        rows: Optional[int] = None,
        shard: Optional[ShardLike] = None,
        strict: bool = False,
        dir: Optional[str] = None,
        socket: Optional[str] = None,
        shared: Optional[str] = None,
        linger: float = 60.0,
    ) -> _Context:
        """
        Collective over ``comm``. The first rank of each node joins the agent of the node and job, or starts it, and tells the others of the node where it is.

        Cost: half a second where agents are started; a store a rank.

        :param name: put before every key, where one is given
        :param node: the ranks that share an agent; by default those of ``comm`` that share memory
        :param rows: how many rows or items there are in all, for the block of this rank
        :param shard: another share than that block
        :param strict: whether calls raise
        :param dir: as for `cairn.local`, like ``socket``, ``shared`` and ``linger``
        :raises ContextStoreError: where strict, on all ranks of a node, what `cairn.local` raises
        """
        if node is None:
            from mpi4py import MPI

            node = comm.Split_type(MPI.COMM_TYPE_SHARED, key=comm.rank)
        told = None
        if node.rank == 0:
            told = _find_agent(dir=dir, socket=socket, shared=shared, linger=linger)
        path, error = node.bcast(told, root=0)
        if error is not None and strict:
            raise error
        rank = Rank(comm.rank, comm.size)
        store = _store_at(path, strict, f"rank-{rank.rank}", dir=dir, shared=shared, linger=linger)
        context = cls(name, store=store, shard=rank if shard is None else shard, rows=rows)
        context.rank, context._owns_store = rank, True
        context._comm, context._node = comm, node
        return context

    def collective_flush(self, timeout: float = 30.0) -> bool:
        """
        All ranks wait until what each of them wrote is on disk, ``timeout`` seconds each. True on all of them where it is; where strict, a rank raises what
        went wrong with it.
        """
        return self._together(lambda: self.store.flush(timeout))

    def collective_sync(self, timeout: float = 10.0) -> bool:
        """All ranks see what all had written: flushed, and exchanged between the agents of all nodes. True where every agent was reached."""
        is_flushed = self.collective_flush()
        return self._together(lambda: self._node.rank != 0 or self.store.sync(timeout)) and is_flushed

    def collective_checkpoint(self, tag: Optional[str] = None, timeout: float = 600.0) -> bool:
        """A snapshot a node of what all its ranks had written. True where all were written."""
        is_flushed = self.collective_flush()
        return self._together(lambda: self._node.rank != 0 or self.store.checkpoint(tag, timeout) is not None) and is_flushed

    def collective_close(self, timeout: float = 30.0) -> bool:
        """
        Closes all stores, and ends the agent of each node that nobody else attends, as ``cairn run`` does; an agent that has a place for it writes a checkpoint
        first. When it returns, those can be merged. True where everything is on disk.
        """
        self.collective_flush(timeout)
        is_on_disk = self._together(self._close)
        return self._together(lambda: self._node.rank != 0 or _leave(self.store._path)) and is_on_disk

    def _close(self) -> bool:
        """Whether all is on disk; another agent may have come meanwhile."""
        self.close()
        return not (self.health.lost or self.health.refused)

    def _together(self, act: Callable[[], bool]) -> bool:
        """Whether all ranks could; nobody goes on before all are through, also where one raises."""
        error: Optional[ContextStoreError] = None
        is_done = False
        try:
            is_done = act()
        except ContextStoreError as raised:
            error = raised
        count = self._comm.allreduce(int(is_done))
        if error is not None:
            raise error
        return bool(count == self._comm.size)


def _find_agent(**places: Any) -> Any:
    """Where the agent is, and why there is none: the others wait for one of the two, whatever goes wrong."""
    try:
        with cairn.local(**places) as store:
            return store._path, None
    except ContextStoreError as error:
        return None, error
    except Exception as error:
        return None, ContextStoreError("INTERNAL", f"The agent could not be started: {error}.", "See what `cairn doctor` says.")


def _store_at(path: Optional[str], strict: bool, worker: str, **places: Any) -> ContextStore:
    """A store that starts the agent anew where it is gone. Without one it counts what is missed."""
    if path is None:
        return ContextStore(strict=strict, worker=worker)
    return cairn.local(socket=path, strict=strict, worker=worker, **places)


def _leave(path: str) -> bool:
    """Ends the agent, where nobody attends it, and waits for that."""
    with contextlib.suppress(OSError, ContextStoreError):
        connection = cairn._Connection(path, None, None, 15.0)
        with contextlib.closing(connection), contextlib.suppress(ConnectionResetError):
            connection.send(b'{"n":1,"ask":"attend"}\n{"n":2,"ask":"leave"}\n')
            others = 0
            while others == 0:
                for answer in connection.receive():
                    others = answer.get("others", others)
        return True
    return False
