"""Tables from records: what stands side by side, what is marked, and what is never passed off as a figure."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import joined

from bench import table
from bench.measure.statistics import summary
from bench.store import records
from bench.tasks import registry, task
from bench.views import tables
from bench.views.cells import cells

ROOT = Path(__file__).parents[1]
CERTIFICATE = {"id": "x", "error": 1e-7, "bound": 1e-4, "precision": "fp32", "passed": True}
CLOCK = iter(range(10**6))


CODES = {"h": "a" * 64, "g": "b" * 64}


def record(framework, task="time", step=(0.010,) * 5, status="ok", certificate=CERTIFICATE, **changes):
    settings = {"name": task, "batch_size": 16, "length": None}
    made = records.new_record(
        {
            "framework": {"name": framework, "compile": changes.pop("compile", "default")},
            "model": {"name": changes.pop("model", "s4"), "n": changes.pop("n", 64)},
            "dataset": {"name": "digits", **changes.pop("dataset", {})},
            "hardware": {"name": changes.pop("hardware", "auto")},
            "task": settings,
            "seed": 0,
            "precision": "fp32",
            "results_dir": framework,
        },
        code={"commit": None, "dirty": None, "hash": CODES[changes.pop("code", "h")]},
        machine={"cpu": changes.pop("cpu", "Chip")},
        device="cpu",
        threads=2,
        data={"length": 64, "channels": 1, "classes": 10},
    )
    made["created"] = f"2025-01-01T00:00:00.{next(CLOCK):06d}+00:00"
    made["certificate"] = certificate
    if task == "time":
        made["timing"] = {"train_step_seconds": summary(step), "compile_seconds": summary([2.0])}
        made["throughput"] = {"samples_per_second": 1600.0, "tokens_per_second": 1600.0 * 64}
        made["memory"] = {"peak_bytes": 50_000_000, "steady_peak_bytes": 10_000_000, "compiled_bytes": None}
    else:
        made["accuracy"] = {"validation": 0.97, "test": 0.951}
        made["curve"] = {
            "step_loss": [],
            "epochs": [{"seconds": seconds} for seconds in (9.0, 2.0, 3.0, 2.5)],
        }
    made |= changes
    records.set_status(made, status, None if status == "ok" else "why")
    return made


def row(made, measure="train_step", section="time"):
    frame = cells(made, section)
    frame = frame[frame["measure"] == measure]
    assert len(frame) == 1
    return frame.iloc[0]


def test_the_frameworks_stand_side_by_side_and_nothing_is_judged():
    made = [record("torch", step=[0.02, 0.021, 0.019, 0.02, 0.022]), record("jax", step=[0.010] * 5)]
    found = row(made)
    assert (found["model"], found["dataset"], found["hardware"]) == ("s4", "digits", "Chip, 2 threads")
    assert (found["batch"], found["length"], found["settings"]) == (16, 64, "")
    assert found["torch_value"] == pytest.approx(20.0)  # milliseconds
    assert found["torch_iqr"] == pytest.approx(1.0)
    assert found["jax_value"] == pytest.approx(10.0)
    assert not {"ratio", "distinguishable"} & set(found.index)
    text = tables.render(made, "time.train_step")
    lines = text.splitlines()
    assert lines[0] == "All rows: train step (ms); dataset digits; Chip, 2 threads; fp32; batch 16; length 64."
    heads = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert heads == ["model", "torch (ms)", "jax (ms)"]
    assert "20.0 [1.00]" in lines[4]
    assert lines[4].endswith(" 10.0 [0] |")
    assert "a comparison says" in joined(text)
    assert "†" not in text
    assert "≈" not in text


def test_a_single_figure_has_no_range():
    assert row([record("torch"), record("jax")], "peak")["torch_value"] == pytest.approx(50.0)


def test_memory_stands_for_the_whole_process_and_as_the_compiler_estimates_it():
    made = [record("torch"), record("jax")]
    made[1]["memory"] |= {"compiled_bytes": 3_000_000}
    estimate = row(made, "compiled")
    assert estimate["jax_value"] == pytest.approx(3.0)
    assert pd.isna(estimate["torch_value"])
    text = tables.render(made, "time")
    assert "peak memory (MB)" in text
    assert f"- {task.PEAK}\n" in text
    assert task.PEAK not in tables.render(made, "time.train_step")


def test_compile_modes_stand_below_where_all_agree_and_in_the_rows_where_not():
    eager, compiled = record("torch", compile="none"), record("torch", model="dss")
    assert "- torch: eager; jax: jax.jit." in tables.render([eager, record("jax")], "time.train_step")
    assert "- torch: torch.compile.\n" in tables.render([compiled], "time.train_step")
    text = tables.render([eager, compiled], "time.train_step")
    assert "torch.compile=none" in text
    assert "torch.compile=default" in text


def test_a_trained_row_shows_the_length_of_its_data():
    assert row([record("torch", task="train")], "test", "train")["length"] == 64


@pytest.mark.parametrize("certificate", [None, {**CERTIFICATE, "passed": False}])
def test_figures_without_a_passed_certificate_are_marked(certificate):
    text = tables.render([record("torch", certificate=certificate), record("jax")], "time.train_step")
    assert text.count("10.0 [0] †") == 1
    assert tables.NO_CERTIFICATE in text


@pytest.mark.parametrize("status", ["failed", "interrupted", "diverged", "out_of_memory"])
def test_an_unfinished_run_shows_its_status_and_no_figure(status):
    made = [record("torch", status=status, step=[0.123] * 5), record("jax")]
    found = row(made)
    assert pd.isna(found["torch_value"])
    text = tables.render(made, "time.train_step")
    assert f" {status.replace('_', ' ')} |" in text
    assert "123" not in text


def test_a_cell_with_no_finished_run_at_all_still_has_its_row():
    assert "interrupted" in tables.render([record("torch", task="train", status="interrupted")], "train.test")


def test_the_newest_finished_record_is_used_and_the_number_stated():
    made = [
        record("torch", step=[0.03] * 5),
        record("torch"),
        record("torch", status="failed"),
        record("jax"),
    ]
    found = row(made)
    assert found["torch_value"] == pytest.approx(10.0)
    assert found["torch_records"] == 2
    assert "Up to 2 finished records" in tables.render(made, "time")


def test_different_machines_sizes_and_compilers_have_rows_of_their_own():
    made = [record("torch"), record("jax", cpu="Other chip")]
    assert len(cells(made, "time").query("measure == 'train_step'")) == 2
    made = [record(name, n=n) for name in ("torch", "jax") for n in (32, 64)]
    sizes = cells(made, "time").query("measure == 'train_step'")
    assert list(sizes["settings"]) == ["n=32", "n=64"]
    assert sizes[["torch_value", "jax_value"]].notna().all(axis=None)
    made = [record("torch"), record("torch", compile="none"), record("jax")]
    compiled = cells(made, "time").query("measure == 'train_step'")
    assert sorted(compiled["settings"]) == ["torch.compile=default", "torch.compile=none"]
    assert compiled[["torch_value", "jax_value"]].notna().all(axis=None)


def test_the_name_of_the_hardware_setting_does_not_part_what_ran_on_one_machine():
    found = row([record("torch", hardware="cpu"), record("jax")])
    assert found["torch_value"] == found["jax_value"] == pytest.approx(10.0)


def test_models_of_other_options_are_not_told_apart_by_settings():
    made = [record("torch"), record("torch", model="s5", n=32)]
    assert set(cells(made, "time")["settings"]) == {""}


def test_different_code_is_said():
    assert "different versions of the code" in tables.render([record("torch"), record("jax", code="g")], "time")


def test_train_rows():
    made = [record("torch", task="train"), record("jax", task="train")]
    assert row(made, "test", "train")["torch_value"] == pytest.approx(95.1)
    epoch = row(made, "epoch", "train")
    assert epoch["torch_value"] == 2.5  # of 2, 3, 2.5: the first epoch also compiles
    assert "95.1" in tables.render(made, "train")


def test_csv_holds_the_cells_as_numbers(tmp_path, capsys):
    for made in (record("torch"), record("jax"), record("jax", task="train")):
        records.write_record(made, tmp_path)
    assert table.main([str(tmp_path), "--format", "csv"]) == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(frame["section"]) == {"time", "train"}
    assert frame.query("measure == 'train_step'")["torch_value"].iloc[0] == pytest.approx(10.0)
    assert table.main([str(tmp_path), "--section", "train", "--output", str(tmp_path / "t.md")]) == 0
    assert "test accuracy" in (tmp_path / "t.md").read_text()


def test_the_command_line_says_when_there_is_nothing(tmp_path):
    command = [sys.executable, "-m", "bench.table", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"no record in {tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert table.main([str(tmp_path / "absent")]) == 1


def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path, capsys):
    records.write_record(record("torch"), tmp_path)
    (tmp_path / "broken.json").write_text("{")
    assert table.main([str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "broken.json" in shown.err
    assert "train step (ms)" in shown.out


def test_the_readme_is_rewritten_between_its_markers_only(tmp_path, capsys):
    folder, readme = tmp_path / "reference", tmp_path / "README.md"
    for made in (record("torch"), record("jax"), record("jax", task="train")):
        records.write_record(made, folder)
    readme.write_text(
        "before\n<!-- table:time.train_step -->\nstale figures\n<!-- /table:time.train_step -->\nbetween\n"
        "<!-- table:train -->\n<!-- /table:train -->\nafter\n"
    )
    arguments = ["--readme", str(readme), str(folder)]
    assert table.main([*arguments, "--check"]) == 1
    assert "not those of the records" in joined(capsys.readouterr().err)
    assert "stale figures" in readme.read_text()
    assert table.main(arguments) == 0
    text = readme.read_text()
    assert "stale figures" not in text
    assert all(part in text for part in ("before\n", "\nbetween\n", "\nafter\n", "train step (ms)", "test accuracy"))
    assert table.main([*arguments, "--check"]) == 0
    assert table.main(arguments) == 0
    assert readme.read_text() == text
    records.write_record(record("torch", step=[0.5] * 5), folder)
    assert table.main([*arguments, "--check"]) == 1


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("nothing", "no <!-- table:NAME -->"),
        ("<!-- table:time -->\n", "not closed"),
        ("<!-- table:speed -->\n<!-- /table:speed -->", "'speed': unknown"),
        ("<!-- table:train -->\n<!-- /table:train -->", "no record measured this"),
    ],
)
def test_markers_that_cannot_be_filled_are_errors(text, complaint):
    with pytest.raises(records.RecordError, match=complaint):
        tables.updated_document(text, [record("torch")])


def test_one_records_rows():
    rows = registry.figures(record("jax"))
    assert rows[0] == {"measure": "train step (ms)", "value": pytest.approx(10.0), "iqr": 0.0}
    assert registry.figures(record("jax", task="parity")) == []
