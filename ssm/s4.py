"""S4: options, initial parameters, and the slow exact forms (Gu et al. 2022, arXiv 2111.00396), float64.

The layer is H independent single-input single-output systems x' = A x + B u, y = C x + D u with
A = diag(Lambda) - P P*, discretised by the bilinear transform. One member of each conjugate pair is stored.
``C`` is the truncated output vector C~ = C (I - Abar^l_max) that the generating function needs (section 3.2), as in the
official code: learning it spares the power of Abar in each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from settings.errors import SettingError
from settings.rules import check_choice, check_flag, check_size, check_whole, python_fields
from ssm import hippo
from ssm.algorithms import check_algorithm
from ssm.counts import convolution, real_transform
from ssm.discretise import bilinear, check_steps
from ssm.hippo import MOST_STATES

REAL_PARTS = ("exp", "clip")
ALGORITHMS = ("fft", "recurrent")  # the others need a diagonal state matrix
LEAST_DECAY = 1e-4  # real_part=clip keeps Re Lambda at or below -LEAST_DECAY
FASTEST = 1e8  # |A dt|, above which the transform at the Nyquist frequency is rounding alone: NaN then, not a number
# legt and fourier have Re Lambda = 0: they start a little below, because at a pole on the circle Woodbury's correction
# cancels (with 1e-4 the gradient of Lambda keeps 7 digits of float64 instead of 12, and none of float32)
INITIAL_DECAY = 0.1
SSM_NAMES = frozenset({"Lambda_re", "Lambda_im", "P_re", "P_im", "B_re", "B_im", "log_dt"})

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Options:
    """Settings of an S4 layer; refused with a ValueError when they make no sense.

    n: real state size N, even (N/2 conjugate pairs are stored). init: HiPPO measure of A and B. rank: columns of the
    low-rank correction. tied: one (Lambda, P, B) for all channels, or one a channel. real_part: Re Lambda is
    -exp(Lambda_re), or Lambda_re clipped at -1e-4. algorithm: see ssm.algorithms; auto is fft. dt is drawn
    log-uniformly in [dt_min, dt_max], one a channel.
    """

    model: ClassVar[str] = "s4"

    d_model: int
    n: int = 64
    l_max: int = 784
    init: str = "legs"
    rank: int = 1
    tied: bool = True
    real_part: str = "exp"
    bidirectional: bool = False
    algorithm: str = "auto"
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        python_fields(self)
        check_size("d_model", self.d_model)
        check_whole("n", self.n, most=MOST_STATES)
        if self.n % 2:
            raise SettingError(
                "n", self.n, "must be even, S4 stores conjugate pairs", f"set n={self.n + 1} or n={self.n - 1}."
            )
        check_size("l_max", self.l_max)
        check_choice("init", self.init, hippo.RANKS)
        check_whole("rank", self.rank, most=self.n)
        if self.rank < hippo.RANKS[self.init]:
            least = hippo.RANKS[self.init]
            raise SettingError(
                "rank", self.rank, f"init={self.init} needs a correction of rank {least}", f"set rank={least}."
            )
        check_flag("tied", self.tied)
        check_choice("real_part", self.real_part, REAL_PARTS)
        check_flag("bidirectional", self.bidirectional)
        check_algorithm(self.algorithm, ALGORITHMS, self.bidirectional)
        check_steps(self.dt_min, self.dt_max)

    @property
    def chosen(self) -> str:
        """The algorithm that runs."""
        return "fft" if self.algorithm == "auto" else self.algorithm


def initial(options: Options, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Initial parameters by name, float64.

    Lambda_re, Lambda_im (1 or H, N/2); P_re, P_im (rank, 1 or H, N/2); B_re, B_im (1 or H, N/2); C_re, C_im (H, N/2),
    and C2_re, C2_im for the backward direction; log_dt (H,); D (H,) standard normal.
    """
    h, copies = options.d_model, 1 if options.tied else options.d_model
    form = hippo.dplr(options.init, options.n, options.rank)
    decay = np.maximum(-form.w.real, INITIAL_DECAY)
    values = {
        "Lambda_re": np.log(decay) if options.real_part == "exp" else -decay,
        "Lambda_im": form.w.imag,
        "P_re": form.P.real[:, None],
        "P_im": form.P.imag[:, None],
        "B_re": form.B.real,
        "B_im": form.B.imag,
    }
    for name, value in values.items():
        shape = (options.rank, copies, options.n // 2) if name.startswith("P") else (copies, options.n // 2)
        values[name] = np.broadcast_to(value, shape).copy()
    values["log_dt"] = rng.uniform(np.log(options.dt_min), np.log(options.dt_max), h)
    values["D"] = rng.standard_normal(h)
    a_bar, _ = dense(options, values)
    power = np.linalg.matrix_power(a_bar, options.l_max)
    for name in ("C", "C2") if options.bidirectional else ("C",):
        c = (rng.standard_normal((h, options.n // 2)) + 1j * rng.standard_normal((h, options.n // 2))) * np.sqrt(0.5)
        full = np.concatenate([c, c.conj()], -1)
        truncated = (full - (full[:, None] @ power)[:, 0])[:, : options.n // 2]
        values[name + "_re"], values[name + "_im"] = truncated.real, truncated.imag
    return values


def continuous(options: Options, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lambda (1 or H, N/2), P (rank, 1 or H, N/2), B (1 or H, N/2), complex128."""
    stored = values["Lambda_re"]
    real = -np.exp(stored) if options.real_part == "exp" else np.minimum(stored, -LEAST_DECAY)
    return (
        real + 1j * values["Lambda_im"],
        values["P_re"] + 1j * values["P_im"],
        values["B_re"] + 1j * values["B_im"],
    )


def dense(options: Options, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """The discrete system over the full state, both members of each pair: Abar (H, N, N), Bbar (H, N) complex128."""
    w, p, b = (np.concatenate([x, x.conj()], -1) for x in continuous(options, values))
    a = np.eye(options.n) * w[:, None, :] - np.einsum("rhn,rhm->hnm", p, p.conj())
    dt = np.exp(values["log_dt"])
    shape = (options.d_model, options.n)
    return bilinear(np.broadcast_to(a, (*shape, options.n)), np.broadcast_to(b, shape), dt)


def output_vectors(options: Options, values: Values) -> list[np.ndarray]:
    """C (H, N) of the full state for each direction: C~ (I - Abar^l_max)^-1."""
    a_bar, _ = dense(options, values)
    rest = np.eye(options.n) - np.linalg.matrix_power(a_bar, options.l_max)
    vectors = []
    for name in ("C", "C2") if options.bidirectional else ("C",):
        half = values[name + "_re"] + 1j * values[name + "_im"]
        full = np.concatenate([half, half.conj()], -1)
        vectors.append(np.linalg.solve(rest.swapaxes(-1, -2), full[..., None])[..., 0])
    return vectors


def kernels(options: Options, values: Values, length: int) -> np.ndarray:
    """K[d, h, l] = C Abar^l Bbar, stepped densely: (directions, H, length) float64."""
    a_bar, b_bar = dense(options, values)
    outputs = np.stack(output_vectors(options, values))
    state = b_bar
    taps = []
    for _ in range(length):
        taps.append(np.einsum("dhn,hn->dh", outputs, state).real)
        state = (a_bar @ state[..., None])[..., 0]
    return np.stack(taps, -1)


def recurrence(options: Options, values: Values, u: np.ndarray) -> np.ndarray:
    """The layer's output by the exact recurrence: u (B, L, H) float64 -> (B, L, H)."""
    a_bar, b_bar = dense(options, values)
    y = u * values["D"]
    for direction, c in enumerate(output_vectors(options, values)):
        state = np.zeros((u.shape[0], *b_bar.shape), complex)
        steps = range(u.shape[1]) if direction == 0 else reversed(range(u.shape[1]))
        for step in steps:
            state = np.einsum("hnm,bhm->bhn", a_bar, state) + b_bar * u[:, step, :, None]
            y[:, step] += np.einsum("hn,bhn->bh", c, state).real
    return y


def flops(options: Options, batch: int) -> float:
    """Forward operations for a batch of length l_max: kernel (12 a reciprocal, the Cauchy sums) and convolution."""
    points, pairs = options.l_max // 2 + 1, options.n // 2
    directions = 2 if options.bidirectional else 1
    sums = 2 * (directions + options.rank) * (1 + options.rank)
    kernel = options.d_model * points * pairs * (12.0 + 4.0 * sums) + directions * options.d_model * real_transform(
        options.l_max
    )
    return kernel + convolution(batch, options.d_model, options.l_max, directions)
