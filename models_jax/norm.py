"""Layer and batch norm over (..., H), in the parameters' precision."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from models_jax import masks
from models_jax.dtypes import check_dtypes
from models_jax.layer import hold

NORM_EPS = 1e-5


def normalise(x: Array, mean: Array, variance: Array, weight: Array, bias: Array) -> Array:
    return (x - mean) * (jax.lax.rsqrt(variance + NORM_EPS) * weight) + bias


@jax.checkpoint  # the derivative makes mean and variance anew: less to keep, and less time
def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return normalise(x, mean, variance, weight, bias)


class LayerNorm(nnx.Module):
    """Zero mean and unit variance over the features of a step; computed in the parameters' precision."""

    def __init__(self, values: Mapping[str, np.ndarray], dtype: DTypeLike) -> None:
        check_dtypes(dtype)
        hold(self, values, dtype)

    def __call__(self, x: Array) -> Array:
        return layer_norm(x.astype(self.weight[...].dtype), self.weight[...], self.bias[...]).astype(x.dtype)


def moments(y: Array) -> tuple[Array, Array, float]:
    """Mean and variance (H,) over batch and steps, and by how much the unbiased variance is larger."""
    axes, count = tuple(range(y.ndim - 1)), y.size // y.shape[-1]
    return y.mean(axes), y.var(axes), count / max(1, count - 1)


def own_moments(y: Array, mask: Array) -> tuple[Array, Array, Array]:
    """The same over the sequences' own steps."""
    mean = masks.mean(y, mask, (0, 1))
    count = mask.sum()
    return mean, masks.mean(jnp.square(y - mean), mask, (0, 1)), count / (count - 1.0).clip(min=1.0)


class BatchNorm(nnx.Module):
    """Zero mean and unit variance of a feature over batch and steps; in evaluation by the running statistics.

    The running variance is the unbiased one; ``momentum`` is the share of both that is kept a step. With a mask
    (``masks``), a sequence's own steps alone are counted.
    """

    def __init__(self, values: Mapping[str, np.ndarray], dtype: DTypeLike, momentum: float) -> None:
        check_dtypes(dtype)
        hold(self, {name: values[name] for name in ("weight", "bias")}, dtype)
        self.running_mean = nnx.BatchStat(jnp.asarray(values["running_mean"], dtype))
        self.running_var = nnx.BatchStat(jnp.asarray(values["running_var"], dtype))
        self.momentum = momentum

    def __call__(self, x: Array, training: bool, mask: Array | None = None) -> Array:
        y = x.astype(self.weight[...].dtype)
        mean, variance = self.running_mean[...], self.running_var[...]
        if training:
            keep = self.momentum
            old_mean, old_variance = mean, variance
            mean, variance, excess = moments(y) if mask is None else own_moments(y, mask)
            self.running_mean[...] = keep * old_mean + (1.0 - keep) * mean
            self.running_var[...] = keep * old_variance + (1.0 - keep) * variance * excess
        return normalise(y, mean, variance, self.weight[...], self.bias[...]).astype(x.dtype)
