"""Sequences that end early: what follows a sequence changes nothing of it, in evaluation and in training.

Both frameworks are held to the same values here; for pairs of documents tests/test_same_work.py does it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import PADDED, SIDES, TOKENS, label, largest_error, small_network

from datasets.data import PADDING
from models_jax import masks as jax_masks
from models_torch import masks as torch_masks
from ssm.network import initial, network_options

LENGTHS = (20, 13, 4, 1, 0)  # own steps; with 3 and 17 steps of padding more, groups of 2 and 3 end elsewhere
MORE = (0, 3, 17)
BOUND = {"fp64": 1e-9, "fp32": 1e-5}
ONE = {**TOKENS, "n_blocks": 1}  # compiles faster
OWN = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)[..., None]


def ragged(options, lengths, array_length, seed=0):
    """Tokens (len(lengths), array_length): the same sequences, whatever follows them."""
    tokens = np.random.default_rng(seed).integers(1, options.d_input, (len(lengths), max(lengths)))
    filled = np.full((len(lengths), array_length), PADDING)
    for row, length in enumerate(lengths):
        filled[row, :length] = tokens[row, :length]
    return filled


def seen(side, options, x, precision="fp64"):
    """Logits, loss, gradients and statistics of a training pass."""
    whole = side.loss_and_gradients(options, x, np.arange(len(x)) % options.d_output, precision)
    return {name: value for name, value in whole.items() if not name.startswith("output.")}


def assert_same(found, truth, bound):
    """Each tensor within the bound of its own size, or of all gradients together where it is zero but for round-off."""
    size = np.sqrt(sum(np.sum(value**2) for name, value in truth.items() if name.startswith("gradient.")))
    for name, value in truth.items():
        scale = max(np.linalg.norm(value), size * (1e-5 if bound < 1e-6 else 1e-2))
        assert np.linalg.norm(found[name] - value) / scale < bound, name


def with_row(values, row):
    """Initial values whose embedding of the padding is ``row``."""
    weight = values["encoder.weight"].copy()
    weight[PADDING] = row
    return {**values, "encoder.weight": weight}


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_any_token_can_be_the_padding_and_without_one_all_are_symbols(side):
    """Tokens turned by five, the embedding's rows with them: another padding, the same network."""
    options = small_network("s5", ONE)
    x = ragged(options, (20, 7, 1), 29)
    values = initial(options, 3)
    turned = {**values, "encoder.weight": np.roll(values["encoder.weight"], 5, 0)}
    other = small_network("s5", {**ONE, "padding": PADDING + 5})
    logits = side.network(options, values)(x)
    np.testing.assert_allclose(side.network(other, turned)((x + 5) % options.d_input), logits, rtol=1e-12)
    without = small_network("s5", {**ONE, "padding": None})
    moved = side.network(without, with_row(values, values["encoder.weight"][PADDING] + 1.0))(x)
    assert largest_error(moved, side.network(without, values)(x)) > 1e-3  # a symbol like others


@pytest.mark.parametrize("case", PADDED, ids=label)
def test_what_follows_a_sequence_changes_nothing_in_training(case):
    """In PyTorch at three array lengths; in JAX, which compiles each, at the longest, so that both agree as well."""
    model, settings = case
    options = small_network(model, settings, length=max(LENGTHS) + max(MORE))
    given = [ragged(options, LENGTHS, max(LENGTHS) + rest) for rest in MORE]
    torch_side, jax_side = SIDES
    for precision, bound in BOUND.items():
        first, *others = (seen(torch_side, options, x, precision) for x in given)
        assert all(np.isfinite(value).all() for value in first.values())
        if precision == "fp64":
            others.append(seen(jax_side, options, given[-1], precision))
        for other in others:
            assert_same(other, first, bound)


