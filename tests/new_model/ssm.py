"""Plain diagonal states with real decays, one bank a feature: x_l = exp(-dt lambda) x_{l-1} + u_l, y = C x + D u."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from settings.errors import SettingError
from settings.rules import check_size, python_fields
from ssm.algorithms import check_algorithm
from ssm.discretise import check_steps

SSM_NAMES = frozenset({"Lambda", "log_dt"})


@dataclass(frozen=True)
class Options:
    """n: states a feature. algorithm: fft, or the step form."""

    model: ClassVar[str] = "decay"

    d_model: int
    n: int = 64
    l_max: int = 784
    bidirectional: bool = False
    algorithm: str = "auto"
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        python_fields(self)
        for name in ("d_model", "n", "l_max"):
            check_size(name, getattr(self, name))
        if self.bidirectional:
            raise SettingError("bidirectional", True, "this layer sees the past alone", "set bidirectional=false.")
        check_algorithm(self.algorithm, ("fft", "recurrent"), self.bidirectional)
        check_steps(self.dt_min, self.dt_max)

    @property
    def chosen(self) -> str:
        return "fft" if self.algorithm == "auto" else self.algorithm


def initial(options: Options, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Lambda (N,), its logarithm; log_dt (H,); C (H, N); D (H,)."""
    h, n = options.d_model, options.n
    return {
        "Lambda": np.log(np.arange(1.0, n + 1)),
        "log_dt": rng.uniform(np.log(options.dt_min), np.log(options.dt_max), h),
        "C": rng.standard_normal((h, n)) / n,
        "D": rng.standard_normal(h),
    }


def recurrence(options: Options, values: Mapping[str, np.ndarray], u: np.ndarray) -> np.ndarray:
    """The output by the exact recurrence: u (B, L, H) -> (B, L, H)."""
    decay = np.exp(-np.exp(values["log_dt"])[:, None] * np.exp(values["Lambda"]))
    state, outputs = np.zeros((len(u), *decay.shape)), []
    for step in u.swapaxes(0, 1):
        state = decay * state + step[..., None]
        outputs.append((values["C"] * state).sum(-1) + values["D"] * step)
    return np.stack(outputs, 1)


def flops(options: Options, batch: int) -> float:
    return batch * options.l_max * options.d_model * 6.0 * options.n
