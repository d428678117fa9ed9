"""The library, called without a configuration: sizes, seeds and inputs that make no sense are refused by name, in both
frameworks and in layers, blocks and models; NumPy's numbers are as good as Python's.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import models_jax
import models_torch
from models_jax.adapter import dropout_key
from models_torch.adapter import dropout_seed
from ssm.dss import ALGORITHMS as DSS_ALGORITHMS
from ssm.s4 import ALGORITHMS as S4_ALGORITHMS
from ssm.s5 import ALGORITHMS as S5_ALGORITHMS

ALGORITHMS = {"S4": S4_ALGORITHMS, "DSS": DSS_ALGORITHMS["exp"], "S5": S5_ALGORITHMS}
FRAMEWORKS = {
    "torch": (models_torch, torch.zeros),
    "jax": (models_jax, functools.partial(jnp.zeros, dtype=jnp.float32)),
}
KINDS = ("Layer", "Block", "Model")
SIZES = {"d_model": 4, "n": 4, "l_max": 8}
OWN = {"Model": {"d_input": 2, "d_output": 3, "n_blocks": 1}}
EACH = [(framework, model, kind) for framework in FRAMEWORKS for model in ALGORITHMS for kind in KINDS]
SIZE_NAMES = {kind: (*SIZES, *OWN.get(kind, {})) for kind in KINDS}


def build(framework: str, model: str, kind: str, **settings):
    """A small layer, block or model, and a function of a shape (B, L) that calls it with zeros."""
    package, zeros = FRAMEWORKS[framework]
    made = getattr(package, model + kind)(**{**SIZES, **OWN.get(kind, {}), **settings})
    return made, lambda *shape: made(zeros((*shape, 2 if kind == "Model" else 4)))


@pytest.mark.parametrize("framework, model, kind", EACH)
def test_an_empty_batch_and_an_empty_sequence_are_refused_with_the_shape(framework, model, kind):
    for algorithm in ALGORITHMS[model]:
        _, call = build(framework, model, kind, algorithm=algorithm)
        for shape in ((0, 8), (2, 0), (0, 0)):
            with pytest.raises(ValueError, match=rf"x\.shape=\({shape[0]}, {shape[1]}, .*: the input is empty; give"):
                call(*shape)
        assert call(1, 1).shape[0] == 1  # the least that is one


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_sequence_shorter_than_what_is_pooled_gives_no_nan(framework):
    _, call = build(framework, "S4", "Model", pooling="avg_4")
    with pytest.raises(ValueError, match=r"pooling='avg_4': the block gets 3 steps, fewer than it pools"):
        call(1, 3)
    assert np.isfinite(np.asarray(call(1, 4).tolist())).all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_step_form_wants_a_sequence(framework):
    made, _ = build(framework, "S5", "Model")
    for batch in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match=rf"batch={batch}: must be a whole number of at least 1"):
            made.initial_state(batch)


@pytest.mark.parametrize("framework, model, kind", EACH)
def test_no_size_but_a_whole_number_within_reach_is_taken(framework, model, kind):
    for name in SIZE_NAMES[kind]:
        for value in (0, -1, 2.5, 4.0, True, None, "4", [4], np.float64(4), np.bool_(True), 10**12):
            with pytest.raises(
                ValueError, match=rf"^{name}=.*: must be a whole number of at (least|most) \d+; set {name}="
            ):
                build(framework, model, kind, **{name: value})


@pytest.mark.parametrize("framework, model, kind", EACH)
def test_no_seed_is_taken_that_a_run_could_not_have(framework, model, kind):
    for seed in (-1, 2**63, 10**30, 1.5, True, None, "1"):
        with pytest.raises(ValueError, match=r"^seed=.*: must be a whole number of at (least|most) \d+; set seed="):
            build(framework, model, kind, seed=seed)
    build(framework, model, kind, seed=2**63 - 1)


@pytest.mark.parametrize("framework, model, kind", EACH)
def test_numpy_s_numbers_are_python_s(framework, model, kind):
    """int8 among them: 16 * 16 would wrap around to 0."""
    sizes = {name: 4 for name in SIZE_NAMES[kind]} | {"d_model": 16, "n": 16}
    settings = {"seed": 5, "dt_max": 0.0625}
    plain = build(framework, model, kind, **sizes, **settings)[0]
    numpy = {name: np.int8(value) for name, value in sizes.items()} | {
        "seed": np.uint64(5),
        "dt_max": np.float32(0.0625),
    }
    made = build(framework, model, kind, **numpy)[0]
    assert made.options == plain.options
    shapes = functools.partial(jax.tree.map, jnp.shape)
    values = (lambda module: [value.detach() for value in module.parameters()]) if framework == "torch" else leaves
    for one, other in zip(values(made), values(plain), strict=True):
        assert shapes(one) == shapes(other)
        assert np.array_equal(np.asarray(one), np.asarray(other))


def leaves(module) -> list:
    from flax import nnx

    return jax.tree.leaves(nnx.state(module, nnx.Param))


def test_seeds_that_differ_beyond_32_bits_give_different_dropout():
    seeds = (0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**63 - 1)
    for small in seeds[:3]:  # as the frameworks themselves have it
        assert np.array_equal(jax.random.key_data(dropout_key(small)), jax.random.key_data(jax.random.key(small)))
        assert dropout_seed(small) == small
    keys = {tuple(jax.random.key_data(dropout_key(seed)).tolist()) for seed in seeds}
    drawn = {
        tuple(torch.rand(4, generator=torch.Generator().manual_seed(dropout_seed(seed))).tolist()) for seed in seeds
    }
    assert len(keys) == len(drawn) == len(seeds)
