"""Layer and batch norm over (..., H), in the parameters' precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_torch import masks
from models_torch.dtypes import check_dtypes
from models_torch.layer import hold
from models_torch.operators import derivative_operator, gradients, operator, transformed

NORM_EPS = 1e-5
# On a CPU PyTorch's norms add up rows one after the other, in float32. Of 140,000 rows that are nearly the same (near
# silence; what a mean over time sends back) batch norm's mean loses 2e-6, which dividing by a small deviation makes
# 1e-3 of the output. Sums of groups of rows, which are then added, lose what rounding the result would.
LAYER_ROWS = 2048  # fewer cost time: a call for each
BATCH_ROWS = 128
CACHED = 1 << 17  # elements that stay in the cache from one pass to the next: half a MiB in float32


def in_turn(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of each (R, ...)."""
    return zip(*(t.split(rows) for t in tensors), strict=True)


def _layer_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(x, weight.shape, weight, bias, NORM_EPS)


def _layer_fake(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    moments = x.new_empty(*x.shape[:-1], 1)
    return torch.empty_like(x), moments, torch.empty_like(moments)


def _layer_plain(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # not PyTorch's layer norm: its third derivative is wrong
    mean = x.mean(-1, keepdim=True)
    scale = ((x - mean).square().mean(-1, keepdim=True) + NORM_EPS).rsqrt()
    return (x - mean) * scale * weight + bias, mean.detach(), scale.detach()


def _layer_backward_kernel(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    derivative = torch.ops.aten.native_layer_norm_backward
    if not x.is_cpu:
        return derivative(grad.contiguous(), x, weight.shape, mean, scale, weight, bias, [True, True, True])
    d_x, d_weights, d_biases = torch.empty_like(x), [], []
    rows = (t.flatten(0, -2) for t in (d_x, grad.contiguous(), x, mean, scale))
    for out, d_y, part, *moments in in_turn(LAYER_ROWS, *rows):
        d_part, d_weight, _ = derivative(d_y, part, weight.shape, *moments, weight, bias, [True, True, False])
        out.copy_(d_part)
        d_weights.append(d_weight)
        d_biases.append(d_y.sum(0))
    return d_x, torch.stack(d_weights).sum(0), torch.stack(d_biases).sum(0)


def _layer_backward_fake(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)


def _layer_backward_plain(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    return gradients(lambda *inputs: _layer_plain(*inputs)[0], (x, weight, bias), (grad,))


_layer_backward = derivative_operator(
    "layer_norm_backward", _layer_backward_kernel, _layer_backward_fake, _layer_backward_plain
)


def _keep_layer(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias = inputs
    _, mean, scale = output
    ctx.save_for_backward(x, mean, scale, weight, bias)
    ctx.mark_non_differentiable(mean, scale)


def _layer_derivative(ctx, grad: Tensor, *_: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return _layer_backward(grad, *ctx.saved_tensors)


_layer_norm = operator("layer_norm", _layer_kernel, _layer_fake, _layer_plain, _keep_layer, _layer_derivative)


class LayerNorm(nn.Module):
    """Zero mean and unit variance over the features of a step; computed in the parameters' precision."""

    def __init__(self, values: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
        super().__init__()
        check_dtypes(dtype)
        hold(self, values, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return _layer_norm(x.to(self.weight.dtype).contiguous(), self.weight, self.bias)[0].to(x.dtype)


def groups_of(rows: int) -> list[tuple[slice, int]]:
    """Rows, and into how many groups of equal size they go: about BATCH_ROWS in each; what is left is one more."""
    count = max(1, rows // BATCH_ROWS)
    whole = rows // count * count
    left = [(slice(whole, None), 1)] if whole < rows else []
    return [(slice(whole), count), *left]


def side_by_side(x: Tensor, count: int) -> Tensor:
    """(R, H) -> (R / count, count H): each group's features as features of their own, without a copy."""
    return x.view(-1, count * x.shape[1])


def _batch_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (R, H) -> its norm (R, H), and mean and variance (H,) over the rows."""
    shares, means, variances = [], [], []
    for rows, count in groups_of(len(x)):
        moments = torch.batch_norm_update_stats(side_by_side(x[rows], count), None, None, 0.0)
        for found, moment in zip((means, variances), moments, strict=True):
            found.append(moment.view(count, -1))
        shares += [len(x[rows]) / count / len(x)] * count
    share, within = x.new_tensor(shares)[:, None], torch.cat(means)
    mean = (share * within).sum(0)
    variance = (share * (torch.cat(variances) + (within - mean).square())).sum(0)
    y, scale = torch.empty_like(x), weight * (variance + NORM_EPS).rsqrt()
    for out, part in in_turn(max(1, CACHED // x.shape[1]), y, x):
        torch.sub(part, mean, out=out)  # first of all, as the mean may be far above the deviation
        torch.addcmul(bias, out, scale, out=out)
    return y, mean, variance


def _batch_fake(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _batch_plain(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(0)
    variance = (x - mean).square().mean(0)
    return (x - mean) * ((variance + NORM_EPS).rsqrt() * weight) + bias, mean.detach(), variance.detach()


def _batch_backward_kernel(
    grad: Tensor, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad, d_weight, d_bias = grad.contiguous(), torch.zeros_like(weight), torch.zeros_like(weight)
    wanted = [False, True, True]
    for rows, count in groups_of(len(x)):
        factors = (side_by_side(t[rows], count) for t in (grad, x))
        constants = (t.repeat(count) for t in (weight, mean, variance))
        _, *sums = torch.ops.aten.native_batch_norm_backward(*factors, *constants, None, None, False, NORM_EPS, wanted)
        for total, part in zip((d_weight, d_bias), sums, strict=True):
            total += part.view(count, -1).sum(0)
    # d_x = weight scale (grad - d_bias / R - (x - mean) scale d_weight / R)
    scale = (variance + NORM_EPS).rsqrt()
    of_grad = weight * scale
    of_x, alone = -of_grad * scale * d_weight / len(x), -of_grad * d_bias / len(x)
    d_x = torch.empty_like(x)
    for out, d_y, part in in_turn(max(1, CACHED // x.shape[1]), d_x, grad, x):
        torch.sub(part, mean, out=out)
        torch.addcmul(alone, out, of_x, out=out).addcmul_(d_y, of_grad)
    return d_x, d_weight, d_bias


def _batch_backward_fake(grad: Tensor, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _batch_backward_plain(
    grad: Tensor, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor
) -> tuple[Tensor, ...]:
    bias = torch.zeros_like(weight)
    return gradients(lambda *inputs: _batch_plain(*inputs)[0], (x, weight, bias), (grad,))


_batch_backward = derivative_operator(
    "batch_norm_backward", _batch_backward_kernel, _batch_backward_fake, _batch_backward_plain
)


def _keep_batch(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, _ = inputs
    _, mean, variance = output
    ctx.save_for_backward(x, mean, variance, weight)
    ctx.mark_non_differentiable(mean, variance)


def _batch_derivative(ctx, grad: Tensor, *_: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return _batch_backward(grad, *ctx.saved_tensors)


_batch_norm = operator("batch_norm", _batch_kernel, _batch_fake, _batch_plain, _keep_batch, _batch_derivative)


class BatchNorm(nn.Module):
    """Zero mean and unit variance of a feature over batch and steps; in evaluation by the running statistics.

    The running variance is the unbiased one; ``momentum`` is the share of both that is kept a step. With a mask
    (``masks``), a sequence's own steps alone are counted.
    """

    def __init__(self, values: Mapping[str, np.ndarray], dtype: torch.dtype, momentum: float) -> None:
        super().__init__()
        check_dtypes(dtype)
        hold(self, {name: values[name] for name in ("weight", "bias")}, dtype)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.tensor(values[name], dtype=dtype))
        self.momentum = momentum

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = x.to(self.weight.dtype)
        rows = y.reshape(-1, y.shape[-1])
        if self.training and mask is not None:
            y = self.over_own_steps(y, mask)
        elif self.training and y.is_cpu:
            y, mean, variance = _batch_norm(rows.contiguous(), self.weight, self.bias)
            self.follow(mean, variance * (len(rows) / max(1, len(rows) - 1)))
        else:
            running = (self.running_mean, self.running_var)
            y = F.batch_norm(rows, *running, self.weight, self.bias, self.training, 1.0 - self.momentum, NORM_EPS)
        return y.view(x.shape).to(x.dtype)

    def over_own_steps(self, y: Tensor, mask: Tensor) -> Tensor:
        mean = masks.mean(y, mask, (0, 1))
        variance = masks.mean((y - mean).square(), mask, (0, 1))
        count = mask.sum()
        self.follow(mean, variance * (count / (count - 1.0).clamp(min=1.0)))
        return (y - mean) * ((variance + NORM_EPS).rsqrt() * self.weight) + self.bias

    @torch.no_grad()
    def follow(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics."""
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            moved = self.momentum * running + (1.0 - self.momentum) * now.detach()
            try:
                running.copy_(moved)
            except RuntimeError as error:
                raise self.refusal() if transformed() else error from error

    def refusal(self) -> RuntimeError:
        return RuntimeError(
            "BatchNorm in training moves its running statistics, which torch.func (jvp, grad, vmap and the like) only "
            "allows where they are arguments of the transformed function: give it the buffers too, by "
            "torch.func.functional_call(model, (parameters, buffers), (x,)), or call model.eval() first."
        )
