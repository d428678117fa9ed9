"""DSS: options, initial parameters, and the slow exact forms (Gupta et al. 2022, arXiv 2203.14343), float64.

The kernel of a channel is K_l = Re sum_n W_n c_n exp(lambda_n dt l) with, for ``exp`` (section 3.2),
c_n = (exp(lambda_n dt) - 1) / lambda_n, and for ``softmax`` (proposition 1),
c_n = 1 / (lambda_n sum_{r < l_max} exp(lambda_n dt r)); conjugate pairs count twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from settings.errors import SettingError
from settings.rules import check_choice, check_flag, check_number, check_size, check_whole, python_fields
from ssm import hippo
from ssm.algorithms import check_algorithm
from ssm.counts import convolution
from ssm.discretise import check_steps
from ssm.hippo import MOST_STATES

VARIANTS = ("exp", "softmax")
# softmax: states may grow (Re lambda > 0), and only its kernel and its step form are safe then
ALGORITHMS = {"exp": ("fft", "chunked", "scan", "recurrent"), "softmax": ("fft", "recurrent")}
INITS = ("hippo", "random")
SSM_NAMES = frozenset({"Lambda_re", "Lambda_im", "log_dt"})

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Options:
    """Settings of a DSS layer; refused with a ValueError when they make no sense.

    n: state size N. conj_sym: store N/2 conjugate pairs (N even) and take twice the real part, or store N free complex
    states and take the real part. init: Lambda from the HiPPO-LegS skew part (positive imaginary half) or random.
    tied: one Lambda for all channels, or one a channel. eps keeps the softmax's reciprocal finite at the poles of its
    normaliser: 1 / x is taken as conj(x) / (|x|^2 + eps). algorithm: see ssm.algorithms; auto is fft.
    """

    model: ClassVar[str] = "dss"

    d_model: int
    n: int = 64
    l_max: int = 784
    variant: str = "exp"
    init: str = "hippo"
    conj_sym: bool = True
    tied: bool = True
    eps: float = 1e-20
    bidirectional: bool = False
    algorithm: str = "auto"
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        python_fields(self)
        check_size("d_model", self.d_model)
        check_whole("n", self.n, most=MOST_STATES)
        check_size("l_max", self.l_max)
        check_choice("variant", self.variant, VARIANTS)
        check_choice("init", self.init, INITS)
        check_flag("conj_sym", self.conj_sym)
        if self.conj_sym and self.n % 2:
            raise SettingError(
                "n",
                self.n,
                "must be even with conj_sym=true, which stores conjugate pairs",
                f"set n={self.n + 1} or conj_sym=false.",
            )
        check_flag("tied", self.tied)
        check_number("eps", self.eps, 0.0)
        check_flag("bidirectional", self.bidirectional)
        check_algorithm(self.algorithm, ALGORITHMS[self.variant], self.bidirectional)
        check_steps(self.dt_min, self.dt_max)

    @property
    def chosen(self) -> str:
        """The algorithm that runs."""
        return "fft" if self.algorithm == "auto" else self.algorithm

    @property
    def stored(self) -> int:
        """Complex states stored."""
        return self.n // 2 if self.conj_sym else self.n


def initial(options: Options, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Initial parameters by name, float64.

    Lambda_re, Lambda_im (1 or H, stored): Lambda_re is log(-Re lambda) for ``exp`` and Re lambda for ``softmax``;
    W_re, W_im (H, stored) standard normal, and W2_re, W2_im for the backward direction; log_dt (H,); D (H,).
    """
    h, stored = options.d_model, options.stored
    shape = (1 if options.tied else h, stored)
    if options.init == "hippo":
        w = hippo.dplr("legs", 2 * stored).w.conj()
        real = np.log(-w.real) if options.variant == "exp" else w.real
        values = {
            "Lambda_re": np.broadcast_to(real, shape).copy(),
            "Lambda_im": np.broadcast_to(w.imag, shape).copy(),
        }
    else:
        values = {"Lambda_re": rng.standard_normal(shape), "Lambda_im": rng.standard_normal(shape)}
    for name in ("W", "W2") if options.bidirectional else ("W",):
        values[name + "_re"] = rng.standard_normal((h, stored))
        values[name + "_im"] = rng.standard_normal((h, stored))
    values["log_dt"] = rng.uniform(np.log(options.dt_min), np.log(options.dt_max), h)
    values["D"] = rng.standard_normal(h)
    return values


def eigenvalues(options: Options, values: Values) -> np.ndarray:
    """Lambda (1 or H, stored) complex128."""
    real = -np.exp(values["Lambda_re"]) if options.variant == "exp" else values["Lambda_re"]
    return real + 1j * values["Lambda_im"]


def weights(options: Options, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """lambda dt (H, stored) and the factors (directions, H, stored) before exp(lambda dt l), pairs counted twice."""
    lam = eigenvalues(options, values)
    step = lam * np.exp(values["log_dt"])[:, None]
    if options.variant == "exp":
        factor = np.expm1(step) / lam
    else:
        factor = 1.0 / (lam * np.exp(step[..., None] * np.arange(options.l_max)).sum(-1))
    names = ("W", "W2") if options.bidirectional else ("W",)
    w = np.stack([values[name + "_re"] + 1j * values[name + "_im"] for name in names])
    return step, (2.0 if options.conj_sym else 1.0) * w * factor


def kernels(options: Options, values: Values, length: int) -> np.ndarray:
    """(directions, H, length) float64, by the definition."""
    step, factor = weights(options, values)
    return np.einsum("dhn,hnl->dhl", factor, np.exp(step[..., None] * np.arange(length))).real


def recurrence(options: Options, values: Values, u: np.ndarray) -> np.ndarray:
    """The layer's output by the exact recurrence x_l = exp(lambda dt) x_{l-1} + u_l: (B, L, H) float64 -> (B, L, H)."""
    step, factors = weights(options, values)
    y = u * values["D"]
    for direction, factor in enumerate(factors):
        state = np.zeros((u.shape[0], *step.shape), complex)
        steps = range(u.shape[1]) if direction == 0 else reversed(range(u.shape[1]))
        for index in steps:
            state = np.exp(step) * state + u[:, index, :, None]
            y[:, index] += (factor * state).sum(-1).real
    return y


def flops(options: Options, batch: int) -> float:
    """Forward operations for a batch of sequences of length l_max: the Vandermonde product and the convolution."""
    directions = 2 if options.bidirectional else 1
    kernel = directions * options.d_model * options.stored * options.l_max * 4.0
    return kernel + convolution(batch, options.d_model, options.l_max, directions)
