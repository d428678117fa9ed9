"""Layer and batch norm over (..., H), in the parameters' precision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_torch import masks
from models_torch.layer import hold

NORM_EPS = 1e-5
PIECE = 2048  # rows whose gradients PyTorch's layer norm may add up one after the other


@torch.library.custom_op("ssm_bench::layer_norm", mutates_args=())
def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(x, weight.shape, weight, bias, NORM_EPS)


@_layer_norm.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    moments = x.new_empty(*x.shape[:-1], 1)
    return torch.empty_like(x), moments, torch.empty_like(moments)


@torch.library.custom_op("ssm_bench::layer_norm_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # PyTorch adds the rows' gradients of weight and bias one after the other: 3e-4 of error in float32 for 65,536 equal
    # rows, which is what a mean over time sends back. In pieces, whose sums are then added, it is below 1e-5.
    d_x, d_weights, d_biases = torch.empty_like(x), [], []
    rows = (t.flatten(0, -2).split(PIECE) for t in (d_x, grad.contiguous(), x, mean, scale))
    for out, *some in zip(*rows, strict=True):
        grad, x, mean, scale = some
        result = torch.ops.aten.native_layer_norm_backward(
            grad, x, weight.shape, mean, scale, weight, bias, [True, True, True]
        )
        out.copy_(result[0])
        d_weights.append(result[1])
        d_biases.append(result[2])
    return d_x, torch.stack(d_weights).sum(0), torch.stack(d_biases).sum(0)


@_backward.register_fake
def _(grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = inputs
    _, mean, scale = output
    ctx.save_for_backward(x, mean, scale, weight, bias)
    ctx.mark_non_differentiable(mean, scale)


def _derivative(ctx, grad: Tensor, *_: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return _backward(grad, *ctx.saved_tensors)


_layer_norm.register_autograd(_derivative, setup_context=_keep)


class LayerNorm(nn.Module):
    """Zero mean and unit variance over the features of a step; computed in the parameters' precision."""

    def __init__(self, values: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
        super().__init__()
        hold(self, values, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return _layer_norm(x.to(self.weight.dtype).contiguous(), self.weight, self.bias)[0].to(x.dtype)


class BatchNorm(nn.Module):
    """Zero mean and unit variance of a feature over batch and steps; in evaluation by the running statistics.

    The running variance is the unbiased one; ``momentum`` is the share of both that is kept a step. With a mask
    (``masks``), a sequence's own steps alone are counted.
    """

    def __init__(self, values: Mapping[str, np.ndarray], dtype: torch.dtype, momentum: float) -> None:
        super().__init__()
        hold(self, {name: values[name] for name in ("weight", "bias")}, dtype)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.tensor(values[name], dtype=dtype))
        self.momentum = momentum

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training and mask is not None:
            return self.over_own_steps(x.to(self.weight.dtype), mask).to(x.dtype)
        y = F.batch_norm(
            x.to(self.weight.dtype).reshape(-1, x.shape[-1]),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            1.0 - self.momentum,
            NORM_EPS,
        )
        return y.view(x.shape).to(x.dtype)

    # PyTorch's batch norm takes no mask
    def over_own_steps(self, y: Tensor, mask: Tensor) -> Tensor:
        mean = masks.mean(y, mask, (0, 1))
        variance = masks.mean((y - mean).square(), mask, (0, 1))
        with torch.no_grad():
            count = mask.sum()
            unbiased = variance * (count / (count - 1.0).clamp(min=1.0))
            for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                running.copy_(self.momentum * running + (1.0 - self.momentum) * now)
        return (y - mean) * ((variance + NORM_EPS).rsqrt() * self.weight) + self.bias
