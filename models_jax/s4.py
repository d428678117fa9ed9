"""S4: diagonal plus low-rank state matrix, kernel by its generating function (Gu et al. 2022, arXiv 2111.00396).

At z = exp(-i theta), theta = 2 pi k / l_max, the truncated generating function is, with s = sin(theta / 2),
c = cos(theta / 2) and kappa = dt c,

    K(z) = exp(i theta / 2) dt C~ (2 i s - kappa A)^-1 B,          A = diag(Lambda) - P P*

(S4's lemma C.3 with the factor 2 / (1 + z) multiplied out, so that nothing is singular at z = -1). The inverse is that
of the diagonal part, corrected by Woodbury's identity; a conjugate pair's two terms make one real-arithmetic term, and
half the spectrum is enough, because the kernel is real.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from models_jax.cauchy import cauchy_sums
from models_jax.conv import convolve
from models_jax.keywords import BlockKeywords, LayerKeywords, ModelKeywords
from models_jax.layer import Constants, Layer, clip, complex_of, step_sizes
from models_jax.network import Block, SequenceModel
from models_jax.operators import operator
from ssm.s4 import FASTEST, LEAST_DECAY

# 2^32 repeats of l_max steps: any state that decays is gone
DOUBLINGS = 32


def inverse_of(matrix: Array) -> Array:
    """Inverse of small matrices (..., r, r) whose symmetric part is positive, by elimination without pivots.

    Not jnp.linalg: jaxlib's LAPACK calls split a batch over the thread pool that they run in and wait for it, so that
    on 2 threads two of them (one a block) can wait for each other for ever.
    """
    inverse = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    for index in range(matrix.shape[-1]):
        pivot = matrix[..., index, index, None]
        column = matrix[..., :, index] - jnp.eye(matrix.shape[-1], dtype=matrix.dtype)[index]
        rows = [m[..., index, :] / pivot for m in (matrix, inverse)]
        matrix, inverse = (
            m - column[..., None] * row[..., None, :] for m, row in zip((matrix, inverse), rows, strict=True)
        )
    return inverse


def diagonal_part(shape: tuple[int, int], real: Array, imag: Array, kappa: Array, sigma: Array) -> Array:
    """left (2 i s - kappa Lambda)^-1 right, all vectors with all: sums (H, 2 left right, F) -> (H, left, right, F)."""
    real, imag = (t.reshape(len(t), 2, *shape, -1) for t in (real, imag))
    kappa = kappa[:, None, None]
    return lax.complex(kappa * real[:, 0] - sigma * imag[:, 1], kappa * imag[:, 0] + sigma * real[:, 1])


def correction(total: Array, kappa: Array, rank: int) -> tuple[Array, Array]:
    """Woodbury's U M^-1 (H, directions, rank, F), M^-1 V (H, rank, F); diagonal part (D U; V W), M = 1 + kappa W."""
    directions = total.shape[1] - rank
    matrix = jnp.eye(rank, dtype=kappa.dtype)[..., None] + kappa[:, None, None] * total[:, directions:, 1:]
    inverse = 1.0 / matrix if rank == 1 else jnp.moveaxis(inverse_of(jnp.moveaxis(matrix, -1, 1)), 1, -1)
    left = (total[:, :directions, 1:, None] * inverse[:, None]).sum(2)
    return left, (inverse * total[:, None, directions:, 0]).sum(2)


def _corrected(
    shape: tuple[int, int], rank: int, real: Array, imag: Array, kappa: Array, sigma: Array
) -> tuple[Array, tuple[Array, ...]]:
    total = diagonal_part(shape, real, imag, kappa, sigma)
    for column in range(1, 1 + rank):  # one rank after the other
        row = len(total[0]) - rank + column - 1
        pivot = 1.0 + kappa[:, None] * total[:, row, column, None]
        total = total - (kappa[:, None] * total[:, :, column])[:, :, None] * (total[:, row] / pivot)[:, None]
    return total[:, :-rank, 0], (real, imag, kappa, sigma)


def _corrected_tangent(shape: tuple[int, int], rank: int, sums: tuple[Array, ...], tangents: tuple) -> Array:
    *moved, sigma = sums
    return jax.jvp(lambda *x: _corrected(shape, rank, *x, sigma)[0], moved, list(tangents[:-1]))[1]


