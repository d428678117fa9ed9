"""Checks of a setting's value. Each refuses with the setting's name, the value given, the rule and the fix."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

LARGEST = 2**31 - 1  # of a size: what the frameworks' kernels count with
MOST_STATES = 2**16  # HiPPO's matrices have as many rows and columns: 34 GB
MOST_BLOCKS = 10_000
LARGEST_SEED = 2**63 - 1  # PyTorch and JAX take no more


def python_scalar(value: Any) -> Any:
    """A NumPy scalar as Python's own: NumPy's small integers wrap around, and JAX takes its floats for arrays."""
    return value.item() if isinstance(value, np.generic) else value


def python_fields(options: Any) -> None:
    """Makes each field of a frozen dataclass Python's own; for its __post_init__."""
    for field in fields(options):
        object.__setattr__(options, field.name, python_scalar(getattr(options, field.name)))


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(choices)
        close = difflib.get_close_matches(str(value), list(choices), n=1)
        fix = f"did you mean {close[0]}?" if close else f"choose one of {listed}."
        raise ValueError(f"{name}={value!r}: must be one of {listed}; {fix}")


def check_whole(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: must be a whole number of at least {least}; set {name}={least} or more.")
    if most is not None and value > most:
        raise ValueError(f"{name}={value!r}: must be a whole number of at most {most}; set {name}={most} or less.")


def check_size(name: str, value: object) -> None:
    """Refuses what cannot be the length of an array's axis."""
    check_whole(name, value, most=LARGEST)


def check_input(shape: Sequence[int]) -> None:
    """Refuses an input (B, L, ...) without a sequence or without a step, of which no transform or mean exists."""
    if 0 in shape:
        raise ValueError(
            f"x.shape={tuple(shape)}: the input is empty; give at least one sequence (axis 0) of at least one step."
        )


def check_pooled(length: int, pooling: str, size: int) -> None:
    """Refuses a sequence that has not one group of the ``size`` steps that are pooled."""
    if length < size:
        raise ValueError(
            f"pooling={pooling!r}: the block gets {length} steps, fewer than it pools; give a longer sequence."
        )


def check_seed(name: str, value: object) -> None:
    check_whole(name, value, least=0, most=LARGEST_SEED)


def generator(seed: int) -> np.random.Generator:
    """Random numbers of a seed, which is checked."""
    seed = python_scalar(seed)
    check_seed("seed", seed)
    return np.random.default_rng(seed)


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: must be true or false; set {name}=true or {name}=false.")


def check_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuses what is not a finite number within [low, high]; an open end excludes its bound."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        largest = sys.float_info.max  # a whole number beyond it is none of the frameworks' numbers
        above = low < value or (value == low and not open_low)
        below = value < high or (value == high and not open_high)
        if -largest <= value <= largest and above and below:
            return
    left, right = ("(" if open_low else "["), (")" if open_high else "]")
    raise ValueError(f"{name}={value!r}: must be a number in {left}{low:g}, {high:g}{right}; set {name} within it.")


def check_steps(dt_min: object, dt_max: object) -> None:
    check_number("dt_min", dt_min, 0.0, open_low=True)
    check_number("dt_max", dt_max, 0.0, open_low=True)
    assert isinstance(dt_min, int | float)
    assert isinstance(dt_max, int | float)
    if dt_min > dt_max:
        raise ValueError(f"dt_min={dt_min!r}: must not be larger than dt_max={dt_max!r}; lower dt_min or raise dt_max.")


def split_settings(settings: Mapping[str, Any], *classes: type, also: Collection[str] = ()) -> list[dict[str, Any]]:
    """Deals ``settings`` out to dataclasses by field name, in the order of ``classes``.

    Raises ValueError for a setting that no class (nor ``also``) knows, naming the closest one that exists.
    """
    names = [[field.name for field in fields(cls)] for cls in classes]
    known = {name for group in names for name in group} | set(also)
    for name, value in settings.items():
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            fix = f"did you mean {close[0]}?" if close else "leave it out."
            raise ValueError(f"{name}={value!r}: is not a setting of this model ({', '.join(sorted(known))}); {fix}")
    return [{name: settings[name] for name in group if name in settings} for group in names]
