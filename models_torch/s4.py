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

import torch
from torch import Tensor, nn

from models_torch.cauchy import cauchy_sums
from models_torch.conv import convolve
from models_torch.keywords import BlockKeywords, LayerKeywords, ModelKeywords
from models_torch.layer import Constants, Layer, complex_of, step_sizes
from models_torch.network import Block, SequenceModel
from ssm.s4 import FASTEST, LEAST_DECAY


def solved(x: Tensor, info: Tensor) -> Tensor:
    """x (H, ...), NaN in the channels whose matrix LAPACK found singular (``info``), where it would have raised."""
    return torch.where(info[:, None, None] == 0, x, torch.nan)


class S4(Layer):
    """H independent S4 systems."""

    Lambda_re: nn.Parameter  # (1 or H, N/2): log of -Re Lambda (real_part=exp), or Re Lambda
    Lambda_im: nn.Parameter
    P_re: nn.Parameter  # (rank, 1 or H, N/2), the correction
    P_im: nn.Parameter
    B_re: nn.Parameter  # (1 or H, N/2)
    B_im: nn.Parameter
    C_re: nn.Parameter  # (H, N/2), truncated for l_max
    C_im: nn.Parameter
    C2_re: nn.Parameter  # (H, N/2), of the backward direction
    C2_im: nn.Parameter

    def over_sequence(self, u: Tensor) -> Tensor:
        return convolve(u, self.kernels(u.shape[1]), self.D)

    def decay(self) -> Tensor:
        """-Re Lambda (1 or H, N/2), positive."""
        if self.options.real_part == "exp":
            return self.Lambda_re.exp()
        return -self.Lambda_re.clamp(max=-LEAST_DECAY)

    def steps_taken(self) -> Tensor:
        """dt (H, 1); NaN where a state is faster than the layer can compute."""
        dt = step_sizes(self.log_dt)[:, None]
        speed = self.decay() + self.Lambda_im.abs() + (self.P_re.square() + self.P_im.square()).sum(0)
        return torch.where((dt * speed).detach().amax(-1, keepdim=True) < FASTEST, dt, torch.nan)

    def outputs(self) -> tuple[Tensor, Tensor]:
        """C~, real and imaginary parts (directions, H, N/2)."""
        if self.options.bidirectional:
            return torch.stack([self.C_re, self.C2_re]), torch.stack([self.C_im, self.C2_im])
        return self.C_re[None], self.C_im[None]

    def kernels(self, length: int) -> Tensor:
        """Convolution kernels (directions, H, length). Past l_max the truncated outputs are made anew."""
        nodes, (c_re, c_im) = self.options.l_max, self.outputs()
        if length > nodes:
            rows = self.output_rows(length)
            nodes, (c_re, c_im) = (
                length,
                (0.5 * rows[..., : rows.shape[-1] // 2], -0.5 * rows[..., rows.shape[-1] // 2 :]),
            )
        return torch.fft.irfft(self.generating_function(c_re, c_im, nodes), n=nodes)[..., :length]

    def generating_function(self, c_re: Tensor, c_im: Tensor, nodes: int) -> Tensor:
        """K at the first half of the ``nodes`` roots of unity: (directions, H, nodes // 2 + 1) complex."""
        angle = torch.arange(nodes // 2 + 1, device=c_re.device, dtype=torch.float64) * (math.pi / nodes)
        turn = torch.polar(torch.ones_like(angle), angle).to(complex_of(c_re))
        sigma, cosine = (2.0 * angle.sin()).to(c_re.dtype), angle.cos().to(c_re.dtype)
        dt = self.steps_taken()  # (H, 1)
        a, b = self.decay(), self.Lambda_im  # (1 or H, S)

        # products of every left vector (C~ a direction, then P*) and every right one (B, then P): (left, right, H, S)
        left_re, left_im = (
            torch.cat([c_re, self.P_re.expand(-1, *c_re.shape[1:])]),
            torch.cat([c_im, -self.P_im.expand(-1, *c_im.shape[1:])]),
        )
        right_re, right_im = torch.cat([self.B_re[None], self.P_re]), torch.cat([self.B_im[None], self.P_im])
        x = left_re[:, None] * right_re - left_im[:, None] * right_im
        y = left_re[:, None] * right_im + left_im[:, None] * right_re
        shape = x.shape[:2]
        terms = torch.stack([2.0 * (x * a - y * b), 2.0 * x]).flatten(0, 2).transpose(0, 1)  # (H, 2 left right, S)

        kappa = dt * cosine  # (H, F)
        a, b = (t.expand(len(terms), -1) for t in (a, b))
        real, imag = cauchy_sums(terms, a, b, kappa, sigma)  # (H, 2 left right, F) each
        real, imag = (t.unflatten(1, (2, *shape)) for t in (real, imag))
        kappa = kappa[:, None, None]
        total = torch.complex(
            kappa * real[:, 0] - sigma * imag[:, 1],
            kappa * imag[:, 0] + sigma * real[:, 1],
        )  # (H, left, right, F): left (2 i s - kappa Lambda)^-1 right, both members of each pair
        directions = shape[0] - self.options.rank
        for column in range(1, 1 + self.options.rank):
            row = directions + column - 1
            pivot = 1.0 + kappa[:, 0] * total[:, row, column, None]  # Woodbury, one rank after the other
            total = total - kappa * total[:, :, column, None] * (total[:, row] / pivot)[:, None]
        return (total[:, :directions, 0] * (turn * dt[..., None])).transpose(0, 1)

    # ---- one step at a time ----

    def step_constants(self) -> Constants:
        """The bilinear step in O(N) a channel, without the output vector: complex, in this layer's precision."""
        dt = self.steps_taken()
        w = torch.complex(-self.decay(), self.Lambda_im)
        p, b = torch.complex(self.P_re, self.P_im), torch.complex(self.B_re, self.B_im)
        inverse = 1.0 / (1.0 - 0.5 * dt * w)  # (H, S)
        spread = inverse * p  # (rank, H, S)
        conjugate = p.conj().expand_as(spread)
        gram = 2.0 * torch.einsum("rhs,ths->hrt", conjugate, spread).real
        eye = torch.eye(len(p), dtype=gram.dtype, device=gram.device)
        solve = solved(*torch.linalg.inv_ex(eye + 0.5 * dt[..., None] * gram))  # (H, rank, rank)
        return {
            "keep": inverse * (1.0 + 0.5 * dt * w),
            "enter": inverse * dt * b,
            "p": conjugate,
            "spread": 0.5 * dt * spread,
            "solve": solve,
        }

    def advance(self, state: Tensor, u: Tensor, constants: Constants) -> Tensor:
        """Abar x + Bbar u: state (B, H, S), u (B, H) -> (B, H, S)."""
        p, spread = constants["p"], constants["spread"]
        before = 2.0 * torch.einsum("rhs,bhs->bhr", p, state).real
        free = (
            constants["keep"] * state
            - torch.einsum("rhs,bhr->bhs", spread, before.to(p.dtype))
            + constants["enter"] * u[..., None]
        )
        after = torch.einsum("hrt,bht->bhr", constants["solve"], 2.0 * torch.einsum("rhs,bhs->bhr", p, free).real)
        return free - torch.einsum("rhs,bhr->bhs", spread, after.to(p.dtype))

    def dense(self) -> Tensor:
        """Abar in the real coordinates (Re x, Im x): (H, N, N), float64 because its powers follow."""
        constants = {
            name: value.to(torch.complex128 if value.is_complex() else torch.float64)
            for name, value in self.step_constants().items()
        }
        h, half = self.options.d_model, self.options.n // 2
        unit = torch.eye(half, dtype=torch.complex128, device=self.D.device)
        basis = torch.cat([unit, 1j * unit])[:, None].expand(-1, h, -1)
        image = self.advance(basis, self.D.new_zeros(2 * half, h, dtype=torch.float64), constants)
        return torch.cat([image.real, image.imag], -1).permute(1, 2, 0)

    def output_rows(self, length: int | None = None) -> Tensor:
        """Real rows r (directions, H, N) with C x = r (Re x, Im x); truncated for ``length`` when one is given."""
        c_re, c_im = self.outputs()
        rows = torch.cat([2.0 * c_re, -2.0 * c_im], -1).double()
        a = self.dense()
        eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        rest = eye - torch.linalg.matrix_power(a, self.options.l_max)
        rows = solved(*torch.linalg.solve_ex(rest.mT, rows.permute(1, 2, 0)))  # (H, N, directions)
        if length is not None:
            rows = rows - torch.linalg.matrix_power(a, length).mT @ rows
        return rows.permute(2, 0, 1).to(c_re.dtype)

    def step_form(self) -> Constants:
        rows = self.output_rows()[0]
        return self.step_constants() | {"rows": rows, "skip": self.D}

    def initial_state(self, batch: int) -> Tensor:
        dtype = self.complex_dtype
        return torch.zeros(batch, self.options.d_model, self.options.n // 2, dtype=dtype, device=self.D.device)

    def one_step(self, u: Tensor, state: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
        state = self.advance(state, u, constants)
        y = torch.einsum("hn,bhn->bh", constants["rows"], torch.cat([state.real, state.imag], -1))
        return y + constants["skip"] * u, state


class S4Layer(LayerKeywords, S4):
    """The layer by keywords, those of ``ssm.s4.Options``."""

    model = "s4"


class S4Block(BlockKeywords, Block):
    """A block around the layer; see ``models_torch.network.Block``."""

    model = "s4"


class S4Model(ModelKeywords, SequenceModel):
    """A network of such blocks; see ``models_torch.network.SequenceModel``."""

    model = "s4"
