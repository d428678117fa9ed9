"""Sums over very many rows in float32: of linear maps, layer norm and batch norm, against NumPy in float64.

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
MOMENTUM = 0.9
Arrays = dict[str, np.ndarray]
both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)


def rows(features: int, deviation: float, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((BATCH, LENGTH, features))
    return (1.0 + deviation * drawn).astype(np.float32)


def of_a_norm(features: int, statistics: bool) -> Arrays:
    values = {"weight": np.linspace(0.5, 2.0, features), "bias": np.zeros(features)}
    return values | ({"running_mean": np.zeros(features), "running_var": np.ones(features)} if statistics else {})


def found(side: Side, name: str, values: Arrays, x: np.ndarray, sent: np.ndarray, mask: np.ndarray | None) -> Arrays:
    """Output, gradients and statistics, by name, of Dense, LayerNorm or BatchNorm in training, in float32."""
    package = {"torch": (models_torch.dense, models_torch.norm), "jax": (models_jax.dense, models_jax.norm)}[side.name]
    dtype = side.dtype("fp32")
    made = {"Dense": (dtype, dtype), "LayerNorm": (dtype,), "BatchNorm": (dtype, MOMENTUM)}[name]
    module = getattr(package[0] if name == "Dense" else package[1], name)(values, *made)
    seen: dict[str, Any]
    if side.name == "torch":
        u = torch.tensor(x, requires_grad=True)
        y = module.train()(u) if mask is None else module.train()(u, torch.tensor(mask))
        y.backward(torch.tensor(sent))
        seen = {"output": y.detach(), "input": u.grad, **dict(module.named_buffers())}
        seen |= {key: value.grad for key, value in module.named_parameters()}
        return {key: value.double().numpy() for key, value in seen.items()}
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def run(params: nnx.State, x: jax.Array) -> tuple[jax.Array, nnx.State]:
        module = nnx.merge(graph, params, rest, copy=True)
        y = module(x, True, mask) if name == "BatchNorm" else module(x)
        return y, nnx.state(module, nnx.BatchStat)

    @jax.jit
    def everything(params: nnx.State, x: jax.Array, sent: jax.Array) -> tuple:
        y, backward, statistics = jax.vjp(run, params, x, has_aux=True)
        return y, backward(sent), statistics

    y, (of_params, of_x), statistics = everything(params, jnp.asarray(x), jnp.asarray(sent))
    seen = {"output": y, "input": of_x}
    for state in (of_params, statistics):
        seen |= {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(state)}
    return {key: np.asarray(value, np.float64) for key, value in seen.items()}


def exact_linear(values: Arrays, x: np.ndarray, sent: np.ndarray) -> Arrays:
    weight, s, u = values["weight"], sent.reshape(-1, sent.shape[-1]), x.reshape(-1, x.shape[-1])
    return {"output": x @ weight.T + values["bias"], "input": sent @ weight, "weight": s.T @ u, "bias": s.sum(0)}


def exact_norm(values: Arrays, x: np.ndarray, sent: np.ndarray, axis: int | tuple[int, ...]) -> Arrays:
    """Zero mean and unit variance over ``axis``; batch norm, of axes 0 and 1 or of a list of rows, has statistics."""
    centred = x - x.mean(axis, keepdims=True)
    scale = 1.0 / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    y, g = centred * scale, sent * values["weight"]
    d_x = scale * (g - g.mean(axis, keepdims=True) - y * (g * y).mean(axis, keepdims=True))
    over = tuple(range(x.ndim - 1))
    seen = {"output": y * values["weight"] + values["bias"], "input": d_x}
    seen |= {"weight": (sent * y).sum(over), "bias": sent.sum(over)}
    if "running_mean" in values:
        seen["running_mean"] = (1 - MOMENTUM) * x.mean(over)
        seen["running_var"] = MOMENTUM + (1 - MOMENTUM) * x.var(over, ddof=1)
    return seen


def errors(made: Arrays, truth: Arrays) -> dict[str, float]:
    assert made.keys() == truth.keys()
    return {key: float(np.linalg.norm(made[key] - truth[key]) / np.linalg.norm(truth[key])) for key in truth}


def in_float64(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


@both_sides
@pytest.mark.parametrize("inputs", [1, 3, 40])
def test_a_linear_maps_gradients(side, inputs):
    weight = np.random.default_rng(0).standard_normal((5, inputs)).astype(np.float32).astype(np.float64)
    values, x, sent = {"weight": weight, "bias": np.ones(5)}, rows(inputs, 0.1, 1), rows(5, 0.1, 2)
    seen = errors(found(side, "Dense", values, x, sent, None), exact_linear(values, *in_float64(x, sent)))
    assert seen.pop("weight") < {"torch": 1e-6, "jax": 1.5e-7}[side.name]
    assert max(seen.values()) < 5e-7


@both_sides
def test_layer_norms_gradients(side):
    """Each sequence sends the same to all its steps, as a mean over time does, and the two nearly cancel."""
    sent = np.random.default_rng(0).standard_normal((1, 1, 4)) * np.array([1.0, -0.99])[:, None, None]
    values, x, sent = of_a_norm(4, False), rows(4, 1.0, 1), np.repeat(sent.astype(np.float32), LENGTH, 1)
    seen = errors(found(side, "LayerNorm", values, x, sent, None), exact_norm(values, *in_float64(x, sent), axis=-1))
    assert seen["bias"] < 2e-4  # one row after the other: 1.3e-3
    assert seen["weight"] < 1e-5


@both_sides
def test_batch_norms_gradients(side):
    values, x = of_a_norm(4, True), rows(4, 1.0, 1)
    sent = rows(4, 0.1, 2) + x * np.float32(0.5)  # some of it goes with x: else the weight's gradient would cancel
    truth = exact_norm(values, *in_float64(x, sent), axis=(0, 1))
    assert max(errors(found(side, "BatchNorm", values, x, sent, None), truth).values()) < 4e-6


@both_sides
def test_batch_norm_of_what_hardly_varies(side):
    """The deviation is a thousandth of the mean: 5e-5 is what rounding the input's mean costs."""
    values, x = of_a_norm(3, True), rows(3, 0.001, 1)
    sent = (x - 1.0) * np.float32(1000.0) + rows(3, 0.1, 2)
    truth = exact_norm(values, *in_float64(x, sent), axis=(0, 1))
    seen = errors(found(side, "BatchNorm", values, x, sent, None), truth)
    assert max(seen.values()) < 2e-4
    assert seen["running_mean"] < 2e-7
    assert seen["bias"] < 1e-6


@both_sides
def test_batch_norm_of_sequences_with_padding(side):
    values, x, sent = of_a_norm(4, True), rows(4, 1.0, 1), rows(4, 0.1, 2)
    mask = (np.arange(LENGTH) < np.array([[LENGTH], [50_000]])).astype(np.float32)[..., None]
    sent = (sent + x * np.float32(0.5)) * mask
    own = mask[..., 0] > 0
    made = found(side, "BatchNorm", values, x, sent, mask)
    assert np.abs(made["input"][~own]).max() == 0.0
    made |= {key: made[key][own] for key in ("output", "input")}
    truth = exact_norm(values, *in_float64(x[own], sent[own]), axis=0)
    assert max(errors(made, truth).values()) < 4e-6
