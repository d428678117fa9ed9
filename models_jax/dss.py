"""DSS: diagonal state matrix, kernel by a Vandermonde product (Gupta et al. 2022, arXiv 2203.14343).

K_l = Re sum_n f_n exp(lambda_n dt l): with l = l1 T + l2 the N x L powers are the product of two thin tables, f_n
exp(lambda_n dt T l1) and exp(lambda_n dt l2). Real pairs throughout.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from models_jax.chunks import chunked_convolve
from models_jax.conv import convolve
from models_jax.keywords import BlockKeywords, LayerKeywords, ModelKeywords
from models_jax.layer import Constants, Layer, State, step_sizes
from models_jax.network import Block, SequenceModel
from models_jax.pairs import Pair, exponential, exponential_less_one, multiply, powers, reciprocal
from models_jax.scan import linear_scan
from ssm.lengths import chunk_length, largest_divisor

PIECE = 1 << 22  # complex states of the channels that ``scanned`` works on together: 32 MiB

NEAR = 1e-6  # |lambda dt l_max| below which the softmax's sum is its tangent, as eps would be larger than its square


def scanned(u: Array, root: Pair, factor: Pair) -> Array:
    """Forward in time, some channels at a time: their states are B x L x S numbers each, made anew backwards."""
    batch, length, channels = u.shape
    read = jnp.stack([factor[0], -factor[1]], 1)  # (H, 2, S)
    width = largest_divisor(channels, PIECE // (batch * length * read.shape[-1]))

    @jax.checkpoint
    def some(part: tuple[Array, Array, Array]) -> Array:
        u, a, read = part  # (B, L, width), (width, S), (width, 2, S)
        entered = jnp.broadcast_to(u[..., None], (*u.shape, a.shape[-1])).reshape(batch, length, -1)
        states = linear_scan(a.reshape(-1), jnp.concatenate([entered, jnp.zeros_like(entered)], -1))
        return jnp.einsum("blphs,hps->blh", states.reshape(batch, length, 2, *a.shape), read)

    parts = (
        jnp.moveaxis(u.reshape(batch, length, -1, width), 2, 0),
        *(t.reshape(-1, width, *t.shape[1:]) for t in (lax.complex(*root), read)),
    )
    return jnp.moveaxis(lax.map(some, parts), 0, 2).reshape(u.shape)


class DSS(Layer):
    """H independent diagonal systems."""

    Lambda_re: nnx.Param  # (1 or H, S): log of -Re Lambda (variant=exp), or Re Lambda
    Lambda_im: nnx.Param
    W_re: nnx.Param  # (H, S), B and C in one
    W_im: nnx.Param
    W2_re: nnx.Param  # (H, S), of the backward direction
    W2_im: nnx.Param

    def over_sequence(self, u: Array) -> Array:
        if self.options.chosen == "fft":
            return convolve(u, self.kernels(u.shape[1]), self.D[...])
        run = chunked_convolve if self.options.chosen == "chunked" else scanned
        step, factor, _ = self.weights()
        root = exponential(step)
        y = self.D[...] * u + run(u, root, (factor[0][0], factor[1][0]))
        if self.options.bidirectional:
            y = y + run(u[:, ::-1], root, (factor[0][1], factor[1][1]))[:, ::-1]
        return y

    def eigenvalues(self) -> Pair:
        """lambda (1 or H, S)."""
        return (
            -jnp.exp(self.Lambda_re[...]) if self.options.variant == "exp" else self.Lambda_re[...]
        ), self.Lambda_im[...]

    def weights(self) -> tuple[Pair, Pair, Array]:
        """lambda dt (H, S), the factors f (directions, H, S), the tap (H, S) at which exp(lambda dt (l - tap)) is 1."""
        lam, dt = self.eigenvalues(), step_sizes(self.log_dt[...])[:, None]
        step = (lam[0] * dt, lam[1] * dt)
        tap = jnp.zeros_like(step[0])
        if self.options.variant == "exp":
            factor = multiply(exponential_less_one(step), reciprocal(lam, 0.0))
        else:
            # a geometric sum, taken from its large end, so that no exponential of a positive number is formed
            length = self.options.l_max
            grows = step[0] > 0
            tap = jnp.where(grows, float(length - 1), tap)
            sign = jnp.where(grows, -1.0, 1.0)
            falling = (step[0] * sign, step[1] * sign)
            whole = exponential_less_one((falling[0] * length, falling[1] * length))
            row = multiply(exponential_less_one(falling), reciprocal(whole, self.options.eps))
            near = jnp.square(step[0]) + jnp.square(step[1]) < (NEAR / length) ** 2
            tangent = (1.0 + 0.5 * (1.0 - length) * falling[0]) / length, 0.5 * (1.0 - length) * falling[1] / length
            row = tuple(jnp.where(near, t, r) for t, r in zip(tangent, row, strict=True))
            factor = multiply(row, reciprocal(lam, 0.0))
        w_re, w_im = self.W_re[None], self.W_im[None]
        if self.options.bidirectional:
            w_re, w_im = (
                jnp.stack([self.W_re[...], self.W2_re[...]]),
                jnp.stack([self.W_im[...], self.W2_im[...]]),
            )
        scale = 2.0 if self.options.conj_sym else 1.0
        return step, multiply((scale * w_re, scale * w_im), factor), tap

    def kernels(self, length: int) -> Array:
        """Convolution kernels (directions, H, length)."""
        step, factor, tap = self.weights()
        size, chunks = chunk_length(length), -(-length // chunk_length(length))
        root = exponential(step)
        within = powers(root, size)  # (H, S, size)
        if self.options.variant == "exp":
            # exp(size lambda dt) anew: the table's last power carries the doublings' rounding, ten times as much
            late = powers(exponential((step[0] * size, step[1] * size)), chunks)
        else:  # from the tap, where a growing state is 1: its powers would overflow
            reached = jnp.arange(chunks, dtype=step[0].dtype) * size - tap[..., None]
            late = exponential((step[0][..., None] * reached, step[1][..., None] * reached))
        start = multiply((factor[0][..., None], factor[1][..., None]), late)  # (directions, H, S, chunks)
        table = jnp.concatenate([start[0], -start[1]], -2).swapaxes(-1, -2) @ jnp.concatenate(within, -2)
        return table.reshape(*table.shape[:-2], -1)[..., :length]

    def step_form(self) -> Constants:
        step, factor, tap = self.weights()
        grows = (tap > 0).astype(step[0].dtype)
        falling = lax.complex(step[0] * (1.0 - grows), step[1] * (1.0 - grows))
        growing = lax.complex(step[0] * grows, step[1] * grows)
        return {
            "decay": jnp.exp(falling),
            "growing": growing,
            "factor": lax.complex(factor[0][0], factor[1][0]),
            "skip": self.D[...],
        }

    def initial_state(self, batch: int) -> State:
        state = jnp.zeros((batch, self.options.d_model, self.options.stored), self.complex_dtype)
        return state if self.options.variant == "exp" else (state, jnp.zeros((), self.D[...].dtype))

    def one_step(self, u: Array, state: State, constants: Constants) -> tuple[Array, State]:
        if self.options.variant == "exp":
            state = constants["decay"] * state + u[..., None]
            return (constants["factor"] * state).sum(-1).real + constants["skip"] * u, state
        # a state that grows (Re lambda > 0) is kept relative to its growth since the first step: no overflow
        state, count = state
        growing = constants["growing"]
        state = constants["decay"] * state + jnp.exp(growing * -count) * u[..., None]
        reach = jnp.exp(growing * (count - (self.options.l_max - 1)))
        return (constants["factor"] * reach * state).sum(-1).real + constants["skip"] * u, (state, count + 1.0)


class DSSLayer(LayerKeywords, DSS):
    """The layer by keywords, those of ``ssm.dss.Options``."""

    model = "dss"


class DSSBlock(BlockKeywords, Block):
    """A block around the layer; see ``models_jax.network.Block``."""

    model = "dss"


class DSSModel(ModelKeywords, SequenceModel):
    """A network of such blocks; see ``models_jax.network.SequenceModel``."""

    model = "dss"
