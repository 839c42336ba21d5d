"""The adapter of pandas, with a real pandas and a real agent."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import pandas

import cairn
from cairn.adapters import PandasContextAdapter, Rank
from support import AgentTest


class Tables(AgentTest):
    def setUp(self):
        #: A store of its own for each test would cost half a second; a name costs nothing.
        self.name = self.id().rsplit(".", 1)[-1]

    def adapter(self, frame, strict=True, **options):
        return PandasContextAdapter(frame, self.name, store=self.store(strict=strict), **options)

    def refuses(self, adapter, *keys):
        for key in keys:
            with self.subTest(key=key), self.assertRaises(cairn.ContextKeyError):
                adapter.add_context(key, "refused")

    def test_table_columns_rows_and_cells(self):
        genes = self.adapter(pandas.DataFrame({"T": [1.5, 2.5], "p": [3, 4]}, index=["BRCA1", "TP53"]))
        said = {
            ("cell", "TP53", "p"): "interpolated",
            ("column", "T"): {"unit": "K", "mean": 2.0},
            ("column", "T", "method"): "z-score",
            ("row", "BRCA1"): ["checked"],
            ("table",): None,
        }
        for key, value in said.items():
            genes.add_context(key, value)
        self.assertEqual({key: genes.get_context(key, "nothing") for key in said}, said)
        self.assertEqual(genes.list_context_keys(), sorted(said))
        self.assertEqual(genes.list_context_keys(("column",)), [("column", "T"), ("column", "T", "method")])
        self.assertTrue(genes.remove_context(("row", "BRCA1")))
        self.assertFalse(genes.remove_context(("row", "BRCA1")))
        self.assertEqual(genes.get_context(("row", "BRCA1"), "nothing"), "nothing")

    def test_what_the_table_has_not_is_refused(self):
        genes = self.adapter(pandas.DataFrame({"T": [1.5, 2.5], 7: [3, 4]}))
        self.refuses(genes, ("column", "q"), ("column", "7"), ("row", 2), ("row", -1), ("row", "0"), ("row", True), ("cell", 0, "q"), ("cell", 2, "T"))
        self.refuses(genes, ("column",), ("cell", 0), ("plot", "T"), ("table", 1.5), (1, "T"), "table")
        for call in (genes.get_context, genes.remove_context):
            with self.assertRaises(cairn.ContextKeyError):
                call(("column", "q"))
        genes.add_context(("column", 7), "a number is a label, too")
        self.assertEqual(genes.list_context_keys(), [("column", 7)])

    def test_a_column_that_came_later_counts_and_of_one_that_went_what_was_said_stays(self):
        frame = pandas.DataFrame({"T": [1.5]})
        table = self.adapter(frame)
        frame["p"] = 3
        table.add_context(("column", "p"), "came")
        del frame["p"]
        self.assertEqual(table.get_context(("column", "p")), "came")
        self.refuses(table, ("column", "p"))
        self.assertTrue(table.remove_context(("column", "p")))

    def test_labels_that_pandas_computed_are_whole_numbers(self):
        frame = pandas.DataFrame({"T": [5.0, 1.0, 3.0]}, index=[100, 200, 300])
        table = self.adapter(frame)
        table.add_context(("row", frame["T"].idxmin()), "coldest")
        table.add_context(("row", frame.index.values[0]), frame["T"].max())
        self.assertEqual(table.get_context(("row", 200)), "coldest")
        self.assertEqual(repr(table.get_context(("row", 100))), "5.0")
        self.assertEqual(table.list_context_keys(), [("row", 100), ("row", 200)])

    def test_a_label_that_occurs_twice_names_no_row(self):
        self.refuses(self.adapter(pandas.DataFrame({"T": [1, 2, 3]}, index=["a", "a", "b"])), ("row", "a"), ("cell", "a", "T"))

    def test_the_block_of_a_rank_of_the_whole_table(self):
        frame = pandas.DataFrame({"T": range(10)}, index=list("abcdefghij"))
        shards = [self.adapter(frame, shard=Rank(rank, 3)) for rank in range(3)]
        self.assertEqual(["".join(shard.part.index) for shard in shards], ["abc", "def", "ghij"])
        for shard in shards:
            for label in shard.part.index:
                shard.add_context(("row", label), shard.shard.rows.start)
            shard.flush()
        self.refuses(shards[0], ("row", "d"), ("cell", "j", "T"))
        self.assertEqual([shards[0].get_context(("row", label)) for label in "adj"], [0, 3, 6])
        self.assertEqual(len(shards[2].list_context_keys(("row",))), 10)

    def test_rows_read_from_a_part_of_a_file_are_numbered_as_in_the_whole(self):
        chunk = pandas.DataFrame({"T": [1.0, 2.0, 3.0]})
        for table in (self.adapter(chunk, shard=range(500, 503)), self.adapter(chunk, shard=Rank(5, 10), rows=30)):
            first = table.shard.rows.start
            table.add_context(("row", first), "first")
            table.add_context(("cell", first + 2, "T"), "last")
            self.refuses(table, ("row", first - 1), ("row", first + 3), ("row", 0))
            self.assertEqual(len(table.part), 3)
            table.flush()
        labelled = self.adapter(chunk.set_axis([500, 501, 502]), shard=range(500, 503))
        labelled.add_context(("row", 502), "the same row")
        self.refuses(labelled, ("row", 2), ("row", 1002))
        self.assertEqual(labelled.list_context_keys(("row",)), [("row", 15), ("row", 500), ("row", 502)])

    def test_some_columns(self):
        table = self.adapter(pandas.DataFrame({"T": [1], "p": [2], "q": [3]}), shard=["T", "q"])
        table.add_context(("column", "q"), "mine")
        self.refuses(table, ("column", "p"), ("cell", 0, "p"))
        self.assertEqual(list(table.part.columns), ["T", "q"])

    def test_where_not_strict_nothing_raises(self):
        table = self.adapter(pandas.DataFrame({"T": [1]}), strict=False)
        table.add_context(("column", "q"), "refused")
        self.assertEqual(table.get_context(("column", "q"), "default"), "default")
        self.assertFalse(table.remove_context(("column", "q")))
        self.assertEqual((table.health.refused, table.list_context_keys()), (3, []))

    def test_what_is_no_table_is_said(self):
        with self.assertRaises(cairn.ContextStoreError) as raised:
            self.adapter({"T": [1]})
        self.assertEqual(raised.exception.code, "OPTION_INVALID")


if __name__ == "__main__":
    print("pandas", pandas.__version__)
    unittest.main()
