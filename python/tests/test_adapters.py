"""What all adapters share, against a real agent; and without one."""

import os
import pickle
import shutil
import sys
import tempfile
import unittest
from unittest import mock

import cairn
from cairn.adapters import ProcessContext, Rank, Shard, detect_rank
from support import AgentTest

#: Sockets to which this process tried to connect, as Python itself tells them.
connects = []
sys.addaudithook(lambda event, arguments: connects.append(arguments[1]) if event == "socket.connect" else None)


class SharedBase(AgentTest):
    def context(self, name, **options):
        return ProcessContext(name, store=self.store(**{"strict": options.pop("strict", True)}), **options)

    def test_context_comes_back_as_it_went_in_below_the_name(self):
        context = self.context("solver")
        context.add_context(("row", 3, "residual"), 1.0)
        context.add_context(["mesh"], {"cells": 2**63 - 1})
        context.add_context(("object",), {1, 2}, codec="pickle")
        self.assertEqual(repr(context.get_context(("row", 3, "residual"))), "1.0")
        self.assertEqual(context.get_context(("mesh",)), {"cells": 2**63 - 1})
        self.assertEqual(context.get_context(("object",)).decode(), {1, 2})
        self.assertEqual(context.list_context_keys(), [("mesh",), ("object",), ("row", 3, "residual")])
        self.assertEqual(context.list_context_keys(("row",)), [("row", 3, "residual")])
        self.assertEqual(context.store.get(("solver", "row", 3, "residual")), 1.0)
        self.assertTrue(context.remove_context(("mesh",)))
        self.assertFalse(context.remove_context(("mesh",)))
        self.assertEqual(context.get_context(("mesh",), "none"), "none")

    def test_a_row_of_another_shard_is_read_and_not_written(self):
        left = self.context("rows", shard=range(0, 10))
        right = self.context("rows", shard=Rank(1, 2), rows=20)
        self.assertEqual((left.rows, right.rows), (range(0, 10), range(10, 20)))
        right.add_context(("row", 10), "right")
        right.flush()
        self.assertEqual(left.get_context(("row", 10)), "right")
        for key in (("row", 10), ("cell", 19, "T")):
            with self.assertRaises(cairn.ContextKeyError):
                left.add_context(key, "left")
            with self.assertRaises(cairn.ContextKeyError):
                left.remove_context(key)
        self.assertEqual(left.get_context(("row", 10)), "right")

    def test_a_column_of_another_shard_is_read_and_not_written(self):
        mine = self.context("columns", shard=["T", "p"])
        mine.add_context(("column", "T"), "kelvin")
        mine.add_context(("cell", 4, "p"), "interpolated")
        for key in (("column", "q"), ("cell", 4, "q")):
            with self.assertRaises(cairn.ContextKeyError):
                mine.add_context(key, "other")
        self.assertEqual(mine.list_context_keys(), [("cell", 4, "p"), ("column", "T")])

    def test_bad_keys_raise_where_strict_and_are_counted_elsewhere(self):
        strict, lenient = self.context("keys"), self.context("keys", strict=False)
        for key in ("text", (), (1.5,), None):
            with self.assertRaises(cairn.ContextKeyError):
                strict.add_context(key, 1)
            with self.assertRaises(cairn.ContextKeyError):
                strict.get_context(key)
            lenient.add_context(key, 1)
            self.assertEqual(lenient.get_context(key, "default"), "default")
            self.assertFalse(lenient.remove_context(key))
        self.assertEqual(lenient.list_context_keys(7), [])
        self.assertEqual(lenient.health.refused, 13)
        self.assertEqual(lenient.list_context_keys(), [])

    def test_pickled_it_goes_on_elsewhere(self):
        context = self.context("pickled", shard=range(5, 6))
        twin = pickle.loads(pickle.dumps(context))
        self.addCleanup(twin.store.close)
        twin.add_context(("row", 5), "twin")
        twin.flush()
        self.assertEqual(context.get_context(("row", 5)), "twin")
        with self.assertRaises(cairn.ContextKeyError):
            twin.add_context(("row", 4), "twin")

    def test_close_leaves_a_store_that_was_given(self):
        store = self.store()
        with ProcessContext("closed", store=store) as context:
            context.add_context(("a",), 1)
        self.assertEqual(store.get(("closed", "a")), 1)
        with mock.patch.dict(os.environ, {"CAIRN_SOCKET": self.agent.socket}):
            with ProcessContext("closed") as own:
                own.add_context(("b",), 2)
        self.assertEqual(own.health.pending, 0)
        self.assertEqual(store.get(("closed", "b")), 2)


