"""A job is the same wherever it is called: one after the other, by launchers that fork, by joblib, in other processes.

On a copy of the tree whose PyTorch is the NumPy framework: a worker starts in a second. Of eight jobs one is refused,
and the measuring child of one is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import EAGER, TINY
from trees import ran, tree_with

from bench.store.records import read_certificates, read_records

HERE = Path(__file__).parent
ADAPTER = '''
"""NumPy in PyTorch's place; the worker of seed 6 is killed at its third step."""

import os
import signal

from numpy_framework import NumpyAdapter, NumpyTrainer


class Mortal(NumpyTrainer):
    def train_step(self, batch, scale):
        if self.seed == 6 and len(self.scales) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(batch, scale)


class Adapter(NumpyAdapter):
    def build(self, model, optimiser, seed):
        trainer = super().build(model, optimiser, seed)
        trainer.seed = seed
        return trainer


def adapter(hardware, **settings):
    return Adapter(Mortal)
'''
JOBS = ["model=s5", "seed=0,1,2,3,4,5,6,-7", "task.steps=4", "certificate=skip", *TINY, *EAGER, "threads=1"]
STATUSES = [*["ok"] * 6, "failed", "refused"]
SCRIPT = """
import multiprocessing, sys
from bench.runs.job import job
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

def configuration(seed):
    with initialize_config_dir(str(__import__("pathlib").Path("conf").resolve()), version_base="1.3"):
        words = [*sys.argv[2:], f"seed={seed}", f"results_dir={sys.argv[1]}"]
        return OmegaConf.to_container(compose("config", overrides=words), resolve=True)

if __name__ == "__main__":
    jobs = [configuration(seed) for seed in (0, 6, -7)]
    if sys.argv[1] == "loky":
        import joblib
        outcomes = joblib.Parallel(2, backend="loky")(joblib.delayed(job)(one) for one in jobs)
    else:
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            outcomes = pool.map(job, jobs)
    print(*(f"{one.status} {one.path.is_file()}" for one in outcomes), sep=";")
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    own = {
        "numpy_framework.py": (HERE / "numpy_framework.py").read_text(),
        "hydra_plugins/forking.py": (HERE / "forking_launcher.py").read_text(),
        "script.py": SCRIPT,
    }
    folder = tmp_path_factory.mktemp("tree")
    (folder / "hydra_plugins").mkdir()
    tree_with(folder, own)
    for framework in ("torch", "jax"):
        (folder / f"models_{framework}" / "adapter.py").write_text(ADAPTER)
    return folder


def swept(tree: Path, results: str, *words: str) -> tuple[subprocess.CompletedProcess[str], list[dict]]:
    done = ran(tree, "run.py", "-m", *JOBS, f"results_dir={results}", *words)
    records, damaged = read_records(tree / results)
    assert damaged == []
    return done, sorted(records, key=lambda record: record["config"]["sweep"]["number"])


@pytest.fixture(scope="module")
def in_turn(tree):
    return swept(tree, "turn")


def closing_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Status and label of each job; a path or a reason may be on a line of its own."""
    lines = done.stdout[done.stdout.index("status ") :].splitlines()[1:]
    return [" ".join(line.split()[:6]) for line in lines if not line.startswith(" ")]


def what_was_done(record: dict) -> list[str]:
    """A record without what no two runs share, and without what its process had set (joblib sets KMP_INIT_AT_FORK)."""
    kept = [record[name] for name in ("status", "message", "code", "data", "parameters", "accuracy")]
    curve = (record["curve"] or {}).get("step_loss")
    config = {name: value for name, value in record["config"].items() if name not in ("sweep", "results_dir")}
    return [json.dumps(value, sort_keys=True) for value in (*kept, curve, config)]


@pytest.mark.slow
def test_one_after_the_other_eight_jobs_leave_eight_records_and_eight_lines(in_turn):
    done, records = in_turn
    assert done.returncode == 1, done.stderr
    assert [record["status"] for record in records] == STATUSES
    assert "SIGKILL" in records[6]["message"]
    assert "seed=-7: must be a whole number of at least 0" in records[7]["message"]
    expected = [f"{status} {number}/8 s5 torch digits train" for number, status in enumerate(STATUSES, 1)]
    assert closing_lines(done) == expected
    assert len({record["config"]["sweep"]["id"] for record in records}) == 1


forks = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")


@pytest.mark.slow
@forks
def test_a_launcher_that_forks_gives_the_same(tree, in_turn):
    done, records = swept(tree, "forked", "hydra/launcher=forking")
    alone, expected = in_turn
    assert done.returncode == alone.returncode
    assert closing_lines(done) == closing_lines(alone)
    assert list(map(what_was_done, records)) == list(map(what_was_done, expected))


@pytest.mark.slow
@forks
def test_a_launcher_that_raises_loses_nothing_of_what_was_run(tree, in_turn):
    words = ["hydra/launcher=forking", "hydra.launcher.raises=true", "seed=0,-7"]
    done, records = swept(tree, "raised", *words)
    assert "the scheduler is gone" in done.stderr
    assert done.returncode == 2
    assert [line.split()[:2] for line in closing_lines(done)] == [["ok", "1/2"], ["refused", "2/2"]]
    expected = in_turn[1]
    assert list(map(what_was_done, records)) == [what_was_done(expected[0]), what_was_done(expected[7])]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["loky", "spawn", "fork"])
def test_a_job_can_be_called_in_any_process(tree, in_turn, way):
    if way == "fork" and sys.platform == "win32":
        pytest.skip("Windows does not fork")
    words = [word for word in JOBS if not word.startswith("seed=")]
    done = ran(tree, "script.py", way, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok True;failed True;refused True"
    records, _ = read_records(tree / way)
    found = {record["config"]["seed"]: what_was_done(record) for record in records}
    expected = {record["config"]["seed"]: what_was_done(record) for record in in_turn[1]}
    assert found == {seed: expected[seed] for seed in (0, 6, -7)}


@pytest.mark.slow
def test_a_sweep_ends_with_its_summary_where_a_job_cannot_even_be_composed(tree):
    done = ran(tree, "run.py", "-m", "model=s5,nonsense", "seed=-1", *TINY, *EAGER, "hydra/launcher=forking")
    assert done.returncode == 2
    assert [line.split()[0] for line in closing_lines(done)] == ["refused", "refused"]
    assert "model=nonsense: is not a choice" in done.stderr


@pytest.mark.slow
@forks
def test_a_certificate_is_made_once_however_many_jobs_want_it(tree):
    words = ["seed=0,1", "certificate=auto", "hydra/launcher=forking"]
    _, records = swept(tree, "certified", *words)
    (certificate,), _ = read_certificates(tree / "certified")
    assert [record["certificate"]["id"] for record in records] == [certificate["id"]] * 2
