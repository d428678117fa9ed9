"""Texts as tokens, a character each, numbered by a fixed alphabet: no file is needed to know or to read the numbers.

PADDING is 0, as everywhere; UNKNOWN 1 stands for any other character; END 2 closes every text; the alphabet follows
from 3 in its order. A text that is too long loses its rest and keeps its END.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from datasets.data import PADDING, DataError
from datasets.settings import LONGEST_TEXT, required, whole_number

UNKNOWN, END, FIRST = 1, 2, 3
UNKNOWN_SIGN, END_SIGN = "\N{REPLACEMENT CHARACTER}", "\N{BLACK SQUARE}"
_CODE_POINTS = 0x110000


def token_table(alphabet: str, left_out: Collection[str] = ()) -> np.ndarray:
    """The token of every code point, uint8 (1114112,). left_out: those of the alphabet that are UNKNOWN."""
    tokens = np.full(_CODE_POINTS, UNKNOWN, np.uint8)
    tokens[code_points(alphabet)] = np.arange(FIRST, FIRST + len(alphabet))
    tokens[code_points("".join(left_out))] = UNKNOWN
    return tokens


def write(text: str, table: np.ndarray, row: np.ndarray) -> None:
    """Fill row (L,), which holds PADDING, with the tokens of the first L - 1 characters, and END."""
    points = code_points(text[: len(row) - 1])
    row[: len(points)] = table[points]
    row[len(points)] = END


def read(tokens: np.ndarray, alphabet: str) -> str:
    """The text of tokens (l,) without their padding, with signs for END and UNKNOWN."""
    signs = {PADDING: "", UNKNOWN: UNKNOWN_SIGN, END: END_SIGN, **dict(enumerate(alphabet, FIRST))}
    return "".join(signs[token] for token in tokens.tolist())


def code_points(text: str) -> np.ndarray:
    """uint32 (characters,)."""
    return np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


def decoded(raw: bytes, where: str, fix: str) -> str:
    """UTF-8 as text; DataError names the first byte that is not."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8 ({error.reason}); {fix}"
        ) from error


def text_length(name: str, settings: Mapping[str, Any], own: int, free: bool, protocol: str) -> int:
    """The setting `length`: tokens of a text, its END among them; null is the protocol's own, others if it is free."""
    if required(name, settings, "length") is None:
        return own
    value = whole_number(name, settings, "length", least=2, most=LONGEST_TEXT)
    if value != own and not free:
        raise ValueError(
            f"dataset {name}: length={value} contradicts protocol={protocol}, which has {own}; leave it null, or "
            "choose protocol=default"
        )
    return value
