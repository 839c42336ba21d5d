"""Steps that a framework runs as tasks, against a real agent; the frameworks themselves are tested in ``systems-tests``."""

import os
import signal
import subprocess
import sys
import time
from unittest import main, mock

import cairn
from cairn.adapters import PartitionedContextAdapter
from cairn.adapters.tasks import TrackedStep, store_of_task
from support import AgentTest

dies = """
import os, signal, sys, cairn
from cairn.adapters.tasks import TrackedStep
with TrackedStep(cairn.ContextStore(sys.argv[1], strict=sys.argv[2] == "strict"), ("table",), sys.argv[3], None).attempt(4, "one", {}) as part:
    part.count(sys.argv[3], 10)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Table(PartitionedContextAdapter):
    def columns(self):
        return ["T", "p"]

    def partitions(self):
        return 8


class Tasks(AgentTest):
    def step(self, name, **options):
        return TrackedStep(self.store(**options), ("table",), name, None)

    def tearDown(self):
        # Those of tasks: each test has its own.
        from cairn.adapters import tasks

        while tasks._stores:
            tasks._stores.popitem()[1].close()

    def test_a_process_that_is_killed_when_its_task_has_ended_has_recorded_it(self):
        for strict in ("strict", "lenient"):
            ran = subprocess.run([sys.executable, "-c", dies, self.agent.socket, strict, strict])
            self.assertEqual(ran.returncode, -signal.SIGKILL)
            store = self.store()
            self.assertEqual((store.progress(strict).count, store.counter(strict).value), (1, 10))

    def test_each_partition_counts_once_amounts_of_an_attempt_add_up_and_nothing_stays_of_what_failed(self):
        step = self.step("once")
        with self.assertRaises(ZeroDivisionError):
            with step.attempt(2, "zero", {"stage": 7}) as part:
                part.count("once rows", 1_000)
                part.add_context(("column", "T", "mean"), 1.0)
                raise ZeroDivisionError
        table = Table("table", store=step.store)
        self.assertIsNone(table.get_context(("partition", 2, "column", "T", "mean")))
        for attempt in ("one", "two"):
            with step.attempt(2, attempt, {"stage": 7}) as part:
                for _ in range(10):
                    part.count("once rows", 10)
                part.observe("once residual", [0.5, 1.5])
                part.observe("once residual", 2.5)
                part.add_context(("column", "T", "mean"), 2.0)
        store = step.store
        self.assertEqual(store.counter("once rows").value, 100)
        self.assertEqual(store.statistic("once residual").summary()[:2], (3, 4.5))
        self.assertEqual(table.get_context(("partition", 2, "column", "T", "mean")), 2.0)
        self.assertEqual(table.summary("once")[1:], (1, None, None, 3, 1, 2))
        self.assertEqual(table.summary("once", total=3).missing, [(0, 1)])
        states = {key[4]: value for key, value in store.entries(("table", "step", "once", 2))}
        self.assertEqual({attempt: value["state"] for attempt, value in states.items()}, {"zero": "failed", "one": "done", "two": "done"})
        self.assertEqual((states["zero"]["error"], states["one"]["stage"]), ("ZeroDivisionError", 7))

    def test_a_generator_that_is_left_is_not_done(self):
        step = self.step("left")

        def rows():
            with step.attempt(0, "one", {}) as part:
                part.count("left rows", 2)
                yield from (1, 2)

        taken = rows()
        next(taken)
        taken.close()
        self.assertEqual((step.store.progress("left").count, step.store.counter("left rows").value), (0, 0))
        self.assertEqual(step.store.get(("table", "step", "left", 0, "one"))["state"], "left")

    def test_keys_are_those_of_columns_and_partitions(self):
        strict, lenient = Table("keys", store=self.store()), Table("keys", store=self.store(strict=False))
        for key in (("column", "T"), ("partition", 7), ("partition", 0, "column", "p"), ("partition", 0, "rows"), ("column", "T", "unit")):
            strict.add_context(key, 1)
            self.assertEqual(strict.get_context(key), 1)
        bad = [("column", "q"), ("column",), ("column", 1), ("partition", 8), ("partition", -1), ("partition", "0"), ("partition",)]
        bad += [("partition", 0, "column", "q"), ("partition", 0, "column"), ("partition", True), ("row", 1), ("step",)]
        for key in bad:
            with self.assertRaises(cairn.ContextKeyError, msg=key):
                strict.add_context(key, 1)
            lenient.add_context(key, 1)
        self.assertEqual(lenient.health.refused, len(bad))
        self.assertEqual(len(lenient.list_context_keys()), 5)
        with self.step("keys").attempt(0, "one", {}) as part:
            for key in (("column", 1), ("column",), 5):
                with self.assertRaises(cairn.ContextKeyError):
                    part.add_context(key, 1)

    def test_tasks_of_a_process_share_a_store(self):
        step = self.step("shared", worker="spark")
        for number in range(20):
            with step.attempt(number, "one", {}):
                pass
        own = store_of_task(step.store)
        self.assertIsNot(own, step.store)
        self.assertEqual(own.worker, "spark")
        self.assertEqual(step.store.progress("shared").count, 20)
        own.close()
        with step.attempt(20, "one", {}):
            pass
        self.assertEqual(step.store.progress("shared").count, 21)

    def test_a_node_without_the_socket_of_the_driver_has_its_own(self):
        elsewhere = cairn.ContextStore(os.path.join(self.folder, "driver.sock"), strict=False)
        with mock.patch.dict(os.environ, {"CAIRN_SOCKET": self.agent.socket}):
            with TrackedStep(elsewhere, ("table",), "node", None).attempt(0, "one", {}):
                pass
        self.assertEqual(self.store().progress("node").count, 1)

    def test_without_an_agent_a_task_costs_next_to_nothing_and_fails_only_where_strict(self):
        absent = os.path.join(self.folder, "absent.sock")
        step = TrackedStep(cairn.ContextStore(absent, strict=False), ("table",), "absent", None)
        begun = time.process_time()
        for number in range(1_000):
            with step.attempt(number, "one", {}) as part:
                part.count("rows", 10)
        self.assertLess(time.process_time() - begun, 1.0)
        health = store_of_task(step.store).health
        self.assertEqual((health.missed, health.pending), (1_000, 4_000))


if __name__ == "__main__":
    main()