@pytest.mark.parametrize("model,both", [("s4", False), ("s4", True), ("dss", True), ("s5", True)])
@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_what_follows_a_sequence_changes_nothing_whatever_is_combined(model, both, norm):
    for pooling, readout in itertools.product(("none", "avg_2", "max_3"), ("mean", "last", "first")):
        settings = {"norm": norm, "pooling": pooling, "readout": readout, "bidirectional": both, **TOKENS}
        options = small_network(model, settings, length=max(LENGTHS) + max(MORE))
        for training in (False, True) if norm == "batch" else (False,):
            logits = SIDES[0].network(options, initial(options, 3), training)
            first, *others = (logits(ragged(options, LENGTHS, max(LENGTHS) + rest)) for rest in MORE)
            assert np.isfinite(first).all()
            for other in others:
                assert largest_error(other, first) < 1e-9, (pooling, readout, training)


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("model,readout", [("s4", "mean"), ("dss", "last")])
def test_a_padded_sequence_is_what_it_is_alone(model, readout, side):
    """The truth without any mask: an unpadded network that is given each sequence by itself."""
    options = small_network(model, {"readout": readout, "bidirectional": True, **TOKENS})
    padded, whole = (side.network(chosen, initial(options, 3)) for chosen in (options, replace(options, padding=None)))
    x = ragged(options, (29, 7), 29)
    alone = np.concatenate([whole(row[None, :length]) for row, length in zip(x, (29, 7), strict=True)])
    assert largest_error(padded(x), alone) < 1e-10
    assert largest_error(whole(x), alone) > 1e-3  # unmasked, the padding does change them


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_without_padding_a_padded_network_is_the_unpadded_one(side):
    options = small_network("dss", {"norm": "batch", "pooling": "max_2", **ONE}, length=28)
    assert options.lengths == replace(options, padding=None).lengths
    x = ragged(options, (28, 28, 28), 28)
    found, truth = (seen(side, chosen, x) for chosen in (options, replace(options, padding=None)))
    assert found.keys() == truth.keys()
    assert_same(found, truth, 1e-10)


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_how_padding_is_embedded_changes_nothing(side):
    options = small_network("s5", {"norm": "batch", "norm_position": "both", "bidirectional": True, **ONE})
    x, values = ragged(options, (29, 12, 1), 29), initial(options, 3)
    one, other = (side.network(options, with_row(values, row), training=True)(x) for row in (0.0, 50.0))
    assert largest_error(other, one) < 1e-11


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_batch_of_nothing_is_finite_and_its_mean_is_zero(side):
    options = small_network("s4", {"norm": "batch", "pooling": "max_2", "bidirectional": True, **ONE})
    found = seen(side, options, np.full((2, 29), PADDING))
    assert all(np.isfinite(value).all() for value in found.values())
    bias = initial(options, 3)["decoder.bias"]
    np.testing.assert_allclose(found["logits"], np.stack([bias, bias]), rtol=1e-12)


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_batch_norm_counts_own_steps_alone(side):
    """Before the first layer stands the embedding, whose mean and unbiased variance NumPy knows."""
    options = small_network("s5", {"norm": "batch", "norm_position": "pre", "norm_momentum": 0.75, **ONE})
    x = ragged(options, (29, 12, 1), 29)
    found = seen(side, options, x)
    rows = initial(options, 3)["encoder.weight"][x[x != PADDING]]
    np.testing.assert_allclose(found["statistic.blocks.0.norm_pre.running_mean"], 0.25 * rows.mean(0), rtol=1e-12)
    variance = 0.75 + 0.25 * rows.var(0, ddof=1)
    np.testing.assert_allclose(found["statistic.blocks.0.norm_pre.running_var"], variance, rtol=1e-12)


@pytest.mark.parametrize(
    "masks,put", [(torch_masks, torch.tensor), (jax_masks, jnp.asarray)], ids=[side.name for side in SIDES]
)
def test_masks_against_numpy(masks, put):
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    mask, own = put(OWN.astype(np.float64)), OWN[..., 0]
    tokens = np.where(own, 7, PADDING)
    assert np.array_equal(masks.own_steps(put(tokens), PADDING, mask.dtype), OWN)
    assert np.array_equal(masks.own_steps(put(tokens.reshape(2, 2, 5)), PADDING, mask.dtype), OWN)
    means = [row[valid].mean(0) if valid.any() else np.zeros(3) for row, valid in zip(x, own, strict=True)]
    np.testing.assert_allclose(masks.mean(put(x), mask, 1), means, rtol=1e-14)
    np.testing.assert_allclose(masks.mean(put(x), mask, (0, 1)), x[own].mean(0), rtol=1e-14)
    assert np.array_equal(masks.last(put(x), mask), x[np.arange(4), [4, 2, 0, 0]])
    groups = np.asarray(masks.in_groups(put(x), 2))
    assert np.array_equal(groups.reshape(4, 6, 3)[:, :5], x)
    assert not groups[:, -1, 1].any()
    assert np.array_equal(np.asarray(masks.pooled(mask, 2))[..., 0], [[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"padding": -1, "encoder": "embedding"}, r"padding=-1: must be a whole number of at least 0"),
        ({"padding": 3, "encoder": "embedding"}, r"padding=3: must be a whole number of at most 2"),
        ({"padding": 0}, r"padding=0: the end.*encoder=linear.*set encoder=embedding"),
        ({"documents": 0}, r"documents=0: must be a whole number of at least 1"),
        ({"documents": 3}, r"documents=3: must be 1, or 2"),
        ({"documents": 2, "readout": "none"}, r"documents=2: the read-outs.*readout=none.*set readout=mean"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        network_options("s4", 3, 10, 32, settings)


def test_groups_of_what_is_left():
    options = small_network("s4", {"documents": 2, "pooling": "avg_2", **TOKENS})
    assert options.lengths == (29, 15)  # a rest is a group: unpadded, it is dropped
    assert small_network("s4", {"pooling": "avg_2"}).lengths == (29, 14)
