"""Checks of a data set's settings (conf/dataset/<name>.yaml): keys and values, no files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

MOST_GENERATED = 10_000_000  # sequences; a hundred times what is published
LONGEST_TEXT = 1_000_000  # characters; no text of these sets has a tenth of that
LARGEST_SEED = 2**63 - 1
TENTH = 0.1  # of train is for validation, in every published split and in conf/dataset/


def refuse_unknown(name: str, settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse keys that the data set does not have; `name` itself is always allowed."""
    unknown = sorted(set(settings) - set(known) - {"name"})
    if unknown:
        given, choices = ", ".join(map(repr, unknown)), ", ".join(sorted(known))
        raise ValueError(f"dataset {name}: unknown setting {given}; it has {choices}")


def required(name: str, settings: Mapping[str, Any], key: str) -> Any:
    """The value of `key`, which must be given."""
    if key not in settings:
        raise ValueError(f"dataset {name}: setting {key!r} is missing; give dataset.{key}=...")
    return settings[key]


def validation_fraction(name: str, settings: Mapping[str, Any], fixed_by: str | None = None) -> float:
    """The part of train that is cut off for validation, strictly between 0 and 1.

    fixed_by: the protocol whose split is its own, if it is; no fraction but the published one can then be given.
    """
    value = required(name, settings, "validation_fraction")
    # bool is an int in Python: validation_fraction=true would read as 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(
            f"dataset {name}: validation_fraction={value!r} must be a number between 0 and 1, both excluded; "
            "0.1 cuts a tenth of train"
        )
    if fixed_by is not None and value != TENTH:
        raise ValueError(
            f"dataset {name}: validation_fraction={value!r} has no effect under protocol={fixed_by}, whose parts are "
            f"its own; leave it at {TENTH}, or choose protocol=default"
        )
    return float(value)


def choice(name: str, settings: Mapping[str, Any], key: str, choices: Collection[str]) -> str:
    """The value of `key`, one of `choices`."""
    value = required(name, settings, key)
    if not isinstance(value, str) or value not in choices:
        listed = " or ".join(sorted(choices))
        raise ValueError(f"dataset {name}: {key}={value!r} is not known; choose {listed}")
    return value


def whole_number(name: str, settings: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """The value of `key`, an integer from `least` to `most`."""
    value = required(name, settings, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"dataset {name}: {key}={value!r} must be a whole number, {least} or more; set dataset.{key}={least}"
        )
    if value > most:
        raise ValueError(f"dataset {name}: {key}={value!r} must be a whole number of at most {most}; lower it")
    return value


def number_choice(name: str, settings: Mapping[str, Any], key: str, choices: Collection[int]) -> int:
    """The value of `key`, one of the integers `choices`."""
    value = required(name, settings, key)
    if isinstance(value, bool) or not isinstance(value, int) or value not in choices:
        listed = " or ".join(map(str, choices))
        raise ValueError(f"dataset {name}: {key}={value!r} is not known; choose {listed}")
    return value
