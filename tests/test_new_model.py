"""A model is four files and no other edit: a plain diagonal layer, tried on a copy of the tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import TINY
from trees import ran, tree_with

from bench.store.records import read_certificates, read_records

HERE = Path(__file__).parent / "new_model"
FILES = {
    "ssm/decay.py": "ssm.py",
    "models_torch/decay.py": "torch.py",
    "models_jax/decay.py": "jax.py",
    "conf/model/decay.yaml": "conf.yaml",
}
SHORT = ["model=decay", *TINY, "threads=1", "task.batch_size=64"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tree_with(tmp_path_factory.mktemp("tree"), {name: (HERE / own).read_text() for name, own in FILES.items()})


@pytest.fixture(scope="module")
def commands(tree):
    """Trained and timed in both frameworks, and compared."""
    sweep = ["-m", "framework=torch,jax", "certificate=skip", "task.steps=3"]
    each = (["task=train"], ["task=time", "task.processes=1"])
    return [ran(tree, "run.py", *SHORT, *words) for words in (*([*sweep, *own] for own in each), ["task=parity"])]


@pytest.mark.slow
def test_it_trains_is_timed_and_agrees_between_the_frameworks(tree, commands):
    for done in commands:
        assert done.returncode == 0, done.stdout + done.stderr
    records, warnings = read_records(tree / "results")
    assert warnings == []
    runs = {(record["task"], record["framework"]) for record in records if record["status"] == "ok"}
    assert runs == {("parity", "torch"), *((task, name) for task in ("train", "time") for name in ("torch", "jax"))}
    trained = [record for record in records if record["task"] == "train"]
    assert trained[0]["curve"]["step_loss"] == pytest.approx(trained[1]["curve"]["step_loss"], rel=1e-4)
    (certificate,), _ = read_certificates(tree / "results")
    assert certificate["model"] == "decay"
    assert certificate["passed"] is True


@pytest.mark.slow
def test_it_appears_in_the_help_and_in_the_tables(tree, commands):
    assert "decay" in ran(tree, "run.py", "--help").stdout
    tables = ran(tree, "-m", "bench.table", "results", "--format", "csv")
    assert tables.returncode == 0
    for task, measure in (("train", "test"), ("time", "train_step"), ("time", "recurrent_step")):
        (row,) = (
            line.split(",") for line in tables.stdout.splitlines() if line.startswith(f"{measure},") and task in line
        )
        assert "decay" in row


@pytest.mark.slow
def test_its_own_rules_refuse_what_it_cannot_do(tree):
    done = ran(tree, "run.py", *SHORT, "model.bidirectional=true")
    assert done.returncode == 2
    assert "model.bidirectional=True: this layer sees the past alone" in done.stderr