def _corrected_backward(shape: tuple[int, int], rank: int, sums: tuple[Array, ...], grad: Array) -> tuple[Array, ...]:
    real, imag, kappa, sigma = sums
    left, right = correction(diagonal_part(shape, *sums), kappa, rank)
    # dK = (1, -kappa left) dT (1; -kappa right) - left right d kappa. As real pairs, the conjugates of JAX's gradients
    g = grad.conj()
    before = jnp.concatenate([g[:, :, None], -kappa[:, None, None] * right.conj()[:, None] * g[:, :, None]], 2)
    below = -kappa[:, None, None] * (left.conj()[:, :, :, None] * before[:, :, None]).sum(1)
    d_total = jnp.concatenate([before, below], 1)  # (H, left, right, F)
    wide = kappa[:, None, None]
    d_real = jnp.stack([wide * d_total.real, sigma * d_total.imag], 1).reshape(real.shape)
    d_imag = jnp.stack([wide * d_total.imag, -sigma * d_total.real], 1).reshape(real.shape)
    flat = d_total.reshape(len(real), -1, real.shape[-1])
    first = slice(0, real.shape[1] // 2)
    d_kappa = (flat.real * real[:, first] + flat.imag * imag[:, first]).sum(1)
    d_kappa = d_kappa - (grad * (left * right[:, None]).sum(2)).real.sum(1)
    return d_real, d_imag, d_kappa, jnp.zeros_like(sigma)


_corrected_sums = operator(_corrected, _corrected_tangent, _corrected_backward, numbers=2)


def corrected(shape: tuple[int, int], rank: int, real: Array, imag: Array, kappa: Array, sigma: Array) -> Array:
    """C~ (2 i s - kappa A)^-1 B, (H, directions, F), from the sums (H, 2 left right, F), kappa (H, F) and sigma (F,).

    ``shape``: how many left vectors (one a direction, then ``rank`` of P*) and right ones (B, then ``rank`` of P).
    """
    return _corrected_sums(shape, rank, real, imag, kappa, sigma)


class S4(Layer):
    """H independent S4 systems."""

    Lambda_re: nnx.Param  # (1 or H, N/2): log of -Re Lambda (real_part=exp), or Re Lambda
    Lambda_im: nnx.Param
    P_re: nnx.Param  # (rank, 1 or H, N/2), the correction
    P_im: nnx.Param
    B_re: nnx.Param  # (1 or H, N/2)
    B_im: nnx.Param
    C_re: nnx.Param  # (H, N/2), truncated for l_max
    C_im: nnx.Param
    C2_re: nnx.Param  # (H, N/2), of the backward direction
    C2_im: nnx.Param

    def over_sequence(self, u: Array) -> Array:
        return convolve(u, self.kernels(u.shape[1]), self.D[...])

    def decay(self) -> Array:
        """-Re Lambda (1 or H, N/2), positive."""
        if self.options.real_part == "exp":
            return jnp.exp(self.Lambda_re[...])
        return -clip(self.Lambda_re[...], -LEAST_DECAY)

    def steps_taken(self) -> Array:
        """dt (H, 1); NaN where a state is faster than the layer can compute."""
        dt = step_sizes(self.log_dt[...])[:, None]
        speed = self.decay() + jnp.abs(self.Lambda_im[...])
        speed = speed + (jnp.square(self.P_re[...]) + jnp.square(self.P_im[...])).sum(0)
        return jnp.where(lax.stop_gradient(dt * speed).max(-1, keepdims=True) < FASTEST, dt, jnp.nan)

    def outputs(self) -> tuple[Array, Array]:
        """C~, real and imaginary parts (directions, H, N/2)."""
        if self.options.bidirectional:
            return jnp.stack([self.C_re[...], self.C2_re[...]]), jnp.stack([self.C_im[...], self.C2_im[...]])
        return self.C_re[None], self.C_im[None]

    def kernels(self, length: int) -> Array:
        """Convolution kernels (directions, H, length). Past l_max the truncated outputs are made anew."""
        nodes, (c_re, c_im) = self.options.l_max, self.outputs()
        if length > nodes:
            rows = self.output_rows(length)
            nodes, (c_re, c_im) = (
                length,
                (0.5 * rows[..., : rows.shape[-1] // 2], -0.5 * rows[..., rows.shape[-1] // 2 :]),
            )
        return jnp.fft.irfft(self.generating_function(c_re, c_im, nodes), n=nodes)[..., :length]

    def generating_function(self, c_re: Array, c_im: Array, nodes: int) -> Array:
        """K at the first half of the ``nodes`` roots of unity: (directions, H, nodes // 2 + 1) complex."""
        # constants of the compiled program: NumPy, because float64 is off in JAX unless asked for
        angle = np.arange(nodes // 2 + 1) * (math.pi / nodes)
        turn = jnp.asarray(np.exp(1j * angle), complex_of(c_re))
        sigma, cosine = jnp.asarray(2.0 * np.sin(angle), c_re.dtype), jnp.asarray(np.cos(angle), c_re.dtype)
        dt = self.steps_taken()  # (H, 1)
        a, b = self.decay(), self.Lambda_im[...]  # (1 or H, S)

        # products of every left vector (C~ a direction, then P*) and every right one (B, then P): (left, right, H, S)
        spread = (self.options.rank, *c_re.shape[1:])
        left_re = jnp.concatenate([c_re, jnp.broadcast_to(self.P_re[...], spread)])
        left_im = jnp.concatenate([c_im, jnp.broadcast_to(-self.P_im[...], spread)])
        right_re = jnp.concatenate([self.B_re[None], self.P_re[...]])
        right_im = jnp.concatenate([self.B_im[None], self.P_im[...]])
        x = left_re[:, None] * right_re - left_im[:, None] * right_im
        y = left_re[:, None] * right_im + left_im[:, None] * right_re
        shape = x.shape[:2]
        terms = (
            jnp.stack([2.0 * (x * a - y * b), 2.0 * x]).reshape(-1, *x.shape[2:]).swapaxes(0, 1)
        )  # (H, 2 left right, S)

        kappa = dt * cosine  # (H, F)
        a, b = (jnp.broadcast_to(t, (len(terms), t.shape[-1])) for t in (a, b))
        finish = partial(corrected, shape, self.options.rank)
        total = cauchy_sums(finish, terms, a, b, kappa, sigma)  # (H, directions, F)
        return (total * (turn * dt[..., None])).swapaxes(0, 1)

    # ---- one step at a time ----

    def step_constants(self) -> Constants:
        """The bilinear step in O(N) a channel, without the output vector: complex, in this layer's precision."""
        dt = self.steps_taken()
        w = lax.complex(-self.decay(), self.Lambda_im[...])
        p, b = lax.complex(self.P_re[...], self.P_im[...]), lax.complex(self.B_re[...], self.B_im[...])
        inverse = 1.0 / (1.0 - 0.5 * dt * w)  # (H, S)
        spread = inverse * p  # (rank, H, S)
        conjugate = jnp.broadcast_to(p.conj(), spread.shape)
        gram = 2.0 * jnp.einsum("rhs,ths->hrt", conjugate, spread).real
        eye = jnp.eye(len(p), dtype=gram.dtype)
        solve = inverse_of(eye + 0.5 * dt[..., None] * gram)  # (H, rank, rank)
        return {
            "keep": inverse * (1.0 + 0.5 * dt * w),
            "enter": inverse * dt * b,
            "p": conjugate,
            "spread": 0.5 * dt * spread,
            "solve": solve,
        }

    def advance(self, state: Array, u: Array, constants: Constants) -> Array:
        """Abar x + Bbar u: state (B, H, S), u (B, H) -> (B, H, S)."""
        p, spread = constants["p"], constants["spread"]
        before = 2.0 * jnp.einsum("rhs,bhs->bhr", p, state).real
        free = (
            constants["keep"] * state - jnp.einsum("rhs,bhr->bhs", spread, before) + constants["enter"] * u[..., None]
        )
        after = jnp.einsum("hrt,bht->bhr", constants["solve"], 2.0 * jnp.einsum("rhs,bhs->bhr", p, free).real)
        return free - jnp.einsum("rhs,bhr->bhs", spread, after)

    def dense(self) -> Array:
        """Abar in the real coordinates (Re x, Im x): (H, N, N), in this layer's precision (float64 is an opt-in)."""
        h, half = self.options.d_model, self.options.n // 2
        unit = jnp.eye(half, dtype=complex_of(self.D[...]))
        basis = jnp.broadcast_to(jnp.concatenate([unit, 1j * unit])[:, None], (2 * half, h, half))
        image = self.advance(basis, jnp.zeros((2 * half, h), self.D[...].dtype), self.step_constants())
        return jnp.concatenate([image.real, image.imag], -1).transpose(1, 2, 0)

    def output_rows(self, length: int | None = None) -> Array:
        """Real rows r (directions, H, N) with C x = r (Re x, Im x); truncated for ``length`` when one is given."""
        c_re, c_im = self.outputs()
        rows = jnp.concatenate([2.0 * c_re, -2.0 * c_im], -1)
        a = self.dense()
        rows = rows.transpose(1, 0, 2)  # (H, directions, N)
        past = jnp.linalg.matrix_power(a, self.options.l_max)
        for _ in range(DOUBLINGS):  # rows (I - past)^-1 as the product of all I + past^(2^k)
            rows, past = rows + rows @ past, past @ past
        gone = jnp.abs(past).max((-2, -1), keepdims=True) < 1e-3
        rows = jnp.where(gone, rows, jnp.nan)  # with a step of nothing no state decays, and the sum is infinite
        if length is not None:
            rows = rows - rows @ jnp.linalg.matrix_power(a, length)
        return rows.swapaxes(0, 1)

    def step_form(self) -> Constants:
        rows = self.output_rows()[0]
        return self.step_constants() | {"rows": rows, "skip": self.D[...]}

    def initial_state(self, batch: int) -> Array:
        return jnp.zeros((batch, self.options.d_model, self.options.n // 2), self.complex_dtype)

    def one_step(self, u: Array, state: Array, constants: Constants) -> tuple[Array, Array]:
        state = self.advance(state, u, constants)
        y = jnp.einsum("hn,bhn->bh", constants["rows"], jnp.concatenate([state.real, state.imag], -1))
        return y + constants["skip"] * u, state


class S4Layer(LayerKeywords, S4):
    """The layer by keywords, those of ``ssm.s4.Options``."""

    model = "s4"


class S4Block(BlockKeywords, Block):
    """A block around the layer; see ``models_jax.network.Block``."""

    model = "s4"


class S4Model(ModelKeywords, SequenceModel):
    """A network of such blocks; see ``models_jax.network.SequenceModel``."""

    model = "s4"
