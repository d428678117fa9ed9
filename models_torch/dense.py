"""Linear maps of the features, and the table that tokens are looked up in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_torch.dtypes import PARAMETERS, as_real, as_tokens, check_dtypes, working_dtype
from models_torch.layer import hold
from models_torch.operators import derivative_operator, operator

# On a CPU the weight's gradient, a product over all rows, is one long sum in float32: of 262,144 rows that nearly
# cancel 1e-4 is lost. Products of pieces of rows, then added, lose a tenth of it in the same time; with two inputs or a
# few more, for which the long product is slow, they take an eighth of the time.
MANY = 1 << 15  # rows; in JAX more of them, as pieces cost time there
FEW = 8  # inputs
PIECE = 1024  # rows of one product
PIECE_OF_FEW = 256  # with few inputs; more are no faster


def _kernel(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight, bias)


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


def _backward_kernel(grad: Tensor, x: Tensor) -> Tensor:
    """(R, O) and (R, I) -> the weight's gradient (O, I)."""
    few = x.shape[1] <= FEW
    left, right, size = (x, grad, PIECE_OF_FEW) if few else (grad, x, PIECE)  # a wide factor on the left is slow there
    whole = len(x) // size * size
    pieces = (t[:whole].view(-1, size, t.shape[1]) for t in (left, right))
    product = torch.addmm(torch.bmm(next(pieces).mT, next(pieces)).sum(0), left[whole:].mT, right[whole:])
    return product.T.contiguous() if few else product


def _backward_fake(grad: Tensor, x: Tensor) -> Tensor:
    return grad.new_empty(grad.shape[1], x.shape[1])


_backward = derivative_operator("linear_backward", _backward_kernel, _backward_fake, plain=lambda grad, x: grad.mT @ x)


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _derivative(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
    x, weight = ctx.saved_tensors
    rows = grad.contiguous().reshape(-1, grad.shape[-1])
    d_x = grad @ weight if ctx.needs_input_grad[0] else None
    return d_x, _backward(rows, x.contiguous().reshape(-1, x.shape[-1])), rows.sum(0) if ctx.has_bias else None


_linear = operator("linear", _kernel, _fake, plain=_kernel, keep=_keep, derivative=_derivative)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b over the last axis: x (..., I), weight (O, I), bias (O,) -> (..., O)."""
    few, many = x.shape[-1] <= FEW, x.numel() > MANY * x.shape[-1]
    summed = x.is_cpu and x.dtype in PARAMETERS  # half precision would round each piece
    return _linear(x, weight, bias) if summed and x.ndim > 2 and (few or many) else F.linear(x, weight, bias)


class Dense(nn.Module):
    """x W^T + b over the last axis, x of any real type.

    Computed in, and of, autocast's type, else ``compute_dtype``, else the parameters' own.
    """

    def __init__(
        self, values: Mapping[str, np.ndarray], dtype: torch.dtype, compute_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        check_dtypes(dtype, compute_dtype)
        hold(self, values, dtype)
        self.compute_dtype = compute_dtype

    def forward(self, x: Tensor) -> Tensor:
        dtype = working_dtype(self.weight, self.compute_dtype)
        return linear(*(as_real("x", t, dtype) for t in (x, self.weight, self.bias)))


class Embedding(nn.Module):
    """Rows of a table by whole-number tokens: (B, L) -> (B, L, H), of the same type as ``Dense``.

    A token that has no row gives NaN: to look for one would make a GPU wait, and compiled code cannot refuse it.
    """

    def __init__(
        self, values: Mapping[str, np.ndarray], dtype: torch.dtype, compute_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        check_dtypes(dtype, compute_dtype)
        hold(self, values, dtype)
        self.compute_dtype = compute_dtype

    def forward(self, x: Tensor) -> Tensor:
        count = len(self.weight)
        x = as_tokens(x)
        x = torch.where((x >= 0) & (x < count), x, count)
        table = F.pad(self.weight, (0, 0, 0, 1), value=torch.nan)  # the row of what has none
        return F.embedding(x, table).to(working_dtype(self.weight, self.compute_dtype))
