"""Tasks are found by name, say what tables show, and one more is one file and one YAML: tried on a copy of the tree."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml
from commands import CONF, EAGER, TINY, composed
from test_run import record_of
from trees import ran, tree_with

from bench.runs.choices import choices
from bench.store import records
from bench.tasks import registry


def test_a_task_is_a_file_with_a_yaml_of_its_name():
    assert list(registry.names()) == choices(CONF, "task")


@pytest.mark.parametrize("name", registry.names())
def test_a_task_s_settings_are_those_of_its_yaml_and_pass_its_own_check(name):
    group = composed(f"task={name}")["task"]
    assert {each.name for each in fields(registry.find(name).settings)} == group.keys()
    assert registry.settings(group).batch_size == group["batch_size"]


@pytest.mark.parametrize("name", registry.names())
def test_what_says_how_long_a_task_looks_is_one_of_its_settings(name):
    stated = yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text())
    assert registry.find(name).looking <= stated.keys()


@pytest.mark.parametrize("name", registry.names())
def test_measures_have_names_and_labels_of_their_own(name):
    measures = registry.measures(name)
    assert len({measure.name for measure in measures}) == len({measure.label for measure in measures}) == len(measures)
    empty = records.new_record(composed(f"task={name}"))
    assert [measure.samples(empty) for measure in measures] == [[]] * len(measures)


TASK = '''
"""task=drift: does a second round of inference take as long as a first one?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.store import kinds
from bench.tasks.context import Context
from bench.tasks.settings import Common
from bench.tasks.task import Measure, Task, at
from bench.workers.protocol import Finish, FirstCall, Round
from settings.rules import check_whole


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    calls: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("task.calls", self.calls)


def run(context: Context) -> None:
    worker = context.start(context.build, recorded=True)
    worker.receive()
    worker.ask(FirstCall("forward"))
    first, second = (worker.ask(Round("forward", context.settings.calls)).samples[0] for _ in range(2))
    context.record["own"] = {"drift": {"ratio": second / first, "seconds": [first, second]}}
    worker.ask(Finish())


MEASURES = (Measure("drift", "a second round", at("own.drift.ratio"), "% of the first", 100),)
SECTIONS = {"drift": {"ratio": kinds.amount, "seconds": kinds.list_of(kinds.amount)}}
TASK = Task(Settings, run, MEASURES, sections=SECTIONS)
'''
YAML = """\
# Does a second round take as long as a first one?
defaults: [_optimiser, _self_]
name: drift
batch_size: 8
length: null
calls: 3
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The tree with one task more: one file and one YAML, and no other edit."""
    files = {"bench/tasks/drift.py": TASK, "conf/task/drift.yaml": YAML}
    return tree_with(tmp_path_factory.mktemp("tree"), files)


@pytest.fixture(scope="module")
def drifted(tree):
    return ran(tree, "run.py", "task=drift", *TINY, *EAGER, "threads=1", "task.calls=2")


@pytest.mark.slow
def test_a_task_of_one_file_and_one_yaml_runs_and_leaves_its_own_section(tree, drifted):
    assert drifted.returncode == 0, drifted.stderr
    record = record_of(tree / "results")
    assert record["task"] == "drift"
    first, second = record["own"]["drift"]["seconds"]
    assert record["own"]["drift"]["ratio"] == pytest.approx(second / first)
    assert record["parameters"]["count"] > 0
    assert record["certificate"] is None


@pytest.mark.slow
def test_it_appears_in_the_help_in_the_summary_and_in_the_tables(tree, drifted):
    assert "drift" in ran(tree, "run.py", "--help").stdout
    assert "a second round" in drifted.stdout
    for words in (["results", "--section", "drift"], ["results"]):
        table = ran(tree, "-m", "bench.table", *words)
        assert table.returncode == 0, table.stderr
        assert "a second round (% of the first)" in table.stdout
    csv = ran(tree, "-m", "bench.table", "results", "--format", "csv").stdout
    assert "drift" in csv


@pytest.mark.slow
def test_its_settings_are_checked_as_others_are(tree):
    for words, said in ((["task.calls=0"], "task.calls=0"), (["task.batch_size=0"], "task.batch_size=0")):
        done = ran(tree, "run.py", "task=drift", *words)
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.slow
def test_what_it_writes_must_be_what_it_has_said(tree):
    file = tree / "bench" / "tasks" / "drift.py"
    file.write_text(TASK.replace('"ratio": second / first', '"ratio": "fast"'))
    done = ran(tree, "run.py", "task=drift", *TINY, *EAGER, "threads=1", "results_dir=other")
    assert done.returncode == 1
    assert "own.drift.ratio" in done.stdout + done.stderr
