"""task=compare: waves of processes that take turns, what the record holds of them, and what the last line says.

Processes are real ones, with the NumPy framework; what they take is known only where a trainer sleeps.
"""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import pytest
from commands import EAGER, NUMPY_WORKER, ROOT, TINY, composed, joined, run
from local_worker import LocalWorker
from numpy_framework import Clock, NumpyTrainer

from bench.measure import stopwatch, waves
from bench.runs.check import check
from bench.runs.job import title
from bench.runs.run import Run
from bench.store import records
from bench.store.outcome import Outcome
from bench.tasks import compare, registry
from bench.tasks.compare import sentence
from bench.views import summary, verdicts
from bench.workers import station

QUICK = ["task.round_seconds=0.02", "task.turns=3", "task.budget_seconds=0.001", "task.warmup=1", "certificate=skip"]


def a_run(folder, *words, worker=NUMPY_WORKER):
    config = composed("task=compare", f"results_dir={folder}", *TINY[:3], *EAGER, *QUICK, *words)
    checked = check(config)
    alone = [replace(one, device="cpu", threads=1) for one in checked.of_sides]
    machine = {"cpu": "any", "cores": 1, "logical_cores": 1, "gpu": None}
    record = records.new_record(config, machine=machine, device="cpu", threads=1)
    whole = replace(alone[0], sides=checked.sides, of_sides=alone)
    return Run(config, whole, ROOT, record, title(config), command=worker)