class WithoutAgent(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp(prefix="cairn-")
        self.addCleanup(shutil.rmtree, folder)
        self.socket = os.path.join(folder, "agent.sock")
        connects.clear()

    def test_ten_thousand_calls_look_for_it_a_few_times_raise_nothing_and_are_counted(self):
        with mock.patch.dict(os.environ, {"CAIRN_SOCKET": self.socket}):
            context = ProcessContext("solver", rows=100)
        for i in range(2_500):
            context.add_context(("row", i % 100), i)
            self.assertEqual(context.get_context(("row", i % 100), "none"), "none")
            self.assertFalse(context.remove_context(("row", i % 100)))
            self.assertEqual(context.list_context_keys(), [])
        health = context.health
        self.assertEqual((health.pending, health.missed, health.is_reachable), (5_000, 7_500, False))
        # The sender looks for it after 50, 100, 200 ms and so on; no call does.
        self.assertLess(len(connects), 20)
        self.assertEqual(set(connects), {self.socket})
        context.close()
        self.assertEqual(context.health.lost, 5_000)


class Parts(unittest.TestCase):
    def test_blocks_of_ranks_cover_every_row_once(self):
        for size in (1, 2, 3, 7, 16):
            for total in (0, 1, 5, 16, 1000):
                blocks = [Rank(rank, size).rows(total) for rank in range(size)]
                self.assertEqual([row for block in blocks for row in block], list(range(total)))
                self.assertLessEqual(max(map(len, blocks)) - min(map(len, blocks)), 1)

    def test_what_is_no_shard_is_said(self):
        for given in (range(0, 10, 2), range(-5, 5), "T", 5, [1, 2], Rank(3, 3), Rank(-1, 2)):
            with self.assertRaises(cairn.ContextStoreError) as raised:
                Shard.of(given, 10)
            self.assertEqual(raised.exception.code, "OPTION_INVALID")
        self.assertEqual(Shard.of(None), Shard())
        self.assertEqual(Shard.of(Shard(columns=frozenset("T"))), Shard.of(["T"]))

    def test_the_launcher_tells_the_rank_the_batch_script_has_none(self):
        slurm = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "42"}
        self.assertIsNone(detect_rank(slurm))
        self.assertIsNone(detect_rank({**slurm, "SLURM_STEP_ID": "4294967291"}))
        self.assertEqual(detect_rank({**slurm, "SLURM_STEP_ID": "0"}), Rank(3, 4))
        self.assertEqual(detect_rank({"PMIX_RANK": "1", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "8"}), Rank(1, 8))
        self.assertEqual(detect_rank({"CAIRN_RANK": "5", "CAIRN_SIZE": "6", "PMI_RANK": "0", "PMI_SIZE": "1"}), Rank(5, 6))
        self.assertIsNone(detect_rank({"PMI_RANK": "0"}))
        self.assertIsNone(detect_rank({"CAIRN_RANK": "six", "CAIRN_SIZE": "6"}))

    def test_no_framework_is_imported_before_it_is_used(self):
        frameworks = {"dask", "distributed", "mpi4py", "numpy", "pandas", "pyspark"}
        self.assertEqual(frameworks & set(sys.modules), set())


if __name__ == "__main__":
    unittest.main()
