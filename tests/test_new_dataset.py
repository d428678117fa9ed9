"""A data set is one file and one YAML and no other edit: one with a target a step, tried on a copy of the tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import ran, tree_with

from bench.store.records import read_certificates, read_records

HERE = Path(__file__).parent / "new_dataset"
FILES = {"datasets/delay.py": "delay.py", "conf/dataset/delay.yaml": "conf.yaml"}
SMALL = ["dataset=delay", "model=s5", "model.d_model=32", "model.n=16", "model.n_blocks=1"]
RUN = [*SMALL, "threads=1", "hardware=cpu", "lease=false", "task.batch_size=32"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tree_with(tmp_path_factory.mktemp("tree"), {name: (HERE / own).read_text() for name, own in FILES.items()})


@pytest.fixture(scope="module")
def commands(tree):
    """Trained in both frameworks, timed in one, and compared."""
    frameworks = ["-m", "framework=torch,jax", "task=train", "certificate=skip", "task.epochs=12"]
    timed = ["task=time", "certificate=skip", "task.steps=3", "task.processes=1"]
    return [ran(tree, "run.py", *RUN, *words) for words in (frameworks, timed, ["task=parity", "task.batch_size=8"])]


@pytest.mark.slow
def test_it_trains_in_both_frameworks_and_its_loss_chooses_the_epoch(tree, commands):
    assert [done.returncode for done in commands] == [0, 0, 0], [done.stderr for done in commands]
    records, warnings = read_records(tree / "results")
    assert warnings == []
    trained = [record for record in records if record["task"] == "train"]
    assert {record["framework"] for record in trained} == {"torch", "jax"}
    for record in trained:
        losses = [epoch["validation_loss"] for epoch in record["curve"]["epochs"]]
        assert record["loss"]["validation"] == min(losses)
        assert losses[0] < 2.1  # ln 8, which is chance
        assert record["accuracy"]["test"] > 0.5  # chance is 0.125
    one, other = (record["curve"]["step_loss"] for record in trained)
    assert one[:20] == pytest.approx(other[:20], rel=1e-3)


@pytest.mark.slow
def test_its_frameworks_agree_and_its_step_is_timed(tree, commands):
    (certificate,), _ = read_certificates(tree / "results")
    assert certificate["passed"] is True
    (timed,) = (record for record in read_records(tree / "results")[0] if record["task"] == "time")
    assert timed["timing"]["train_step_seconds"]["median"] > 0


@pytest.mark.slow
def test_sequences_of_another_length_have_their_targets(tree, commands):
    """Cut and repeated alike, inputs and targets."""
    for length in (9, 40):
        done = ran(tree, "run.py", *RUN, "task.steps=2", "certificate=skip", f"task.length={length}")
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_it_is_shown_and_a_read_out_that_it_cannot_have_is_refused(tree):
    shown = ran(tree, "-m", "bench.show", "dataset=delay", "out=x.svg")
    assert shown.returncode == 0, shown.stderr
    assert "targets int32 (32, 16)" in " ".join(shown.stdout.split())
    done = ran(tree, "run.py", *RUN, "model.readout=mean")
    assert done.returncode == 2
    assert "model.readout='mean': the data has a target for each step; set model.readout=auto." in " ".join(
        done.stderr.split()
    )
