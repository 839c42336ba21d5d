"""Values, keys and every kind of context, through a real agent."""

import json
import math
import os
import threading
import unittest

import cairn
from support import AgentTest


class Opaque:
    def __init__(self, content):
        self.content = content

    def __eq__(self, other):
        return type(other) is Opaque and other.content == self.content


def same(a, b):
    """Equal, in types, too, and not-a-number is itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


class Values(AgentTest):
    values = [
        *[0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1],
        *[1.0, -0.0, 0.1, 1e16, 1e-5, 1e300, 5e-324, 123456789012345678.0, math.nan, math.inf, -math.inf],
        *[None, True, False, "", "NaN", "1.0", "$bytes", 'say "K",\r\n\0\u2028é日本😀', b"", bytes(range(256))],
        *[[], {}, [1, 1.0, True, None], {"a": {"b": [1, {"c": 2.0}]}}, {"": 1, "é": "ü"}],
        *[{"$bytes": "no"}, {"$map": {"$number": 1}}, {"$": b"x", "a": [{"$codec": "x"}]}, {"$codec": "pickle", "$bytes": "x"}],
        [[[[[math.nan, {"x": math.inf}]]]]],
        cairn.Coded("mine", b"\0\1"),
    ]

    def test_values_come_back_as_they_went_in(self):
        store = self.store()
        for i, value in enumerate(self.values):
            store.set(("value", i), value)
        for i, value in enumerate(self.values):
            found = store.get(("value", i))
            self.assertTrue(same(found, value), f"{value!r} came back as {found!r}")
        for found, value in zip(store.entries(("value",)), self.values):
            self.assertTrue(same(found[1], value), f"{value!r} is listed as {found!r}")

    def test_what_is_set_is_what_it_was_then(self):
        store = self.store()
        value = {"rows": [1]}
        store.set(("mutable",), value)
        value["rows"].append(2)
        self.assertEqual(store.get(("mutable",)), {"rows": [1]})

    def test_other_objects_are_stored_when_asked(self):
        store = self.store()
        store.set(("object",), Opaque({1, 2}), codec="pickle")
        coded = store.get(("object",))
        self.assertEqual(coded.codec, "pickle")
        self.assertEqual(coded.decode(), Opaque({1, 2}))
        with self.assertRaises(cairn.ContextStoreError) as raised:
            store.set(("object",), Opaque(1))
        self.assertEqual(raised.exception.code, "VALUE_INVALID")

    def test_what_is_no_value_is_refused_and_harms_nothing_else(self):
        store = self.store()
        deep = []
        for _ in range(64):
            deep = [deep]
        ring = []
        ring.append(ring)
        for value in [2**64, -(2**63) - 1, {1: 2}, {"a": {2}}, object(), "\ud800", {"__proto__": 1}, deep, ring, 1j]:
            with self.assertRaises(cairn.ContextStoreError) as raised:
                store.set(("bad",), value)
            self.assertEqual(raised.exception.code, "VALUE_INVALID")
        store.set(("good", 1), 1)
        store.set(("large",), "x" * (1 << 21))
        store.set(("good", 2), 2)
        with self.assertRaises(cairn.ContextStoreError) as raised:
            store.flush()
        self.assertEqual(raised.exception.code, "VALUE_INVALID")
        self.assertTrue(store.flush())
        self.assertEqual(store.read([("good", 1), ("good", 2), ("large",)]), [1, 2, None])
        self.assertEqual(store.health.refused, 1)

    def test_keys_come_back_as_tuples(self):
        store = self.store()
        keys = [("key", -(2**53) + 1), ("key", 0), ("key", 1), ("key", 2**53 - 1), ("key", False), ("key", True)]
        for key in reversed(keys):
            store.set(list(key), "x")
        found = store.list_keys(("key",))
        self.assertEqual(found, keys)
        self.assertEqual([list(map(type, key)) for key in found], [list(map(type, key)) for key in keys])
        self.assertEqual(store.count_keys(("key",)), 6)

    def test_what_is_no_key_is_refused_here(self):
        store = self.store()
        for key in [(), "text", 5, None, (1.0,), (None,), (2**53,), ((1,),), ("x" * 1023,), ("é" * 512,), ("\ud800",)]:
            with self.assertRaises(cairn.ContextKeyError) as raised:
                store.set(key, 1)
            self.assertEqual(raised.exception.code, "KEY_INVALID")
            self.assertIsInstance(raised.exception, KeyError)
        # The same length to the byte as the agent measures it.
        for key in [("x" * 1022,), ("é" * 511,), ("\0" * 511,), tuple([2**53 - 1] * 128), tuple([True] * 1024)]:
            store.set(key, 1)
            self.assertEqual(store.get(key), 1)
            with self.assertRaises(cairn.ContextKeyError):
                store.set((*key, True), 1)
        for key in [tuple(["\0" * 60] * 8), ("x" * 60, "x" * 61, "é", True, -(2**53) + 1), ('a"\\\n', 5)]:
            store.set(key, 2)
            self.assertEqual((store.get(key), store.flush()), (2, True))

    def test_the_dump_holds_everything_and_appears_whole(self):
        store = self.store()
        with store.batch() as batch:
            for i in range(2_500):
                batch.set(("dump", i), {"i": i, "x": 1.0})
        path = os.path.join(self.folder, "dump.jsonl")
        self.assertEqual(store.dump_context_to_disk(path, ("dump",)), 2_500)
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.assertEqual(lines, [{"key": ["dump", i], "value": {"i": i, "x": 1.0}} for i in range(2_500)])
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".tmp")], [])


class Context(AgentTest):
    def test_get_delete_and_entry(self):
        store = self.store(worker="rank-1")
        self.assertEqual(store.get(("absent",), "default"), "default")
        store.set(("here",), None)
        self.assertIsNone(store.get(("here",), "default"))
        entry = store.entry(("here",))
        self.assertEqual((entry.key, entry.worker, entry.conflicts), (("here",), "rank-1", []))
        self.assertTrue(store.delete(("here",)))
        self.assertFalse(store.delete(("here",)))
        self.assertIsNone(store.entry(("here",)))
        self.assertEqual(store.worker, "rank-1")

    def test_a_batch_is_all_or_nothing(self):
        store = self.store()
        with self.assertRaises(ZeroDivisionError), store.batch() as batch:
            batch.set(("batch", 1), 1)
            1 / 0
        self.assertEqual(store.list_keys(("batch",)), [])
        with store.batch() as batch:
            batch.set(("batch", 1), 1)
            batch.delete(("batch", 2))
            batch.count("batch", 2)
            batch.done("batch", [1, "x"])
            batch.done_range("batch", 5, 6)
            batch.observe("batch", [1.5, 2])
            batch.append("batch", [1])
        self.assertEqual(store.get(("batch", 1)), 1)
        self.assertEqual(store.counter("batch").value, 2)
        self.assertEqual(store.progress("batch").count, 4)
        self.assertEqual(store.statistic("batch").summary().sum, 3.5)

    def test_a_check_is_a_compare_and_set(self):
        store = self.store()
        store.set(("state",), "old")
        version = store.entry(("state",)).version
        for value in ("first", "second"):
            try:
                with store.batch() as batch:
                    batch.check(("state",), version)
                    batch.set(("state",), value)
            except cairn.ContextStoreError as error:
                self.assertEqual((value, error.code), ("second", "VERSION_CHANGED"))
        self.assertEqual(store.get(("state",)), "first")
        with self.assertRaises(cairn.ContextStoreError), store.batch() as batch:
            batch.check(("state",), None)

    def test_counters(self):
        store = self.store(worker="rank-2")
        counter = store.counter("rows")
        counter.add()
        counter.add(10)
        counter.add(-3)
        for _ in range(3):
            counter.add(100, once="clean/17")
        self.assertEqual((counter.value, counter.increments, counter.decrements), (108, 11, 3))
        self.assertEqual(counter.by_worker()["rank-2"], 8)
        self.assertIn("rows", store.names("counter"))
        for amount in (1.5, "1", None, 2**53, True):
            with self.assertRaises(cairn.ContextStoreError) as raised:
                counter.add(amount)
            self.assertEqual(raised.exception.code, "NUMBER_INVALID")

    def test_an_item_of_work_counts_once(self):
        store = self.store()
        step = store.progress("clean", total=20)
        for _ in range(2):
            for item in (17, "north"):
                with step.work(item) as work:
                    work.set(("clean", item), "done")
                    work.count("cells", 40)
                    work.observe("residual", 0.25)
                    work.observe("residual", [0.5])
        with self.assertRaises(ZeroDivisionError), step.work(3) as work:
            work.count("cells", 1)
            1 / 0
        self.assertEqual(step.count, 2)
        self.assertEqual((step.has(17), step.has("north"), step.has(3)), (True, True, False))
        self.assertEqual(step.missing(), [(0, 16), (18, 19)])
        self.assertEqual(store.counter("cells").value, 80)
        summary = store.statistic("residual").summary(quantiles=[1.0])
        self.assertEqual((summary.count, summary.mean, summary.max), (4, 0.375, 0.5))
        self.assertEqual(store.statistic("residual").summary(scope=("clean", 17)).count, 2)
        self.assertIsNone(store.statistic("nothing").summary())

    def test_the_journal(self):
        store = self.store(worker="rank-3")
        store.journal.append("solver.started")
        store.journal.append("solver.restarted", {"iteration": 400, "x": 1.0})
        events = store.journal.events("solver.")
        self.assertEqual([(event.type, event.data, event.worker) for event in events], [
            ("solver.started", None, "rank-3"),
            ("solver.restarted", {"iteration": 400, "x": 1.0}, "rank-3"),
        ])
        self.assertEqual(store.journal.events("solver.", start=events[1].time + 1), [])

    def test_changes_are_watched_and_waited_for(self):
        store, other = self.store(), self.store(worker="rank-4")
        changes = store.watch(("alarm",))
        other.set(("alarm", "temperature"), "high")
        other.delete(("alarm", "temperature"))
        change = next(changes)
        self.assertEqual((change.key, change.value, change.worker), (("alarm", "temperature"), "high", "rank-4"))
        self.assertTrue(next(changes).is_deletion)
        changes.close()
        again = store.watch(("alarm",), since=change.position)
        self.assertTrue(next(again).is_deletion)
        again.close()

        waiting = threading.Thread(target=lambda: other.set(("late",), 1))
        waiting.start()
        self.assertTrue(store.wait_for(key=("late",)))
        waiting.join()
        other.progress("wait").done([1, 2])
        self.assertTrue(other.wait_for(progress="wait", at_least=2))
        self.assertTrue(store.wait_for(version=other.version()))
        with self.assertRaises(cairn.ContextStoreError) as raised:
            store.wait_for(counter="never", at_least=1, timeout=0.05)
        self.assertEqual(raised.exception.code, "TIMEOUT")

    def test_life(self):
        store = self.store()
        self.assertTrue(store.sync())
        self.assertEqual(store.agent_health()["state"], "ok")
        self.assertIn("storage", store.stats())
        with self.assertRaises(cairn.ContextStoreError) as raised:
            store.checkpoint()
        self.assertEqual(raised.exception.code, "OPTION_INVALID")
        store.close()
        with self.assertRaises(cairn.ContextStoreError) as raised:
            store.set(("closed",), 1)
        self.assertEqual(raised.exception.code, "STORE_CLOSED")
        with self.assertRaises(cairn.ContextStoreError) as raised:
            self.store(worker="no name!")
        self.assertEqual(raised.exception.code, "NAME_INVALID")

    def test_unbuffered_writes_raise_what_the_agent_finds(self):
        store = self.store(buffered=False)
        with self.assertRaises(cairn.ContextStoreError) as raised:
            store.set(("large",), "x" * (1 << 21))
        self.assertEqual(raised.exception.code, "VALUE_INVALID")
        store.set(("small",), 1)
        self.assertEqual(self.store().get(("small",)), 1)


if __name__ == "__main__":
    unittest.main()
