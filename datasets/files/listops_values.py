"""The value of a ListOps expression, for holding published rows against it: brackets resolved from the inside out.

It shares nothing with the generator, which draws trees and works on whole levels of many of them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from datasets.generators.listops import CLOSE, DIGITS, MAX, MED, MIN, SM, ZERO

LEAST_ARGUMENTS = 2
# An operator's numbers are neighbours, and so are the digits'.
_INNERMOST = re.compile(b"[%c-%c][%c-%c]{%d,}%c" % (MAX, SM, ZERO, ZERO + DIGITS - 1, LEAST_ARGUMENTS, CLOSE))


def value(tokens: bytes) -> int | None:
    """0 .. 9 of tokens (l,) as the generator numbers them; None where they are no single expression: brackets that do
    not match, something before or behind it, an operator with fewer than two arguments.
    """
    while len(tokens) > 1:
        tokens, found = _INNERMOST.subn(_digit, tokens)
        if not found:
            return None
    return tokens[0] - ZERO if tokens and ZERO <= tokens[0] < ZERO + DIGITS else None


def _digit(match: re.Match[bytes]) -> bytes:
    return _applied(match[0])


@lru_cache(maxsize=1 << 16)
def _applied(bracket: bytes) -> bytes:
    """The digit's token of one operator on digits. The median of an even number of them is rounded down."""
    arguments = sorted(token - ZERO for token in bracket[1:-1])
    middle = len(arguments) // 2
    results = {
        MAX: arguments[-1],
        MED: (arguments[middle] + arguments[-middle - 1]) // 2,
        MIN: arguments[0],
        SM: sum(arguments) % DIGITS,
    }
    return bytes([ZERO + results[bracket[0]]])
