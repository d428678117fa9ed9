"""The rules of values, a function each: a refusal has the setting's name, the value given, the rule and the fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable

from settings.errors import SettingError


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


def check_whole(name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        rule, fix = f"must be a whole number of at least {least}", f"set {name}={least} or more."
        raise SettingError(name, value, rule, fix)


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
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if is_number:
        assert isinstance(value, int | float)
        if (low < value or (value == low and not open_low)) and (value < high or (value == high and not open_high)):
            return
    left, right = ("(" if open_low else "["), (")" if open_high else "]")
    raise SettingError(name, value, f"must be a number in {left}{low:g}, {high:g}{right}", f"set {name} within it.")
