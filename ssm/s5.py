"""S5: options, initial parameters, and the slow exact form (Smith et al. 2023, arXiv 2208.04933), float64.

One multi-input multi-output diagonal system a layer: x' = Lambda x + B u, y = C x + D u, with P latent states and one
step a state; Lambda starts as J blocks of HiPPO-N of size P / J (section 4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from settings.errors import SettingError
from settings.rules import check_choice, check_flag, check_number, check_size, check_whole, python_fields
from ssm import hippo
from ssm.algorithms import check_algorithm
from ssm.discretise import METHODS, bilinear_diagonal, check_steps, zoh_diagonal
from ssm.hippo import MOST_STATES

ALGORITHMS = ("fft", "chunked", "scan", "recurrent")
C_INITS = ("trunc_standard_normal", "lecun_normal", "complex_normal")
LEAST_DECAY = 1e-4  # clip_eigs keeps Re Lambda at or below -LEAST_DECAY
SSM_NAMES = frozenset({"Lambda_re", "Lambda_im", "B_re", "B_im", "log_dt"})

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Options:
    """Settings of an S5 layer; refused with a ValueError when they make no sense.

    n: latent state size P. blocks: J, the HiPPO-N blocks on the diagonal (P divisible by J). conj_sym: store P/2
    conjugate pairs and take twice the real part. clip_eigs: keep Re Lambda at or below -1e-4. discretisation: zoh or
    bilinear. c_init: how C is drawn. dt_shared: one step for all states. step_rescale multiplies every step (to run at
    another sampling rate). bidirectional: a second C reads the states scanned backwards. algorithm: see
    ssm.algorithms; auto is scan.
    """

    model: ClassVar[str] = "s5"

    d_model: int
    n: int = 64
    l_max: int = 784
    blocks: int = 1
    conj_sym: bool = True
    clip_eigs: bool = False
    discretisation: str = "zoh"
    c_init: str = "trunc_standard_normal"
    dt_shared: bool = False
    step_rescale: float = 1.0
    bidirectional: bool = False
    algorithm: str = "auto"
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        python_fields(self)
        check_size("d_model", self.d_model)
        check_whole("n", self.n, most=MOST_STATES)
        check_size("l_max", self.l_max)
        check_whole("blocks", self.blocks)
        if self.n % self.blocks:
            near = self.blocks * max(1, round(self.n / self.blocks))
            raise SettingError(
                "n", self.n, f"must be divisible by blocks={self.blocks} (J of S5)", f"set n={near} or blocks=1."
            )
        check_flag("conj_sym", self.conj_sym)
        if self.conj_sym and (self.n // self.blocks) % 2:
            raise SettingError(
                "n",
                self.n,
                f"n / blocks = {self.n // self.blocks} must be even with conj_sym=true, which stores conjugate pairs",
                f"set n={self.n + self.blocks} or conj_sym=false.",
            )
        check_flag("clip_eigs", self.clip_eigs)
        check_choice("discretisation", self.discretisation, METHODS)
        check_choice("c_init", self.c_init, C_INITS)
        check_flag("dt_shared", self.dt_shared)
        check_number("step_rescale", self.step_rescale, 0.0, open_low=True)
        check_flag("bidirectional", self.bidirectional)
        check_algorithm(self.algorithm, ALGORITHMS, self.bidirectional)
        check_steps(self.dt_min, self.dt_max)

    @property
    def chosen(self) -> str:
        """The algorithm that runs."""
        return "scan" if self.algorithm == "auto" else self.algorithm

    @property
    def stored(self) -> int:
        """Complex states stored."""
        return self.n // 2 if self.conj_sym else self.n


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Normal cut at two deviations, then scaled to standard deviation ``deviation`` (the 'lecun' recipe)."""
    low, high = ndtr(-2.0), ndtr(2.0)
    return ndtri(rng.uniform(low, high, shape)) * (deviation / 0.87962566103423978)


