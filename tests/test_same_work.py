"""Both frameworks compute the same thing: outputs, loss and every gradient, for every option; and dropout's own rules.

The process-isolated form of this proof, with optimiser steps, is the certificate (tests/test_parity.py).
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import LAYERS, NETWORKS, PAIRS, SIDES, label, parameters, small_batch, small_network

import models_jax
import models_torch
from ssm.network import initial

CASES = [(model, {**settings, "n_blocks": 1}) for model, settings in LAYERS]
CASES += [(model, settings) for model, settings in itertools.product(("s4", "dss", "s5"), NETWORKS) if settings]
CASES += PAIRS  # padded sequences: tests/test_padding.py
# In float32, compiled as runs compile it: each algorithm of each model, both ways; what is around a layer, with S5.
AS_RUN = list(
    {(m, s.get("algorithm"), s.get("bidirectional")): (m, s) for m, s in reversed(CASES[: len(LAYERS)])}.values()
)
AS_RUN += [(model, settings) for model, settings in CASES[len(LAYERS) :] if model == "s5"]
BOUND = {"fp64": 1e-9, "fp32": 1e-4}
ROUND_OFF = {"fp64": 1e-5, "fp32": 1e-2}  # share of the whole below which a tensor counts as zero


def relative(a: np.ndarray, b: np.ndarray, floor: float) -> float:
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b), floor))


@pytest.mark.parametrize("case", CASES, ids=label)
def test_outputs_loss_and_gradients_agree(case):
    model, settings = case
    options = small_network(model, settings)
    x, targets = small_batch(options, np.random.default_rng(4))
    for precision, bound in BOUND.items():
        if precision == "fp32" and case not in AS_RUN:  # the other options are algebra, which float64 tells best
            continue
        quick = precision == "fp64"
        torch_side, jax_side = (side.loss_and_gradients(options, x, targets, precision, quick) for side in SIDES)
        assert torch_side.keys() == jax_side.keys()
        for name, value in torch_side.items():
            # what is zero by mathematics (the gradient of a bias before a norm, the mean after one) is round-off in
            # both: it is held against all gradients, or all statistics, together
            kind = name.partition(".")[0]
            alike = [other for key, other in torch_side.items() if key.partition(".")[0] == kind]
            floor = ROUND_OFF[precision] * np.sqrt(sum(np.sum(other**2) for other in alike))
            assert relative(value, jax_side[name], floor) < bound, (name, precision)


@pytest.mark.parametrize("model", ["s4", "dss", "s5"])
def test_initial_values_are_identical_and_names_match(model):
    options = small_network(model, {"norm": "batch", "bidirectional": True})
    values = initial(options, 0)
    torch_model = models_torch.network.SequenceModel(options, values, torch.float64)
    jax_model = models_jax.network.SequenceModel(options, values, jnp.float64)
    held = parameters(torch_model)
    assert held.keys() == parameters(jax_model).keys()
    assert held.keys() == {name for name in values if "running" not in name}
    for name, value in parameters(jax_model).items():
        assert np.array_equal(value, values[name])
        assert np.array_equal(value, held[name])


def test_library_classes_draw_the_same_values_from_a_seed():
    for name in models_torch.__all__:
        sizes = (6,) if not name.endswith("Model") else (2, 6, 5, 2)
        one = getattr(models_torch, name)(*sizes, n=4, l_max=12, seed=9)
        other = getattr(models_jax, name)(*sizes, n=4, l_max=12, seed=9)
        held = parameters(one)
        assert held
        for key, value in parameters(other).items():
            assert np.array_equal(value, held[key]), (name, key)


def dropped(side, settings, x, training=True, seed=0):
    """One block's position-wise part on ones: what dropout does, with the mixing left out."""
    settings = {"mixing": "none", "activation": "identity", **settings}
    if side.name == "torch":
        torch.manual_seed(seed)
        block = models_torch.DSSBlock(x.shape[-1], n=2, l_max=4, **settings).train(training)
        return block.mix_features(torch.tensor(x)).detach().numpy()
    block = models_jax.DSSBlock(x.shape[-1], n=2, l_max=4, **settings)
    return np.asarray(block.mix_features(jnp.asarray(x), training, jax.random.key(seed)))


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("tied", [False, True])
def test_dropout_keeps_its_share_scales_what_stays_and_ties_over_time(side, tied):
    x = np.ones((40, 50, 30), np.float32)
    y = dropped(side, {"dropout": 0.3, "dropout_tied": tied}, x)
    np.testing.assert_allclose(np.unique(y), [0.0, 1 / 0.7], rtol=1e-6)
    masks = y.shape[0] * y.shape[2] * (1 if tied else y.shape[1])
    assert abs((y > 0).mean() - 0.7) < 5 * (0.21 / masks) ** 0.5
    assert (np.ptp(y, axis=1).max() == 0) == tied
    assert np.array_equal(dropped(side, {"dropout": 0.3}, x, training=False), x)
    assert not np.array_equal(y, dropped(side, {"dropout": 0.3, "dropout_tied": tied}, x, seed=1))


def test_jax_refuses_to_train_with_dropout_and_no_key():
    block = models_jax.DSSBlock(4, n=2, l_max=4, dropout=0.5)
    with pytest.raises(ValueError, match=r"dropout=0\.5.*key"):
        block(jnp.zeros((1, 4, 4)), training=True)
