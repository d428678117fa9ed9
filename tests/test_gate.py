"""python -m bench.regress and python -m bench.noise: limits, words, exit statuses; one cell for real, two commits."""

from __future__ import annotations

import subprocess

import pytest
from commands import EAGER, ROOT, TINY, joined
from test_compare import QUICK, record_of
from test_table import record as single

from bench import noise, regress
from bench.store import records
from bench.views import regress as gate
from bench.views.regress import BROKEN, HELD, UNKNOWN, judged, parsed


def compared(ratio, low, high, measure="train_step"):
    """A record whose old side takes `ratio` of the new one's seconds."""
    verdict = {"side": "old", "measure": measure, "word": "x", "ratio": ratio, "low": low, "high": high, "waves": 6}
    own = {"phase": "train_step", "sides": [{"label": "as given"}, {"label": "old"}], "verdicts": [verdict]}
    return {"model": "s5", "framework": "jax", "dataset": "digits", "own": own}


@pytest.mark.parametrize(
    ("old", "word"),
    [
        ((1.0, 0.99, 1.01), HELD),
        ((0.8, 0.78, 0.82), BROKEN),  # the old one takes less
        ((0.95, 0.90, 1.0), UNKNOWN),
        ((1.5, 1.4, 1.6), HELD),  # the new one is faster
        ((0.8, None, None), UNKNOWN),
        ((0.9, 0.86, 0.951), BROKEN),
        ((0.96, 0.953, 0.97), HELD),  # slower, but within the limit
    ],
)
def test_a_limit_is_broken_only_where_the_whole_interval_lies_beyond(old, word):
    assert judged(compared(*old), parsed("slower=5%"))[0] == word


def test_memory_has_a_limit_of_its_own():
    assert judged(compared(0.5, 0.45, 0.55, "peak"), parsed("larger=10%"))[0] == BROKEN


@pytest.mark.parametrize(
    "text", ["", "slower", "slower=5", "slower=%", "slower=-5%", "faster=5%", "slower=0%", "slower=nan%"]
)
def test_what_is_no_limit_is_refused(text, capsys):
    assert regress.main(["HEAD", "--fail-if", text]) == 2
    assert "write slower=5%" in joined(capsys.readouterr().err)


def test_a_commit_that_is_not_there_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert regress.main(["no-such-commit", "--cell", " ".join(TINY)]) == 2
    assert "is no commit of this clone" in joined(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []  # asked once, before the first cell


def test_two_folders_stand_side_by_side_without_a_word(tmp_path, capsys):
    for name, step in (("old", 0.010), ("new", 0.020)):
        records.write_record(single("torch", step=[step] * 5), tmp_path / name)
    assert regress.main([str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert "10" in out
    assert "20" in out
    assert not any(word in out for word in (HELD, BROKEN, "faster", "slower", UNKNOWN))


def test_folders_without_a_common_cell_are_refused(tmp_path, capsys):
    for name, model in (("old", "s4"), ("new", "dss")):
        records.write_record(single("torch", model=model), tmp_path / name)
    assert regress.main([str(tmp_path / "old"), str(tmp_path / "new")]) == 2
    assert "no run of the same cell" in capsys.readouterr().err


@pytest.mark.slow
def test_this_commit_against_itself(tmp_path, monkeypatch, capsys):
    """One cell, for real: the files of a commit are laid out, its worker takes part, and one wave cannot tell."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    monkeypatch.chdir(tmp_path)
    cell = " ".join([*TINY, *EAGER, *QUICK, "model=s5", "task.processes=1"])
    status = regress.main([commit.stdout.strip(), "--cell", cell, "--budget", "0.001", "--results", "here"])
    out = joined(capsys.readouterr().out)
    (found,), _ = records.read_records(tmp_path / "here")
    assert found["status"] == "ok", found["message"]
    assert found["own"]["sides"][1]["code"] == commit.stdout.strip()
    assert status == 3
    assert "cannot tell" in out


def test_noise_reads_a_comparison_and_says_what_it_can_show(tmp_path, capsys):
    found = record_of(tmp_path, "task.b=[]", "task.turns=4")
    assert noise.main([str(tmp_path / f"{found['id']}.json")]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("between processes", "drift", "round to round", "correlate by", "after 6"))
    assert max(map(len, out.splitlines())) <= 100


def test_noise_wants_two_processes_a_side(tmp_path, capsys):
    found = record_of(tmp_path, "task.b=[]", "task.processes=1")
    assert noise.main([str(tmp_path / f"{found['id']}.json")]) == 1
    assert "task.processes=2" in joined(capsys.readouterr().err)


def test_noise_refuses_what_run_py_refuses(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert noise.main(["model.n=0"]) == 2
    assert "model.n=0" in joined(capsys.readouterr().err)
    assert noise.main(["--nope"]) == 2


def test_a_limit_is_written_as_it_was_given():
    assert str(gate.parsed("slower=2.5%")) == "slower=2.5%"
