"""conf/: every choice composes with every other, says what it is, and fits what the code knows."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from commands import CONF, composed, described

from bench.runs.check import check
from bench.runs.choices import choices, groups, help_text
from bench.workers.options import model_options, problem_at
from datasets import registry
from ssm.network import BlockOptions, mathematics

MODELS, FRAMEWORKS, EXPERIMENTS = (choices(CONF, name) for name in ("model", "framework", "experiment"))
FILES = sorted(path for path in CONF.rglob("*.yaml") if path.parent != CONF)


@pytest.fixture
def no_files(monkeypatch, tmp_path):
    """The check without its last step: what it would fetch is not this test's matter, nor how much of it there is."""
    monkeypatch.setattr(registry, "prepare", described)
    return [f"results_dir={tmp_path}"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_every_model_in_every_framework(experiment, model, no_files):
    for framework in FRAMEWORKS:
        words = [f"experiment={experiment}", f"model={model}", f"framework={framework}", *no_files]
        config = composed(*words)
        assert (config["model"]["name"], config["framework"]["name"]) == (model, framework)
        check(config)


@pytest.mark.parametrize("task", choices(CONF, "task"))
@pytest.mark.parametrize("dataset", choices(CONF, "dataset"))
def test_every_task_takes_every_data_set(dataset, task, no_files):
    checked = check(composed(f"dataset={dataset}", f"task={task}", *no_files))
    assert checked.description.name == dataset
    assert checked.problem == checked.description.problem


@pytest.mark.parametrize("task", ["train", "time", "compare", "parity"])
def test_the_demo_serves_every_task(task, no_files):
    config = composed("experiment=demo", f"task={task}", *no_files)
    assert config["task"]["name"] == task
    check(config)


def test_the_peer_experiments_are_the_published_cases():
    names = ("d_model", "n_blocks", "n")
    sizes = {}
    for name in ("time_784", "time_784_batch128", "time_16384"):
        config = composed(f"experiment={name}")
        task = config["task"]
        assert task["name"] == "time"
        sizes[name] = (task["batch_size"], task["length"], *(config["model"][key] for key in names))
    assert sizes == {
        "time_784": (16, 784, 128, 6, 64),
        "time_784_batch128": (128, 784, 128, 4, 64),
        "time_16384": (4, 16384, 64, 1, 64),
    }


@pytest.mark.parametrize("case", ["784", "784_batch128", "16384"])
def test_a_case_is_compared_at_the_size_that_it_is_timed_at(case):
    timed, compared = (composed(f"experiment={task}_{case}") for task in ("time", "compare"))
    assert timed["model"] == compared["model"]
    for name in ("batch_size", "length"):
        assert timed["task"][name] == compared["task"][name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_its_command_and_names_neither_model_nor_framework(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    package, command = text.splitlines()[:2]
    assert package == "# @package _global_"  # Hydra wants this line before any other comment
    assert command.startswith("# python run.py")
    assert f"experiment={name}" in command.split()
    assert not re.search(r"override /(model|framework)\b", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_group_files_are_short_named_for_themselves_and_explained(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25
    assert lines[0].startswith("# ")
    if path.parent.name != "experiment" and not path.stem.startswith("_"):
        assert f"name: {path.stem}" in lines


@pytest.mark.parametrize("model", MODELS)
def test_a_model_s_settings_are_all_that_its_options_know_with_the_same_defaults(model):
    settings = composed(f"model={model}")["model"]
    layer = {field.name: field.default for field in fields(mathematics(model).Options)}
    block = {field.name for field in fields(BlockOptions)}
    of_layer = set(layer) - {"d_model", "l_max"}
    assert set(settings) == of_layer | block | {"name", "d_model", "n_blocks", "encoder", "readout"}
    assert {name: settings[name] for name in of_layer} == {name: layer[name] for name in of_layer}


def test_a_configuration_starts_with_torch_s4_digits_train_and_tracks_nothing():
    config = composed()
    names = [config[group]["name"] for group in ("framework", "model", "dataset", "task")]
    assert names == ["torch", "s4", "digits", "train"]
    assert config["wandb"]["mode"] == "disabled"
    assert (config["precision"], config["seed"], config["threads"]) == ("fp32", 0, None)


def test_the_options_are_built_for_the_length_of_the_task():
    config = composed("task.length=100")
    problem = registry.describe(config["dataset"]).problem
    assert model_options(config["model"], problem_at(100, problem)).l_max == 100


def test_help_names_every_group_and_choice():
    words = set(re.split(r"[\s|=]+", help_text(CONF)))
    for group in groups(CONF):
        assert {group, *choices(CONF, group)} <= words
    assert not any(word.startswith("_") for word in words)
