"""DSS: diagonal state matrix, kernel by a Vandermonde product (Gupta et al. 2022, arXiv 2203.14343).

K_l = Re sum_n f_n exp(lambda_n dt l): with l = l1 T + l2 the N x L powers are the product of two thin tables, f_n
exp(lambda_n dt T l1) and exp(lambda_n dt l2). Real pairs throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models_torch.conv import convolve
from models_torch.layer import Constants, Layer, State, refuse_bidirectional
from models_torch.network import Block, SequenceModel
from ssm.lengths import chunk_length

Pair = tuple[Tensor, Tensor]  # real and imaginary part


def multiply(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def reciprocal(x: Pair, eps: float) -> Pair:
    """conj(x) / (|x|^2 + eps)."""
    size = x[0] * x[0] + x[1] * x[1] + eps
    return x[0] / size, -x[1] / size


def exponential(x: Pair) -> Pair:
    grown = x[0].exp()
    return grown * x[1].cos(), grown * x[1].sin()


def exponential_less_one(x: Pair) -> Pair:
    """exp(x) - 1 without cancellation near 0: expm1(a) cos b - 2 sin^2(b / 2) + i exp(a) sin b."""
    half = (0.5 * x[1]).sin()
    return x[0].expm1() * x[1].cos() - 2.0 * half * half, x[0].exp() * x[1].sin()


def powers(x: Pair, count: int) -> Pair:
    """x^0 ... x^(count - 1) along a new last axis, by doubling: a sine and a cosine cost as much as 20 products."""
    return Powers.apply(*x, count)


class Powers(torch.autograd.Function):
    """The doublings, and their derivative: x^j has j x^(j - 1), one sum instead of the doublings run backwards."""

    @staticmethod
    def forward(ctx, real: Tensor, imag: Tensor, count: int) -> Pair:
        table = torch.ones_like(real)[..., None], torch.zeros_like(imag)[..., None]
        x = real[..., None], imag[..., None]
        while table[0].shape[-1] < count:
            table = tuple(torch.cat(halves, -1) for halves in zip(table, multiply(table, x), strict=True))
            x = multiply(x, x)
        table = table[0][..., :count], table[1][..., :count]
        ctx.save_for_backward(*table)
        return table

    @staticmethod
    def backward(ctx, *grad: Tensor) -> tuple[Tensor, Tensor, None]:
        real, imag = (t[..., :-1] for t in ctx.saved_tensors)
        count = torch.arange(1, grad[0].shape[-1], dtype=real.dtype, device=real.device)
        g_real, g_imag = (count * g[..., 1:] for g in grad)
        return (real * g_real + imag * g_imag).sum(-1), (real * g_imag - imag * g_real).sum(-1), None


class DSSLayer(Layer):
    """H independent diagonal systems. Settings and parameters: ``ssm.dss.Options``, ``ssm.dss.initial``."""

    name = "dss"

    def forward(self, u: Tensor) -> Tensor:
        return convolve(u, self.kernels(u.shape[1]), self.D)

    def eigenvalues(self) -> Pair:
        """lambda (1 or H, S)."""
        return (-self.Lambda_re.exp() if self.options.variant == "exp" else self.Lambda_re), self.Lambda_im

    def weights(self) -> tuple[Pair, Pair, Tensor]:
        """lambda dt (H, S), the factors f (directions, H, S), the tap (H, S) at which exp(lambda dt (l - tap)) is 1."""
        lam, dt = self.eigenvalues(), self.log_dt.exp()[:, None]
        step = (lam[0] * dt, lam[1] * dt)
        tap = torch.zeros_like(step[0])
        if self.options.variant == "exp":
            factor = multiply(exponential_less_one(step), reciprocal(lam, 0.0))
        else:
            # a geometric sum, taken from its large end, so that no exponential of a positive number is formed
            length = self.options.l_max
            grows = step[0] > 0
            tap = torch.where(grows, float(length - 1), tap)
            sign = torch.where(grows, -1.0, 1.0)
            falling = (step[0] * sign, step[1] * sign)
            whole = exponential_less_one((falling[0] * length, falling[1] * length))
            row = multiply(exponential_less_one(falling), reciprocal(whole, self.options.eps))
            factor = multiply(row, reciprocal(lam, 0.0))
        w_re, w_im = self.W_re[None], self.W_im[None]
        if self.options.bidirectional:
            w_re, w_im = torch.stack([self.W_re, self.W2_re]), torch.stack([self.W_im, self.W2_im])
        scale = 2.0 if self.options.conj_sym else 1.0
        return step, multiply((scale * w_re, scale * w_im), factor), tap

    def kernels(self, length: int) -> Tensor:
        """Convolution kernels (directions, H, length)."""
        step, factor, tap = self.weights()
        size, chunks = chunk_length(length), -(-length // chunk_length(length))
        root = exponential(step)
        within = powers(root, size)  # (H, S, size)
        if self.options.variant == "exp":
            late = powers(multiply((within[0][..., -1], within[1][..., -1]), root), chunks)
        else:  # from the tap, where a growing state is 1: its powers would overflow
            reached = torch.arange(chunks, dtype=step[0].dtype, device=step[0].device) * size - tap[..., None]
            late = exponential((step[0][..., None] * reached, step[1][..., None] * reached))
        start = multiply((factor[0][..., None], factor[1][..., None]), late)  # (directions, H, S, chunks)
        table = torch.cat([start[0], -start[1]], -2).transpose(-1, -2) @ torch.cat(within, -2)
        return table.flatten(-2)[..., :length]

    def discretised(self) -> Constants:
        refuse_bidirectional(self.options.bidirectional)
        step, factor, tap = self.weights()
        grows = (tap > 0).to(step[0].dtype)
        falling = torch.complex(step[0] * (1.0 - grows), step[1] * (1.0 - grows))
        growing = torch.complex(step[0] * grows, step[1] * grows)
        return {
            "decay": falling.exp(),
            "growing": growing,
            "factor": torch.complex(factor[0][0], factor[1][0]),
        }

    def initial_state(self, batch: int) -> State:
        dtype = self.D.dtype.to_complex()
        state = torch.zeros(batch, self.options.d_model, self.options.stored, dtype=dtype, device=self.D.device)
        return state if self.options.variant == "exp" else (state, self.D.new_zeros(()))

    def step(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        if self.options.variant == "exp":
            state = constants["decay"] * state + u[..., None]
            return (constants["factor"] * state).sum(-1).real + self.D * u, state
        # a state that grows (Re lambda > 0) is kept relative to its growth since the first step: no overflow
        state, count = state
        growing = constants["growing"]
        state = constants["decay"] * state + (growing * -count).exp() * u[..., None]
        reach = (growing * (count - (self.options.l_max - 1))).exp()
        return (constants["factor"] * reach * state).sum(-1).real + self.D * u, (state, count + 1.0)


class DSSBlock(Block):
    """A block around a DSS layer; see ``models_torch.network.Block``."""

    layer_class = DSSLayer


class DSSModel(SequenceModel):
    """A network of DSS blocks; see ``models_torch.network.SequenceModel``."""

    block_class = DSSBlock
