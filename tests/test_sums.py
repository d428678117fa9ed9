"""Sums over very many rows in float32: of linear maps, layer norm and batch norm, against float64.

The rows are nearly the same, which is what a mean over time sends back and what near silence looks like: a sum that
adds them one after the other loses here what the bounds do not let pass.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import SIDES, Side
from flax import nnx

import models_jax.dense
import models_jax.norm
import models_torch.dense
import models_torch.norm

BATCH, LENGTH = 2, 70_001  # rows that no piece's size divides
both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)


def rows(features: int, deviation: float, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((BATCH, LENGTH, features))
    return (1.0 + deviation * drawn).astype(np.float32)


def found(side: Side, name: str, precision: str, values: dict[str, np.ndarray], x: np.ndarray, sent: np.ndarray) -> Any:
    """Output, gradients and statistics, by name, of Dense, LayerNorm or BatchNorm in training."""
    dtype = side.dtype(precision)
    package = {"torch": (models_torch.dense, models_torch.norm), "jax": (models_jax.dense, models_jax.norm)}[side.name]
    made = {"Dense": (dtype, dtype), "LayerNorm": (dtype,), "BatchNorm": (dtype, 0.9)}[name]
    module = getattr(package[0] if name == "Dense" else package[1], name)(values, *made)
    if side.name == "torch":
        u = torch.tensor(x, dtype=dtype, requires_grad=True)
        y = module.train()(u)
        y.backward(torch.tensor(sent, dtype=dtype))
        seen = {"output": y.detach(), "input": u.grad, **dict(module.named_buffers())}
        seen |= {key: value.grad for key, value in module.named_parameters()}
        return {key: value.double().numpy() for key, value in seen.items()}
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def run(params: nnx.State, x: jax.Array) -> tuple[jax.Array, nnx.State]:
        module = nnx.merge(graph, params, rest, copy=True)
        return (module(x, True) if name == "BatchNorm" else module(x)), nnx.state(module, nnx.BatchStat)

    @jax.jit
    def everything(params: nnx.State, x: jax.Array, sent: jax.Array) -> tuple:
        y, backward, statistics = jax.vjp(run, params, x, has_aux=True)
        return y, backward(sent), statistics

    y, (of_params, of_x), statistics = everything(params, jnp.asarray(x, dtype), jnp.asarray(sent, dtype))
    seen = {"output": y, "input": of_x}
    for state in (of_params, statistics):
        seen |= {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(state)}
    return {key: np.asarray(value, np.float64) for key, value in seen.items()}


def errors(side: Side, name: str, values: dict[str, np.ndarray], x: np.ndarray, sent: np.ndarray) -> dict[str, float]:
    one, exact = (found(side, name, precision, values, x, sent) for precision in ("fp32", "fp64"))
    return {key: np.linalg.norm(one[key] - exact[key]) / np.linalg.norm(exact[key]) for key in exact}


@both_sides
@pytest.mark.parametrize("inputs", [1, 3, 40])
def test_a_linear_maps_gradients(side, inputs):
    values = {"weight": np.random.default_rng(0).standard_normal((5, inputs)), "bias": np.ones(5)}
    seen = errors(side, "Dense", values, rows(inputs, 0.1, 1), rows(5, 0.1, 2))
    assert seen.pop("weight") < {"torch": 1e-6, "jax": 1.5e-7}[side.name]
    assert max(seen.values()) < 5e-7


@both_sides
def test_layer_norms_gradients(side):
    """Each sequence sends the same to all its steps, as a mean over time does, and the two nearly cancel."""
    values = {"weight": np.ones(4), "bias": np.zeros(4)}
    sent = np.random.default_rng(0).standard_normal((1, 1, 4)) * np.array([1.0, -0.99])[:, None, None]
    seen = errors(side, "LayerNorm", values, rows(4, 1.0, 1), np.repeat(sent.astype(np.float32), LENGTH, 1))
    assert seen["bias"] < 2e-4
    assert seen["weight"] < 1e-5


@both_sides
def test_batch_norms_gradients(side):
    values = {"weight": np.ones(4), "bias": np.zeros(4), "running_mean": np.zeros(4), "running_var": np.ones(4)}
    x = rows(4, 1.0, 1)
    # some of it goes with x: else the weight's gradient would cancel
    assert max(errors(side, "BatchNorm", values, x, rows(4, 0.1, 2) + x * np.float32(0.5)).values()) < 4e-6


@both_sides
def test_batch_norm_of_what_hardly_varies(side):
    """The deviation is a thousandth of the mean: 5e-5 is what rounding the input's mean costs."""
    values = {"weight": np.ones(3), "bias": np.zeros(3), "running_mean": np.zeros(3), "running_var": np.ones(3)}
    x = rows(3, 0.001, 1)
    seen = errors(side, "BatchNorm", values, x, (x - 1.0) * np.float32(1000.0) + rows(3, 0.1, 2))
    assert max(seen.values()) < 2e-4
    assert seen["running_mean"] < 2e-7
    assert seen["bias"] < 1e-6
