"""The rules of values, a function each: a refusal has the setting's name, the value given, the rule and the fix."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from settings.errors import SettingError

LARGEST = 2**31 - 1  # of a size: what the frameworks' kernels count with
LARGEST_SEED = 2**63 - 1  # PyTorch and JAX take no more


def python_scalar(value: Any) -> Any:
    """A NumPy scalar as Python's own: NumPy's small integers wrap around, and JAX takes its floats for arrays."""
    return value.item() if isinstance(value, np.generic) else value


def python_fields(options: Any) -> None:
    """Makes each field of a frozen dataclass Python's own; for its __post_init__."""
    for field in fields(options):
        object.__setattr__(options, field.name, python_scalar(getattr(options, field.name)))


def nearest(value: object, names: Iterable[object], cutoff: float = 0.6) -> str | None:
    """The name most like ``value``, or None where none is like it."""
    close = difflib.get_close_matches(str(value), [str(name) for name in names], n=1, cutoff=cutoff)
    return close[0] if close else None


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuses what is not among ``choices`` (a bool is no whole number here)."""
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return
    listed = ", ".join(map(str, choices))
    close = nearest(value, choices)
    raise SettingError(
        name, value, f"must be one of {listed}", f"did you mean {close}?" if close else f"choose one of {listed}."
    )


def check_whole(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        rule, fix = f"must be a whole number of at least {least}", f"set {name}={least} or more."
        raise SettingError(name, value, rule, fix)
    if most is not None and value > most:
        raise SettingError(name, value, f"must be a whole number of at most {most}", f"set {name}={most} or less.")


def check_size(name: str, value: object) -> None:
    """Refuses what cannot be the length of an array's axis."""
    check_whole(name, value, most=LARGEST)


def check_seed(name: str, value: object) -> None:
    check_whole(name, value, least=0, most=LARGEST_SEED)


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise SettingError(name, value, "must be true or false", f"set {name}=true or {name}=false.")


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
    raise SettingError(name, value, f"must be a number in {left}{low:g}, {high:g}{right}", f"set {name} within it.")


def check_input(shape: Sequence[int]) -> None:
    """Refuses an input (B, L, ...) without a sequence or without a step, of which no transform or mean exists."""
    if 0 in shape:
        fix = "give at least one sequence (axis 0) of at least one step."
        raise SettingError("x.shape", tuple(shape), "the input is empty", fix)


def required(group: str, settings: Mapping[str, Any], key: str) -> Any:
    """The value of `key` in a group's settings, which must be given."""
    if key not in settings:
        raise SettingError(f"{group}.{key}", None, "must be given", f"set {group}.{key}=...")
    return settings[key]


def check_known(group: str, settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses a key that a group does not have; `name` is always one."""
    for key, value in settings.items():
        if key not in known and key != "name":
            close = nearest(key, known)
            fix = f"did you mean {group}.{close}?" if close else "leave it out."
            rule = f"is not a setting of {group}={settings.get('name')}, which has {', '.join(sorted(known))}"
            raise SettingError(f"{group}.{key}", value, rule, fix)


def chosen_of(group: str, settings: Mapping[str, Any], key: str, choices: Collection[object]) -> Any:
    """The value of `key`, one of `choices`."""
    value = required(group, settings, key)
    check_choice(f"{group}.{key}", value, choices)
    return value


def whole_of(group: str, settings: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """The value of `key`, a whole number from `least` to `most`."""
    value = required(group, settings, key)
    check_whole(f"{group}.{key}", value, least, most)
    assert isinstance(value, int)
    return value
