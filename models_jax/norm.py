"""Layer and batch norm over (..., H), in the parameters' precision."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

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
        hold(self, values, dtype)

    def __call__(self, x: Array) -> Array:
        return layer_norm(x.astype(self.weight[...].dtype), self.weight[...], self.bias[...]).astype(x.dtype)


class BatchNorm(nnx.Module):
    """Zero mean and unit variance of a feature over batch and steps; in evaluation by the running statistics.

    The running variance is the unbiased one; ``momentum`` is the share of both that is kept a step.
    """

    def __init__(self, values: Mapping[str, np.ndarray], dtype: DTypeLike, momentum: float) -> None:
        hold(self, {name: values[name] for name in ("weight", "bias")}, dtype)
        self.running_mean = nnx.BatchStat(jnp.asarray(values["running_mean"], dtype))
        self.running_var = nnx.BatchStat(jnp.asarray(values["running_var"], dtype))
        self.momentum = momentum

    def __call__(self, x: Array, training: bool) -> Array:
        y = x.astype(self.weight[...].dtype)
        mean, variance = self.running_mean[...], self.running_var[...]
        if training:
            axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
            keep = self.momentum
            old_mean, old_variance = mean, variance
            mean, variance = y.mean(axes), y.var(axes)
            self.running_mean[...] = keep * old_mean + (1.0 - keep) * mean
            self.running_var[...] = keep * old_variance + (1.0 - keep) * variance * (count / max(1, count - 1))
        return normalise(y, mean, variance, self.weight[...], self.bias[...]).astype(x.dtype)
