"""A message of the protocol as a line of JSON, and back: an object whose "@" names its dataclass, at any depth."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from bench.workers.protocol import MESSAGES, PROTOCOL
from settings.reasons import said

_NAME = "@"  # no setting and no field of a record is called so


class ProtocolError(RuntimeError):
    """A line that is no message of this version of the protocol."""


def encode(message: Any) -> str:
    """One line, without its end. NaN and infinities pass, as Python's JSON writes and reads them."""
    return json.dumps(message, default=_plain)


def decode(line: str | bytes) -> Any:
    """The message of a line. ProtocolError where it is none."""
    try:
        message = json.loads(line, object_hook=_message)
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"{line[:200]!r}: is no message of protocol {PROTOCOL} ({said(error)})") from error
    if type(message) not in MESSAGES.values():
        raise ProtocolError(f"{line[:200]!r}: is no message of protocol {PROTOCOL}")
    return message


def _plain(value: Any) -> Any:
    if is_dataclass(value) and type(value).__name__ in MESSAGES:
        return {_NAME: type(value).__name__, **{each.name: getattr(value, each.name) for each in fields(value)}}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be sent")


def _message(found: dict[str, Any]) -> Any:
    if _NAME not in found:
        return found
    name = found.pop(_NAME)
    if name not in MESSAGES:
        raise ValueError(f"{name!r} is unknown")
    return MESSAGES[name](**found)