def record_of(folder, *words, **others):
    return a_run(folder, *words, **others).record_of_all()


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Three sides, three waves of two processes each."""
    folder = tmp_path_factory.mktemp("compare")
    words = ["task.b=[]", "task.others=[['planted=50%']]", "task.budget_seconds=1e9", "seed=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waves, "LOOKS", (3,))
        return record_of(folder, *words, worker=[*NUMPY_WORKER, "Sleeping"])


def processes(record):
    return [process for wave in record["own"]["waves"] for process in wave["processes"]]


def test_a_comparison_leaves_a_whole_record(record):
    assert (record["status"], record["message"], record["task"]) == ("ok", None, "compare")
    own = record["own"]
    assert [side["label"] for side in own["sides"]] == ["as given", "again", "planted=50%"]
    assert len(own["waves"]) == 3
    labels = [side["label"] for side in own["sides"]]
    for wave in own["waves"]:
        assert sorted(process["side"] for process in wave["processes"]) == sorted(2 * labels)
        assert 0 < wave["starting_seconds"] < wave["seconds"]
    (read,), damaged = records.read_records(record["config"]["results_dir"])
    assert damaged == []
    assert read["own"] == own


def test_each_turn_has_a_round_of_every_process_next_to_one_of_each_other_side(record):
    for wave in record["own"]["waves"]:
        for turn in range(3):
            placed = sorted((one["places"][turn], one["side"]) for one in wave["processes"])
            assert [place for place, _ in placed] == [1, 2, 3, 4, 5, 6]
            for group in (placed[:3], placed[3:]):
                assert len({side for _, side in group}) == 3


def test_who_starts_first_is_balanced(record):
    for wave in record["own"]["waves"]:
        order = [one["side"] for one in sorted(wave["processes"], key=lambda one: one["started"])]
        assert order[:3] == order[3:][::-1]  # each side has as many starts before each other one as after it


def test_every_round_is_kept_with_what_the_system_did_beside_it(record):
    for one in processes(record):
        assert len(one["seconds"]) == len(one["round_seconds"]) == len(one["faults"]) == 3
        for seconds, whole in zip(one["seconds"], one["round_seconds"], strict=True):
            assert seconds == pytest.approx(whole / one["calls"])
        assert one["waiting_seconds"][0] is None
        assert all(waited > 0 for waited in one["waited_seconds"][1:])


def test_sides_of_one_request_make_as_many_calls_and_planted_ones_more(record):
    assert len({one["calls"] for one in processes(record)}) == 1
    assert processes(record)[0]["calls"] % 2 == 0  # half as many again are whole calls


def test_a_wave_s_figure_is_the_mean_logarithm_of_its_pairs(record):
    own = record["own"]
    for verdict in own["verdicts"]:
        if verdict["measure"] != "train_step":
            continue
        figures = []
        for wave in own["waves"]:
            mean = {}
            for label in ("as given", verdict["side"]):
                logs = [math.log(s) for one in wave["processes"] if one["side"] == label for s in one["seconds"]]
                mean[label] = sum(logs) / len(logs)
            figures.append(mean[verdict["side"]] - mean["as given"])
        assert math.log(verdict["ratio"]) == pytest.approx(sum(figures) / 3)
        assert verdict["waves"] == 3


def test_compilation_and_memory_are_compared_too(record):
    assert {one["measure"] for one in record["own"]["verdicts"]} == {"train_step", "compile", "peak"}


def test_a_waiting_process_takes_next_to_no_time(record):
    waiting, waited = (
        sum(sum(one[name][1:]) for one in processes(record)) for name in ("waiting_seconds", "waited_seconds")
    )
    assert waiting < 0.02 * waited  # rounds of 20 ms: reading a request is a part of it


class Ticking(NumpyTrainer):
    """Its steps take a known time on a clock that nothing else moves: 10 ms, and `more` for each step before it."""

    def __init__(self, clock, more=0.0):
        super().__init__()
        self.clock, self.more = clock, more

    def train_step(self, batch, scale):
        self.clock.now += 0.01 + self.more * self.optimiser.count
        return super().train_step(batch, scale)


def by_the_clock(folder, monkeypatch, *words, **trainer):
    """The record of a comparison whose workers are in this process, with a clock moved by hand."""
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    monkeypatch.setattr(station, "SETTLE_SECONDS", 0.0)
    run = a_run(folder, *words)
    workers = []

    def start(build, **_):
        workers.append(LocalWorker(Ticking(clock, **trainer)))
        workers[-1].station.request = build
        return workers[-1]

    alone = dict(start=start, begin=lambda worker: None, dismiss=lambda those: None)
    compare.run(replace(run.context(None), **alone))
    return run.record, workers


def test_planted_work_is_found_to_the_last_digit(tmp_path, monkeypatch):
    monkeypatch.setattr(waves, "LOOKS", (3,))
    words = ["task.b=[]", "task.others=[['planted=50%']]", "task.budget_seconds=1e9"]
    found, _ = by_the_clock(tmp_path, monkeypatch, *words)
    ratios = {one["side"]: one["ratio"] for one in found["own"]["verdicts"] if one["measure"] == "train_step"}
    assert ratios["again"] == pytest.approx(1.0, rel=1e-12)
    assert ratios["planted=50%"] == pytest.approx(1.5, rel=1e-12)
    text = summary.of_run(Outcome("x", "ok", None, None, {**found, "certificate": None}))
    told = joined(text).splitlines()[-2:]
    assert told[0].startswith("again is equal to as given within 2 %: its train step takes 1.000")
    assert told[1].startswith("planted=50% is slower than as given: its train step takes 1.500")
    assert "3 waves" in told[1]


def test_each_turn_begins_where_the_first_one_began(tmp_path, monkeypatch):
    """Steps take longer the more there were before them, which the state tells: it is put back before each round."""
    found, workers = by_the_clock(tmp_path, monkeypatch, "task.b=[]", "task.turns=4", more=0.002)
    for one in processes(found):
        assert one["seconds"] == pytest.approx([one["seconds"][0]] * 4, rel=1e-12)
    calls = processes(found)[0]["calls"]
    for worker in workers:
        before = 1 + 1 + compare.SINGLES  # the first call, the warm-up, and single calls
        assert worker.station.parts.trainer.optimiser.count == before + 2 + calls  # two more warm each round


def test_one_process_a_side_where_memory_holds_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "MEMORY_SHARE", 0.0)
    found = record_of(tmp_path, "task.b=[]")
    assert len(processes(found)) == 2
    assert any("memory holds no more" in note for note in found["notes"])


def test_a_side_that_fails_is_named_and_what_was_measured_stays(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEATH", str(int(signal.SIGKILL)))
        found = record_of(tmp_path, "task.b=[]", worker=[*NUMPY_WORKER, "Deadly"])
    assert found["status"] == "failed"
    assert found["message"].startswith(("as given: ", "again: "))
    assert found["own"]["waves"] == []


def test_a_phase_that_a_side_does_not_have_ends_the_comparison(tmp_path):
    found = record_of(tmp_path, "task.b=[]", "task.phase=recurrent_step")
    assert found["status"] == "failed"
    assert "recurrent_step cannot be compared" in found["message"]


def test_ctrl_c_leaves_the_verdict_of_what_there_is(tmp_path, monkeypatch):
    ended = []
    original = compare.Comparison._judge

    def judged(self, alive):
        original(self, alive)
        ended.append(1)
        if len(ended) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(compare.Comparison, "_judge", judged)
    found = record_of(tmp_path, "task.b=[]", "task.budget_seconds=1000")
    assert found["status"] == "interrupted"
    assert len(found["own"]["waves"]) == 2
    assert found["own"]["verdicts"][0]["waves"] == 2
    assert registry.sentence(found).splitlines()[-1].startswith("again ")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("task.batch_size=8", "batches of 8 instead of 16"),
        ("precision=fp64", "precision fp64 instead of fp32"),
        ("task.length=32", "length 32 instead of None"),
        ("dataset.validation_fraction=0.2", "other data"),
    ],
)
def test_other_work_is_said_without_a_trace(tmp_path, word, said):
    found = record_of(tmp_path, f"task.b=['{word}']", "certificate=auto", "task.processes=1", "task.turns=1")
    assert found["status"] == "ok", found["message"]
    assert found["own"]["sameness"][0]["same"] is False
    assert f"(they compute different things: {said}" in registry.sentence(found).splitlines()[-1]


def verdict(word, **changes):
    found = {"side": "jax", "word": word, "ratio": 0.5, "low": 0.45, "high": 0.55, "waves": 6, "more": None}
    return {**found, **changes}


TAKES = "its train step takes 0.500 of the time, 95 % interval 0.450 to 0.550, 6 waves"


def test_first_calls_and_memory_stand_in_a_line_above_it(record):
    first, second, *told = registry.sentence(record).splitlines()
    assert first.startswith("again against as given: first call ")
    assert "; peak memory " in second
    assert len(told) == 2
    more = verdict("slower", measure="peak", ratio=2.0)
    assert (
        compare.beside([more], "jax", "torch", "train_step") == "jax against torch: peak memory 2 (0.45 to 0.55), more"
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (verdict("faster"), f"jax is faster than torch: {TAKES}"),
        (verdict("slower", ratio=2.0), "jax is slower than torch: its train step takes 2.000"),
        (verdict("equal", ratio=1.0), "jax is equal to torch within 2 %: "),
        (verdict("cannot tell", more=7), f"jax cannot be told from torch: {TAKES}; about 7 more would tell"),
        (verdict("cannot tell", low=None, high=None, waves=1), "of the time, 1 wave; 1000 would not tell"),
    ],
)
def test_sentences(found, said):
    assert said in sentence(found, "torch", "train_step", 0.02)


def two_frameworks(record, framework, ratio):
    """A comparison of the two frameworks, made of a real record: its figures stand for any."""
    other = {"torch": "jax", "jax": "torch"}[framework]
    called = {"as given": framework, "again": other}
    own = record["own"]
    sides = [{**side, "label": called[side["label"]], "framework": called[side["label"]]} for side in own["sides"][:2]]
    kept = [
        [{**one, "side": called[one["side"]]} for one in wave["processes"] if one["side"] in called]
        for wave in own["waves"]
    ]
    told = verdict("faster", side=other, ratio=ratio, low=ratio - 0.05, high=ratio + 0.05)
    same = {"side": other, "same": True, "error": 0.0, "bound": 1e-4, "says": "certificate passed"}
    config = {**record["config"], "task": {**record["config"]["task"], "b": None, "others": None}}
    config["framework"] = {"name": framework, "compile": "none" if framework == "torch" else "default"}
    own = {
        **own,
        "sides": sides,
        "waves": [{**wave, "processes": those} for wave, those in zip(own["waves"], kept, strict=True)],
        "verdicts": [{**told, "measure": "train_step"}],
        "sameness": [same],
        "disturbed": 0.0,
    }
    return {**record, "framework": framework, "config": config, "own": own, "id": record["id"] + framework}


def test_a_table_reads_the_same_whichever_framework_was_named(record):
    one, other = (
        verdicts.frame([two_frameworks(record, name, ratio)]) for name, ratio in (("torch", 0.8), ("jax", 1 / 0.8))
    )
    assert one["side"].tolist() == other["side"].tolist() == ["jax"]
    assert one["ratio"][0] == pytest.approx(0.8)
    assert other["ratio"][0] == pytest.approx(0.8)
    assert (one["word"][0], other["word"][0]) == ("faster", "slower")


def test_the_newest_of_two_alike_stands(record):
    later = {**two_frameworks(record, "jax", 0.5), "created": "2099-01-01T00:00:00+00:00"}
    found = verdicts.frame([later, two_frameworks(record, "torch", 0.8)])
    assert found["ratio"].tolist() == [2.0]


def test_the_table_names_the_sides_in_its_heads_and_says_what_may_be_false(record):
    text = verdicts.markdown([two_frameworks(record, "torch", 0.8)], "train_step")
    assert "torch (ms)" in text
    assert "0.750 to 0.850" in text
    several = verdicts.markdown([record])
    assert "against" in several
    assert "Of 6 verdicts about 0.3 may be false by chance" in several
    assert "†" not in several
    unknown = two_frameworks(record, "torch", 0.8)
    unknown["own"]["sameness"][0]["same"] = None
    assert "faster †" in verdicts.markdown([unknown])


def test_every_line_of_a_table_fits(record):
    assert max(map(len, verdicts.markdown([record]).splitlines())) <= 100


@pytest.mark.slow
def test_the_command_compares_the_two_frameworks_after_certifying_them(tmp_path):
    done = run("task=compare", "dataset=digits", *TINY, *EAGER, *QUICK[:-1], "task.processes=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,), _ = records.read_records(tmp_path / "results")
    assert found["own"]["sameness"][0]["same"] is True
    assert found["certificate"]["passed"] is True
    assert joined(done.stdout).splitlines()[-1].startswith("jax cannot be told from torch: ")
    assert "cannot tell" in verdicts.markdown([found])


@pytest.mark.slow
def test_sides_that_compute_different_things_say_so(tmp_path):
    words = [
        "task.b=['model.n=4']",
        "task.others=[['model.algorithm=fft']]",
        "model=s5",
        "task.processes=1",
    ]
    done = run("task=compare", "dataset=digits", *TINY, *EAGER, *QUICK[:-1], *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,), _ = records.read_records(tmp_path / "results")
    same = {entry["side"]: entry["same"] for entry in found["own"]["sameness"]}
    assert same == {"model.n=4": False, "model.algorithm=fft": True}
    assert "compute different things: another network" in joined(done.stdout)


@pytest.mark.slow
def test_a_commit_of_another_protocol_is_refused_with_its_folder(tmp_path):
    """The worker of another tree says which protocol it speaks before anything is asked of it."""
    old = tmp_path / "old"
    old.mkdir()
    (old / "greets.py").write_text(
        'import sys\nprint(\'{"@": "Greeting", "protocol": 1, "tree": "old"}\', flush=True)\nsys.stdin.read()\n'
    )
    found = record_of(tmp_path / "results", f"task.b=['worker={old / 'greets.py'}']")
    assert found["status"] == "failed"
    assert "protocol 1" in found["message"]
