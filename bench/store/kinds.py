"""What one value of a record may be: its kind and its range. A check gives None, or what was expected instead.

Every number is finite: a file that says 1e999 holds none. bench/store/schema.py says which field is of which kind, and
bench/store/consistency.py how fields depend on each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Check = Callable[[Any], str | None]

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}")
ROUND_OFF = 1e-6  # nats: a cross-entropy that is 0 may come out as much below
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00")  # as text in the order of time


def is_number(value: Any) -> bool:
    """A finite real number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def is_whole(value: Any, least: int = 0) -> bool:
    """A whole number, written as one: 64.0 is none."""
    return is_number(value) and isinstance(value, int) and value >= least


def amount(value: Any) -> str | None:
    """Seconds, operations, samples a second: nothing that could be negative."""
    return None if is_number(value) and value >= 0 else "a finite number of 0 or more"


def bound(value: Any) -> str | None:
    return None if is_number(value) and value > 0 else "a finite number above 0"


def share(value: Any) -> str | None:
    return None if is_number(value) and 0 <= value <= 1 else "a number from 0 to 1"


def cross_entropy(value: Any) -> str | None:
    return None if is_number(value) and value >= -ROUND_OFF else "a finite number of 0 or more"


def whole(value: Any) -> str | None:
    return None if is_whole(value) else "a whole number of 0 or more"


def count(value: Any) -> str | None:
    return None if is_whole(value, 1) else "a whole number of 1 or more"


def text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a string"


def name(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "a string that is not blank"


def file_name(value: Any) -> str | None:
    known = isinstance(value, str) and SAFE_NAME.fullmatch(value)
    return None if known else "a plain file name of letters, digits, '.', '_', '+', '-'"


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def mapping(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else "an object"


def moment(value: Any) -> str | None:
    """A time in UTC; one form only, as records are sorted by it."""
    expected = "a time in UTC such as 2025-01-31T23:59:00+00:00"
    if not (isinstance(value, str) and _MOMENT.fullmatch(value)):
        return expected
    try:
        datetime.fromisoformat(value)
    except ValueError:  # the 31st of February
        return expected
    return None


def digits_of_hash(*lengths: int) -> Check:
    """Hexadecimal digits, as many as one of the lengths."""
    expected = f"{' or '.join(map(str, lengths))} hexadecimal digits"

    def check(value: Any) -> str | None:
        known = isinstance(value, str) and len(value) in lengths and re.fullmatch("[0-9a-f]+", value)
        return None if known else expected

    return check


def one_of(*choices: str) -> Check:
    def check(value: Any) -> str | None:
        return None if isinstance(value, str) and value in choices else f"one of {', '.join(choices)}"

    return check


def list_of(check: Check, nulls: bool = False) -> Check:
    """A list whose entries all pass; `nulls`: or are null, as a number is that was not finite."""

    def of_list(value: Any) -> str | None:
        if isinstance(value, list) and all((nulls and item is None) or check(item) is None for item in value):
            return None
        return f"a list, each entry {check(None)}{' or null' if nulls else ''}"

    return of_list


def mapping_of(key: Check, check: Check, nulls: bool = False) -> Check:
    """An object whose names and values all pass; `nulls`: or whose value is null."""

    def of_mapping(value: Any) -> str | None:
        if isinstance(value, Mapping) and all(
            key(own) is None and ((nulls and item is None) or check(item) is None) for own, item in value.items()
        ):
            return None
        return f"an object, each name {key(None)}, each value {check(None)}{' or null' if nulls else ''}"

    return of_mapping
