"""Two documents for one target: the head, what refuses them, and what the data set says of its sequences.

That both frameworks agree on pairs is tests/test_same_work.py's matter.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import SIDES, TOKENS, largest_error, padded_tokens, small_batch, small_network
from commands import ROOT, composed

from bench.framework import ModelSpec, OptimiserSpec
from bench.runs import certify
from bench.runs.check import Checked, model_options
from bench.runs.run import Run
from bench.runs.tracking import Tracker
from bench.store.records import new_record
from bench.tasks import parity
from bench.tasks import registry as tasks
from datasets.data import Description
from settings.problem import Problem
from ssm.network import initial, ssm_parameter_names
from ssm.operations import operations


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_pair_is_two_documents_and_a_head(side):
    """Logits from the read-outs that a network for one document gives, by NumPy."""
    options = small_network("dss", {"documents": 2, "readout": "last", "n_blocks": 1, **TOKENS})
    x, _ = small_batch(options, np.random.default_rng(1))
    values = initial(options, 3)
    names = {"weight": np.eye(options.d_model), "bias": np.zeros(options.d_model)}
    single = replace(options, documents=1, d_output=options.d_model)
    as_it_is = {**values, **{f"decoder.{name}": value for name, value in names.items()}}
    a, b = (side.network(single, as_it_is)(x[:, index]) for index in (0, 1))
    hidden = np.concatenate([a, b, a - b, a * b], -1) @ values["head.weight"].T + values["head.bias"]
    hidden = torch.nn.functional.gelu(torch.tensor(hidden)).numpy()
    truth = hidden @ values["decoder.weight"].T + values["decoder.bias"]
    assert largest_error(side.network(options, values)(x), truth) < 1e-11


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_pair_has_no_step_form(side):
    options = small_network("s5", {"documents": 2, **TOKENS})
    network = importlib.import_module(f"models_{side.name}.network")
    with pytest.raises(ValueError, match=r"documents=2: a step at a time reads one sequence.*whole sequences"):
        network.SequenceModel(options, initial(options, 0), side.dtype("fp64")).discretised()


@pytest.mark.parametrize("framework,compile", [("torch", "none"), ("jax", "default")])
def test_a_trainer_learns_from_padded_pairs(framework, compile, settings_as_before):
    """The adapter's protocol on (B, 2, L) tokens: the loss starts as traced, falls, and nothing recompiles."""
    options = small_network("s5", {"documents": 2, "norm": "batch", "n_blocks": 1, **TOKENS}, length=12)
    spec = ModelSpec("s5", options, initial(options, 0), ssm_parameter_names(options))
    rng = np.random.default_rng(2)
    x, targets = padded_tokens(options, rng, (8, 2, 12)).astype(np.int32), rng.integers(0, 5, 8)
    adapter = importlib.import_module(f"models_{framework}.adapter").adapter("cpu", "fp32", 1, compile)
    trainer = adapter.build(spec, OptimiserSpec(rate=1e-2), 0)
    held = trainer.hold(x, targets)
    first = trainer.trace(held)
    batch = trainer.take(held, np.arange(8))
    losses = [trainer.read(trainer.train_step(batch, 1.0))[0]]
    programs = trainer.compilations()
    losses += [trainer.read(trainer.train_step(batch, 1.0))[0] for _ in range(29)]
    assert trainer.compilations() == programs
    assert losses[0] == pytest.approx(float(first["loss"]), rel=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    loss, correct = trainer.read(trainer.evaluate(batch, 8))
    assert np.isfinite(loss)
    assert 0 <= correct <= 8
    assert first["output.encoder"].shape == (16, 12, 6)
    with pytest.raises(ValueError, match="documents=2"):
        trainer.start_recurrence(8)


def test_a_head_leaves_the_other_initial_values_as_they_are():
    one, two = (initial(small_network("s4", {"documents": count}), 5) for count in (1, 2))
    assert two.keys() - one.keys() == {"head.weight", "head.bias"}
    assert two["head.weight"].shape == (6, 24)
    assert np.abs(two["head.weight"]).max() <= 24**-0.5
    assert all(np.array_equal(two[name], value) for name, value in one.items())


def test_operations_count_both_documents_and_the_head():
    one, two = (small_network("s5", {"documents": count}) for count in (1, 2))
    decoder, head = 2 * 3 * 6 * 5, 2 * 3 * 24 * 6
    alone, pair = operations(one, 3, 0), operations(two, 3, 0)
    assert pair.forward_flops - decoder - head == pytest.approx(2 * (alone.forward_flops - decoder))
    assert pair.forward_bytes == 2 * alone.forward_bytes


@pytest.fixture
def pairs():
    counts = {"train": 8, "validation": 2, "test": 2}
    return Description("pairs", Problem(32, 2, vocabulary=50, padding=0, documents=2), counts)


def test_the_data_set_says_what_is_padded_and_how_many_documents(pairs):
    model = {**composed()["model"], "encoder": "embedding"}
    options = model_options(model, pairs.problem)
    assert (options.padding, options.documents) == (0, 2)
    options = model_options(model, replace(pairs.problem, padding=None, documents=1))
    assert (options.padding, options.documents) == (None, 1)
    with pytest.raises(ValueError, match=r"model\.documents=1: is the data set's to say"):
        model_options({**model, "documents": 1}, pairs.problem)


def test_a_training_in_parts_has_the_certificate_of_one_in_a_whole(pairs, tmp_path):
    """A certificate's few sequences have no such number of parts."""
    keys = []
    for words in ([], ["task.batch_size=64", "task.optimiser.accumulate=8"]):
        config = composed("model.encoder=embedding", *words)
        options = model_options(config["model"], pairs.problem)
        checked = Checked(pairs, tasks.settings(config["task"]), pairs.problem, options, 1, "cpu")
        context = Run(config, checked, ROOT, new_record(config), "").context(Tracker(config["wandb"], tmp_path))
        keys.append(parity.key(context, certify.comparison(context)))
    assert keys[0] == keys[1]


def test_a_certificate_is_for_its_kind_of_data(pairs, tmp_path):
    config = composed("model.encoder=embedding")
    own = pairs.problem
    kinds = [own, replace(own, padding=None), replace(own, documents=1), own]
    keys = []
    for problem in kinds:
        options = model_options(config["model"], problem)
        checked = Checked(pairs, tasks.settings(config["task"]), problem, options, 1, "cpu")
        context = Run(config, checked, ROOT, new_record(config), "").context(Tracker(config["wandb"], tmp_path))
        keys.append(parity.key(context, certify.comparison(context)))
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3
