"""Checks of a setting's value. Each refuses with the setting's name, the value given, the rule and the fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    if value not in choices:
        listed = ", ".join(choices)
        close = difflib.get_close_matches(str(value), list(choices), n=1)
        fix = f"did you mean {close[0]}?" if close else f"choose one of {listed}."
        raise ValueError(f"{name}={value!r}: must be one of {listed}; {fix}")


def check_whole(name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: must be a whole number of at least {least}; set {name}={least} or more.")


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
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if is_number:
        assert isinstance(value, int | float)
        if (low < value or (value == low and not open_low)) and (value < high or (value == high and not open_high)):
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
