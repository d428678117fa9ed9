"""JSON as its standard has it, where Python's reader is generous."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str) -> Any:
    """The value of JSON text. ValueError where it is damaged, for NaN and Infinity, which JSON has not, and for a name
    that stands twice in an object, of which Python takes the last.
    """
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_second)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _no_second(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name[:100]!r} stands twice in an object")
        found[name] = value
    return found
