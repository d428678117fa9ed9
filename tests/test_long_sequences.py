"""float32 at 16,384 steps against the exact forms in float64, with steps dt from 1e-3 to 1e-1 side by side.

Kernels, outputs and gradients, each within a stated share of the largest value. D is zero throughout: the skip
connection, which is exact, would otherwise set the scale and hide the error of a channel with a small kernel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import SIDES, Side, largest_error
from flax import nnx

from ssm.network import mathematics

LENGTH = 16_384
BATCH, FEATURES, STATES = 2, 8, 64
VALUE_BOUND = 2e-4
GRADIENT_BOUND = 1e-3

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "s4": ("s4", {}),
    "dss-exp": ("dss", {}),
    "dss-softmax": ("dss", {"variant": "softmax"}),
    "s5": ("s5", {}),
}
WITH_KERNELS = [name for name in CASES if name != "s5"]

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)


def in_float32(values: np.ndarray) -> np.ndarray:
    """Rounded to what float32 holds, as float64: layer and exact form then start from the same numbers."""
    return values.astype(np.float32).astype(np.float64)


def options(name: str) -> Any:
    model, settings = CASES[name]
    return mathematics(model).Options(FEATURES, STATES, LENGTH, **settings)


@cache
def values(name: str) -> dict[str, np.ndarray]:
    """Initial parameters with log_dt on a grid over the whole range and D = 0."""
    rng = np.random.default_rng(11)
    drawn = mathematics(CASES[name][0]).initial(options(name), rng)
    grid = np.linspace(np.log(1e-3), np.log(1e-1), len(drawn["log_dt"]))
    # S5 has a step a state: shuffled, lest the slow states are all of low frequency
    drawn |= {"log_dt": rng.permutation(grid), "D": np.zeros(FEATURES)}
    return {key: in_float32(value) for key, value in drawn.items()}


@cache
def signal(seed: int) -> np.ndarray:
    return in_float32(np.random.default_rng(seed).standard_normal((BATCH, LENGTH, FEATURES)))


def impulses(first: np.ndarray) -> np.ndarray:
    """(B, H) at the first step, then 0: (B, L, H)."""
    u = np.zeros((len(first), LENGTH, FEATURES))
    u[:, 0] = first
    return u


def exact(name: str, u: np.ndarray) -> np.ndarray:
    return mathematics(CASES[name][0]).recurrence(options(name), values(name), u)


@cache
def exact_kernels(name: str) -> np.ndarray:
    """(H, L), the response to an impulse in every channel at once: the same numbers as ssm.<model>.kernels.

    Stepped by the recurrence, because ssm.s4.kernels calls BLAS at every step, and handing 16,384 times a few small
    products to its threads takes far longer than the products (7 s instead of 0.2 s on two busy cores).
    """
    return exact(name, impulses(np.ones((1, FEATURES))))[0].T


@cache
def exact_output(name: str) -> np.ndarray:
    return exact(name, signal(1))


@cache
def exact_s5_response() -> np.ndarray:
    return exact("s5", impulses(np.eye(FEATURES)))


def layer(side: Side, name: str, precision: str) -> Any:
    model, settings = CASES[name]
    return side.layer(model, FEATURES, STATES, LENGTH, precision, values=values(name), **settings)


def gradients(side: Side, layer: Any, u: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Of mean(weights * output), by parameter, and by "u" for the input."""
    if side.name == "torch":
        x, w = (torch.tensor(array, dtype=layer.D.dtype) for array in (u, weights))
        (w * layer(x.requires_grad_())).mean().backward()
        found = {name: parameter.grad for name, parameter in layer.named_parameters()} | {"u": x.grad}
        return {name: gradient.double().numpy() for name, gradient in found.items()}

    graph, params = nnx.split(layer, nnx.Param)

    def loss(params: Any, x: jax.Array, w: jax.Array) -> jax.Array:
        return (w * nnx.merge(graph, params)(x)).mean()

    x, w = (jnp.asarray(array, layer.D[...].dtype) for array in (u, weights))
    of_params, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x, w)
    found = {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(of_params)} | {"u": of_x}
    return {name: np.asarray(gradient, np.float64) for name, gradient in found.items()}


def errors_along(axis: int, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """max |found - truth| / max |truth| along ``axis``, a figure for each of the other indices."""
    assert found.shape == truth.shape
    return np.abs(found - truth).max(axis) / np.abs(truth).max(axis)


@both_sides
@pytest.mark.parametrize("name", WITH_KERNELS)
def test_kernels(name: str, side: Side) -> None:
    found = side.kernels(layer(side, name, "fp32"), LENGTH)
    errors = errors_along(-1, found[0], exact_kernels(name))  # (H,)
    assert errors.max() <= VALUE_BOUND, errors


@both_sides
def test_s5_impulse_response(side: Side) -> None:
    """S5 forms no kernel: what it answers to an impulse is one, from each input to each output."""
    found = side.over_sequence(layer(side, "s5", "fp32"), impulses(np.eye(FEATURES)))
    errors = errors_along(1, found, exact_s5_response())  # (inputs, outputs)
    assert errors.max() <= VALUE_BOUND, errors


@both_sides
@pytest.mark.parametrize("name", CASES)
def test_outputs(name: str, side: Side) -> None:
    found = side.over_sequence(layer(side, name, "fp32"), signal(1))
    errors = errors_along(1, found, exact_output(name))  # (B, H)
    assert errors.max() <= VALUE_BOUND, errors


@both_sides
@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str, side: Side) -> None:
    """Against the same layer in float64, whose gradients other tests compare with the exact forms."""
    found, truth = (
        gradients(side, layer(side, name, precision), signal(1), signal(2)) for precision in ("fp32", "fp64")
    )
    assert found.keys() == truth.keys()
    errors = {key: largest_error(found[key], truth[key]) for key in truth}
    assert max(errors.values()) <= GRADIENT_BOUND, errors
