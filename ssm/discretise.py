"""Continuous to discrete time: bilinear transform and zero-order hold, diagonal and dense, complex128."""

from __future__ import annotations

import numpy as np

from settings.errors import SettingError
from settings.rules import check_number

METHODS = ("zoh", "bilinear")


def bilinear(a: np.ndarray, b: np.ndarray, dt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense bilinear transform (S4, eq. 3): a (..., N, N), b (..., N), dt (...) -> Abar, Bbar of the shapes of a, b."""
    eye = np.eye(a.shape[-1])
    half = (np.asarray(dt) / 2.0)[..., None, None] * a
    inverse = np.linalg.inv(eye - half)
    return inverse @ (eye + half), (inverse @ b[..., None])[..., 0] * np.asarray(dt)[..., None]


def bilinear_diagonal(w: np.ndarray, dt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal bilinear transform: eigenvalues w and steps dt (broadcast) -> (Lambda_bar, the factor that B takes)."""
    inverse = 1.0 / (1.0 - 0.5 * dt * w)
    return inverse * (1.0 + 0.5 * dt * w), inverse * dt


def zoh_diagonal(w: np.ndarray, dt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal zero-order hold (S5, eq. 6): -> (exp(w dt), (exp(w dt) - 1) / w)."""
    return np.exp(w * dt), np.expm1(w * dt) / w


def check_steps(dt_min: object, dt_max: object) -> None:
    check_number("dt_min", dt_min, 0.0, open_low=True)
    check_number("dt_max", dt_max, 0.0, open_low=True)
    assert isinstance(dt_min, int | float)
    assert isinstance(dt_max, int | float)
    if dt_min > dt_max:
        rule = f"must not be larger than dt_max={dt_max!r}"
        raise SettingError("dt_min", dt_min, rule, "lower dt_min or raise dt_max.")