def block_diagonal(matrix: np.ndarray, copies: int) -> np.ndarray:
    """(n, m) -> (copies n, copies m)."""
    return np.kron(np.eye(copies), matrix)


def initial(options: Options, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Initial parameters by name, float64, with S = P/2 (conj_sym) or P.

    Lambda_re, Lambda_im (S,); B_re, B_im (S, H) = V^-1 B, B lecun-normal; C_re, C_im (H, S) = C V, and C2_re, C2_im for
    the backward direction; log_dt (S,) or (1,); D (H,).
    """
    h, p, size = options.d_model, options.n, options.n // options.blocks
    w, v = hippo.normal_eigen(size)
    if options.conj_sym:
        w, v = w[: size // 2], v[:, : size // 2]
    lam = np.tile(w, options.blocks)
    v = block_diagonal(v, options.blocks)
    b = v.conj().T @ truncated_normal(rng, (p, h), p**-0.5)
    values = {"Lambda_re": lam.real.copy(), "Lambda_im": lam.imag.copy(), "B_re": b.real, "B_im": b.imag}
    for name in ("C", "C2") if options.bidirectional else ("C",):
        if options.c_init == "complex_normal":
            c = (rng.standard_normal((h, options.stored)) + 1j * rng.standard_normal((h, options.stored))) * np.sqrt(
                0.5
            )
        else:
            # the published trunc_standard_normal is lecun normal a row (fan-in P); its lecun_normal counts H as well
            deviation = p**-0.5 if options.c_init == "trunc_standard_normal" else (p * h) ** -0.5
            c = (truncated_normal(rng, (h, p), deviation) + 1j * truncated_normal(rng, (h, p), deviation)) @ v
        values[name + "_re"], values[name + "_im"] = c.real, c.imag
    steps = 1 if options.dt_shared else options.stored
    values["log_dt"] = rng.uniform(np.log(options.dt_min), np.log(options.dt_max), steps)
    values["D"] = rng.standard_normal(h)
    return values


def discrete(options: Options, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Lambda_bar (S,), B_bar (S, H) complex128."""
    real = np.minimum(values["Lambda_re"], -LEAST_DECAY) if options.clip_eigs else values["Lambda_re"]
    dt = options.step_rescale * np.exp(values["log_dt"])
    rule = zoh_diagonal if options.discretisation == "zoh" else bilinear_diagonal
    lam_bar, factor = rule(real + 1j * values["Lambda_im"], dt)
    return lam_bar, factor[:, None] * (values["B_re"] + 1j * values["B_im"])


def states(options: Options, values: Values, u: np.ndarray) -> np.ndarray:
    """x_l = Lambda_bar x_{l-1} + B_bar u_l from zero: u (B, L, H) float64 -> (B, L, S) complex128."""
    lam_bar, b_bar = discrete(options, values)
    state = np.zeros((u.shape[0], len(lam_bar)), complex)
    visited = []
    for index in range(u.shape[1]):
        state = lam_bar * state + u[:, index] @ b_bar.T
        visited.append(state)
    return np.stack(visited, 1)


def recurrence(options: Options, values: Values, u: np.ndarray) -> np.ndarray:
    """The layer's output by the exact recurrence: u (B, L, H) float64 -> (B, L, H)."""
    scale = 2.0 if options.conj_sym else 1.0
    y = u * values["D"] + scale * (states(options, values, u) @ (values["C_re"] + 1j * values["C_im"]).T).real
    if options.bidirectional:
        backward = states(options, values, u[:, ::-1])[:, ::-1]
        y = y + scale * (backward @ (values["C2_re"] + 1j * values["C2_im"]).T).real
    return y


def flops(options: Options, batch: int) -> float:
    """Forward operations for a batch of sequences of length l_max: projections in and out, and the scan."""
    directions = 2 if options.bidirectional else 1
    projections = 4.0 * options.d_model * options.stored * (1 + directions)
    return batch * options.l_max * (projections + directions * 8.0 * options.stored + 2.0 * options.d_model)
