"""What is asked of peers and checkpoints: two agents that meet over a shared directory, and a rewind."""

import os
import shutil
import tempfile
import unittest

import cairn
from support import Agent, eventually


class Peers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="cairn-")
        shared = ["--shared", os.path.join(cls.folder, "shared")]
        cls.agents = [Agent(os.path.join(cls.folder, name), *shared) for name in ("near", "far")]

    @classmethod
    def tearDownClass(cls):
        for agent in cls.agents:
            agent.end()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def store(self, agent=0, **options):
        store = cairn.ContextStore(self.agents[agent].socket, **options)
        self.addCleanup(store.close)
        return store

    def test_what_is_not_followed_is_fetched(self):
        near, far = self.store(0, worker="near"), self.store(1, worker="far")
        eventually(lambda: near.stats()["peers"])
        near.follow(["context/near/**"])
        self.assertEqual(near.coverage().follow, ["context/near/**"])
        far.set(("far",), 1)
        far.flush()
        self.assertTrue(near.sync(everybody=True))
        self.assertIsNone(near.get(("far",)))
        self.assertTrue(near.fetch(["context/far/**"]))
        self.assertEqual(near.get(("far",)), 1)
        reasons = {shard.shard: shard.reason for shard in near.coverage().shards}
        self.assertEqual(reasons["context/far/all"], "kept")
        with self.assertRaises(cairn.ContextStoreError) as raised:
            near.follow(["context/****/x"])
        self.assertEqual(raised.exception.code, "OPTION_INVALID")
        near.follow(["**"])
        eventually(lambda: near.sync() and near.get(("far",)) == 1)

    def test_a_rewind_is_done_once_for_all_programs(self):
        first, second = self.store(worker="rank-0"), self.store(worker="rank-1")
        first.counter("rows").add(10)
        first.flush()
        first.checkpoint("step-1")
        first.counter("rows").add(1)
        second.set(("late",), True)
        second.flush()
        with self.assertRaises(cairn.ContextStoreError) as raised:
            first.rewind("step-1")
        self.assertEqual(raised.exception.code, "OPTION_INVALID")
        self.assertEqual(first.counter("rows").value, 11)
        second.close()

        second = self.store(worker="rank-1")
        told = first.rewind("step-1", missing="keep", dry_run=True)
        self.assertEqual(first.counter("rows").value, 11)
        done = first.rewind("step-1", missing="keep")
        self.assertEqual((done.tag, [each.worker for each in done.workers]), ("step-1", [each.worker for each in told.workers]))
        self.assertIn("rank-0", [each.worker for each in done.workers])
        self.assertEqual(first.counter("rows").value, 10)
        first.counter("rows").add(5)
        first.flush()
        self.assertEqual(second.rewind("step-1", missing="keep"), done)
        self.assertEqual(second.counter("rows").value, 15)
        with self.assertRaises(cairn.ContextStoreError) as raised:
            first.rewind("absent")
        self.assertEqual(raised.exception.code, "SNAPSHOT_MISSING")

    def test_a_lenient_store_counts_what_could_not_be_done(self):
        store = self.store(strict=False)
        self.assertIsNone(store.rewind("absent"))
        self.assertFalse(store.fetch(["context/****/x"]))
        self.assertEqual(store.health.missed, 2)


if __name__ == "__main__":
    unittest.main()
