"""Whose split a record was made with, whether its data was generated: told in tables and summaries, never merged."""

from __future__ import annotations

import json
import re

from test_table import record

from bench.store import records
from bench.store.outcome import Outcome
from bench.views import tables
from bench.views.cells import cells
from bench.views.summary import of_run


def of_protocol(framework, protocol, **data):
    """A trained record of digits under a protocol, whose data section says `data`."""
    sizes = {"length": 64, "channels": 1, "classes": 10, "protocol": protocol}
    return record(framework, task="train", dataset={"protocol": protocol}, data={**sizes, **data})


def test_protocols_have_rows_of_their_own_and_the_settings_name_them():
    made = [of_protocol(name, protocol) for name in ("torch", "jax") for protocol in ("default", "s4torch", "s5")]
    frame = cells(made, "train").query("measure == 'test'")
    assert list(frame["settings"]) == [f"dataset.protocol={name}" for name in ("default", "s4torch", "s5")]
    assert (frame["torch_samples"] == 1).all()
    assert (frame["jax_samples"] == 1).all()


def test_a_protocol_is_named_beside_no_other_row_too_and_the_default_is_not():
    assert "dataset.protocol=s4torch" in tables.render([of_protocol("jax", "s4torch")], "train.test")
    assert "dataset.protocol" not in tables.render([of_protocol("jax", "default")], "train.test")


def test_accuracy_of_a_protocol_that_selects_on_the_test_part_is_marked():
    made = [of_protocol("torch", "annotated", selects_on_test=True), of_protocol("torch", "s5", selects_on_test=False)]
    text = tables.render(made, "train.test")
    rows = [line for line in text.splitlines() if "| digits" in line]
    assert ["digits ‡" in line for line in rows] == ["dataset.protocol=annotated" in line for line in rows]
    assert sum("digits ‡" in line for line in rows) == 1
    assert "- ‡: this protocol chooses the best epoch on the test part" in text
    assert "‡" not in tables.render(made[1:], "train.test")
    assert "‡" not in tables.render(made, "train.epoch")  # which choice was made on which part changes no second


def test_generated_data_is_marked_and_never_merged_with_published_data():
    made = [of_protocol("torch", "default", generated=True), of_protocol("jax", "default", generated=False)]
    assert made[0]["config"]["dataset"] == made[1]["config"]["dataset"]
    frame = cells(made, "train").query("measure == 'test'")
    assert sorted(frame["generated"]) == [False, True]
    assert not (frame["torch_samples"].astype(bool) & frame["jax_samples"].astype(bool)).any()
    text = tables.render(made, "train.test")
    assert text.count("digits §") == 1
    assert "- §: generated here" in text


def test_records_that_do_not_say_where_their_data_is_from_are_the_default(tmp_path):
    """As they were written before the data section said it."""
    old = record("torch", task="train")
    path = records.write_record(old, tmp_path)
    document = json.loads(path.read_text())
    for name in ("protocol", "selects_on_test", "generated"):
        del document["data"][name]
    path.write_text(json.dumps(document))
    read = records.read_record(path)
    assert read["data"]["protocol"] is None
    assert not {"‡", "§"} & set(tables.render([read], "train.test"))


def test_the_summary_of_a_run_says_whose_protocol_it_was():
    def said(made):
        return of_run(Outcome("label", "ok", None, None, made))

    assert "annotated: the best epoch is chosen on the test part" in said(
        of_protocol("jax", "annotated", selects_on_test=True)
    )
    assert re.search(r"protocol +s5$", said(of_protocol("jax", "s5", selects_on_test=False)), re.MULTILINE)
    assert "generated here" in said(of_protocol("jax", "default", generated=True))
    for plain in (of_protocol("jax", "default", selects_on_test=False, generated=False), record("jax")):
        assert not {"protocol", "generated"} & set(said(plain).split())
