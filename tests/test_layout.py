"""Tables on a page: what all rows share stands once above, the width is kept, what was left out is named."""

from __future__ import annotations

import pandas as pd
import pytest
from test_growth import at
from test_table import record

from bench import table
from bench.measure.statistics import is_wide
from bench.store import records
from bench.store.outcome import Outcome
from bench.views import growth, layout, tables
from bench.views.cells import cells
from bench.views.layout import Layout, laid_out
from bench.views.summary import of_run

LAYOUT = Layout(rows=("place", "colour", "name"), right=("size",), spare=("colour", "place"), spoken={"place": "in {}"})
FRAME = pd.DataFrame(
    {
        "name": ["a", "bb", "c"],
        "place": ["here", "here", "here"],
        "colour": ["red", "red", "blue"],
        "size": ["1.00", "22.0", "3"],
    }
)


def test_what_all_rows_share_stands_once_above():
    assert laid_out(FRAME, LAYOUT) == (
        "All rows: in here.\n\n"
        "| name | colour | size |\n"
        "|:-----|:-------|-----:|\n"
        "| a    | red    | 1.00 |\n"
        "| bb   | red    | 22.0 |\n"
        "| c    | blue   |    3 |"
    )


def test_a_row_keeps_what_it_is_of():
    assert laid_out(FRAME[:1], LAYOUT).splitlines()[::4] == ["All rows: in here; red.", "| a    | 1.00 |"]


def test_nothing_shared_is_no_line_and_an_empty_value_is_not_said():
    assert laid_out(FRAME.assign(place=["x", "y", "z"]), LAYOUT).startswith("| name | place | colour | size |")
    assert laid_out(FRAME.assign(place=""), LAYOUT).startswith("| name | colour | size |")


def test_a_table_that_is_too_wide_loses_the_fewest_columns_the_least_used_first_and_says_so():
    wide = FRAME.assign(place=["x", "y", "z"])
    text = laid_out(wide, LAYOUT, 27)
    assert text.startswith("| name | place | size |")
    assert "Left out, as the table\nwould be wider than 27\ncolumns: colour." in text
    long = wide.assign(place=[c * 30 for c in "xyz"])  # without the colour alone it would still be too wide
    assert "columns: place." in " ".join(laid_out(long, LAYOUT, 40).split())
    assert "columns: colour, place." in " ".join(laid_out(long, LAYOUT, 20).split())
    assert layout.fits(wide, LAYOUT, 32)
    assert not layout.fits(wide, LAYOUT, 31)
    assert "Left out" not in laid_out(wide, LAYOUT, None)


def many(**changes):
    """Rows of many kinds, with settings that are long to name."""
    made = []
    for framework in ("torch", "jax"):
        for cpu in ("Chip", "A chip with a very long name @ 3.00 GHz"):
            for n in (32, 64):
                made.append(record(framework, cpu=cpu, n=n, step=(0.0101, 0.0102, 0.0103, 0.0102, 0.0101), **changes))
                made[-1]["config"]["model"]["a_setting_with_a_long_name"] = n
                made[-1]["config_hash"] = records.config_hash(made[-1]["config"])
    return made


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_tables_of_records_keep_to_the_width_and_name_what_is_gone(width):
    text = tables.markdown(cells(many(), "time"), width=width)
    assert max(map(len, text.splitlines())) <= width
    lost = " ".join(text.split()).partition("Left out")[2]
    if width < 140:
        assert "settings" in lost or "hardware" in lost
        assert "--width 0" in lost
    whole = tables.markdown(cells(many(), "time"), width=None)
    assert "Left out" not in whole
    assert "a_setting_with_a_long_name=32" in whole


def test_a_table_of_several_measures_is_one_where_it_fits_and_else_one_of_each():
    made = [record(name, model=model) for name in ("torch", "jax") for model in ("s4", "s5")]
    text = tables.render(made, "time")
    assert text.count("| measure ") == 1
    assert "All rows: dataset digits; Chip, 2 threads; fp32; batch 16; length 64." in text
    made = [
        record(name, cpu="A chip with quite a long name, longer than most" + "x" * n, n=n)
        for name in ("torch", "jax")
        for n in (1, 2)
    ]
    text = tables.render(made, "time")
    assert text.count("torch (ms)") == 1
    assert "Left out" not in text
    assert [line.split(";")[0] for line in text.splitlines() if line.startswith("All rows: ")] == [
        "All rows: train step (ms)",
        "All rows: compile (s)",
        "All rows: peak memory (MB)",
        "All rows: samples/s",
    ]


def test_a_rough_figure_is_marked_in_tables_in_growth_and_after_the_run():
    assert not is_wide(0.0120, 0.0030)
    assert is_wide(0.0120, 0.0031)
    rough = (0.010, 0.020, 0.011, 0.018, 0.012)  # quartiles 0.011 and 0.018
    text = tables.render([record("torch", step=rough), record("jax")], "time.train_step")
    assert "12.0 [7.00] ◊ |" in text
    assert f"- {tables.WIDE_RANGE}\n" in text
    assert "◊" not in tables.render([record("torch"), record("jax")], "time.train_step")
    slow = at("torch", 4096, 0.04)
    slow["timing"]["train_step_seconds"]["iqr"] = 0.02
    grown = growth.markdown([at("torch", 1024, 0.01), slow, at("jax", 1024, 0.01), at("jax", 4096, 0.01)])
    assert "1.00 ◊ |" in grown
    assert "◊:" in grown
    assert "0.00 |" in grown
    said = of_run(Outcome("s4", "ok", None, None, record("torch", step=rough)))
    assert "12 ms (interquartile range 7 ms: above a quarter of it)" in said


def test_the_width_is_the_terminal_s_or_the_one_that_is_asked_for(tmp_path, capsys):
    for made in many():
        records.write_record(made, tmp_path)
    widths = {}
    for words in ([], ["--width", "70"], ["--width", "0"]):
        assert table.main([str(tmp_path), *words]) == 0
        widths[" ".join(words)] = max(map(len, capsys.readouterr().out.splitlines()))
    assert widths[""] <= 100
    assert widths["--width 70"] <= 70
    assert widths["--width 0"] > 100
