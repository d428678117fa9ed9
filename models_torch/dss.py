"""DSS: diagonal state matrix, kernel by a Vandermonde product (Gupta et al. 2022, arXiv 2203.14343).

K_l = Re sum_n f_n exp(lambda_n dt l): with l = l1 T + l2 the N x L powers are the product of two thin tables, f_n
exp(lambda_n dt T l1) and exp(lambda_n dt l2). Real pairs throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models_torch.chunks import chunked_convolve
from models_torch.conv import convolve
from models_torch.keywords import BlockKeywords, LayerKeywords, ModelKeywords
from models_torch.layer import Constants, Layer, State, step_sizes
from models_torch.network import Block, SequenceModel
from models_torch.operators import made_anew
from models_torch.pairs import Pair, exponential, exponential_less_one, multiply, powers, reciprocal
from models_torch.scan import linear_scan, real_view
from ssm.lengths import chunk_length

PIECE = 1 << 22  # complex states of the channels that ``scanned`` works on together: 32 MiB

NEAR = 1e-6  # |lambda dt l_max| below which the softmax's sum is its tangent, as eps would be larger than its square


def scanned(u: Tensor, root: Pair, factor: Pair) -> Tensor:
    """Forward in time, some channels at a time: their states are B x L x S numbers each, made anew backwards."""
    a = torch.complex(*root)
    read = real_view(torch.complex(factor[0], -factor[1]))

    def some(u: Tensor, a: Tensor, read: Tensor) -> Tensor:
        entered = real_view(torch.complex(u, torch.zeros_like(u))[..., None].expand(*u.shape, a.shape[-1]))
        states = linear_scan(a.flatten(), entered.flatten(2)).view(entered.shape)
        return torch.einsum("blhs,hs->blh", states, read)

    width = max(1, PIECE // (u.shape[0] * u.shape[1] * a.shape[-1]))
    parts = zip(u.split(width, -1), a.split(width), read.split(width), strict=True)
    return torch.cat([made_anew(some, *part) for part in parts], -1)


class DSS(Layer):
    """H independent diagonal systems."""

    Lambda_re: nn.Parameter  # (1 or H, S): log of -Re Lambda (variant=exp), or Re Lambda
    Lambda_im: nn.Parameter
    W_re: nn.Parameter  # (H, S), B and C in one
    W_im: nn.Parameter
    W2_re: nn.Parameter  # (H, S), of the backward direction
    W2_im: nn.Parameter

    def over_sequence(self, u: Tensor) -> Tensor:
        if self.options.chosen == "fft":
            return convolve(u, self.kernels(u.shape[1]), self.D)
        run = chunked_convolve if self.options.chosen == "chunked" else scanned
        step, factor, _ = self.weights()
        root = exponential(step)
        y = self.D * u + run(u, root, (factor[0][0], factor[1][0]))
        if self.options.bidirectional:
            y = y + run(u.flip(1), root, (factor[0][1], factor[1][1])).flip(1)
        return y

    def eigenvalues(self) -> Pair:
        """lambda (1 or H, S)."""
        return (-self.Lambda_re.exp() if self.options.variant == "exp" else self.Lambda_re), self.Lambda_im

    def weights(self) -> tuple[Pair, Pair, Tensor]:
        """lambda dt (H, S), the factors f (directions, H, S), the tap (H, S) at which exp(lambda dt (l - tap)) is 1."""
        lam, dt = self.eigenvalues(), step_sizes(self.log_dt)[:, None]
        step = (lam[0] * dt, lam[1] * dt)
        tap = torch.zeros_like(step[0])
        if self.options.variant == "exp":
            factor = multiply(exponential_less_one(step), reciprocal(lam, 0.0))
        else:
            # a geometric sum, taken from its large end, so that no exponential of a positive number is formed
            length = self.options.l_max
            grows = step[0] > 0
            tap = torch.where(grows, float(length - 1), tap)
            sign = 1.0 - 2.0 * grows.to(step[0].dtype)  # of plain numbers, where() makes PyTorch's default type
            falling = (step[0] * sign, step[1] * sign)
            whole = exponential_less_one((falling[0] * length, falling[1] * length))
            row = multiply(exponential_less_one(falling), reciprocal(whole, self.options.eps))
            near = step[0].square() + step[1].square() < (NEAR / length) ** 2
            tangent = (1.0 + 0.5 * (1.0 - length) * falling[0]) / length, 0.5 * (1.0 - length) * falling[1] / length
            row = tuple(torch.where(near, t, r) for t, r in zip(tangent, row, strict=True))
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
            # exp(size lambda dt) anew: the table's last power carries the doublings' rounding, ten times as much
            late = powers(exponential((step[0] * size, step[1] * size)), chunks)
        else:  # from the tap, where a growing state is 1: its powers would overflow
            reached = torch.arange(chunks, dtype=step[0].dtype, device=step[0].device) * size - tap[..., None]
            late = exponential((step[0][..., None] * reached, step[1][..., None] * reached))
        start = multiply((factor[0][..., None], factor[1][..., None]), late)  # (directions, H, S, chunks)
        table = torch.cat([start[0], -start[1]], -2).transpose(-1, -2) @ torch.cat(within, -2)
        return table.flatten(-2)[..., :length]

    def step_form(self) -> Constants:
        step, factor, tap = self.weights()
        grows = (tap > 0).to(step[0].dtype)
        falling = torch.complex(step[0] * (1.0 - grows), step[1] * (1.0 - grows))
        growing = torch.complex(step[0] * grows, step[1] * grows)
        return {
            "decay": falling.exp(),
            "growing": growing,
            "factor": torch.complex(factor[0][0], factor[1][0]),
            "skip": self.D,
        }

    def initial_state(self, batch: int) -> State:
        dtype = self.complex_dtype
        state = torch.zeros(batch, self.options.d_model, self.options.stored, dtype=dtype, device=self.D.device)
        return state if self.options.variant == "exp" else (state, self.D.new_zeros(()))

    def one_step(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        if self.options.variant == "exp":
            state = constants["decay"] * state + u[..., None]
            return (constants["factor"] * state).sum(-1).real + constants["skip"] * u, state
        # a state that grows (Re lambda > 0) is kept relative to its growth since the first step: no overflow
        state, count = state
        growing = constants["growing"]
        state = constants["decay"] * state + (growing * -count).exp() * u[..., None]
        reach = (growing * (count - (self.options.l_max - 1))).exp()
        return (constants["factor"] * reach * state).sum(-1).real + constants["skip"] * u, (state, count + 1.0)


class DSSLayer(LayerKeywords, DSS):
    """The layer by keywords, those of ``ssm.dss.Options``."""

    model = "dss"


class DSSBlock(BlockKeywords, Block):
    """A block around the layer; see ``models_torch.network.Block``."""

    model = "dss"


class DSSModel(ModelKeywords, SequenceModel):
    """A network of such blocks; see ``models_torch.network.SequenceModel``."""

    model = "dss"
