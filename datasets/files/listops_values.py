"""The value of a ListOps expression, for holding published rows against it: one pass with a stack, an operator a time.

It shares nothing with the generator but the symbols' numbers; that one draws trees and works on many of them at once.
"""

from __future__ import annotations

from datasets.generators.listops import CLOSE, DIGITS, MAX, MIN, SM, ZERO

LEAST_ARGUMENTS = 2


def value(tokens: bytes) -> int | None:
    """0 .. 9 of tokens (l,), each a digit, an operator or the closing bracket, numbered as the generator does.

    None where they are no single expression: brackets that do not match, something before or behind it, an operator
    with fewer than two arguments.
    """
    outer: list[tuple[int | None, list[int]]] = []
    operator: int | None = None
    arguments: list[int] = []
    for token in tokens:
        if token < MAX:
            arguments.append(token - ZERO)
        elif token != CLOSE:
            outer.append((operator, arguments))
            operator, arguments = token, []
        else:
            if operator is None or len(arguments) < LEAST_ARGUMENTS:
                return None
            found = _applied(operator, arguments)
            operator, arguments = outer.pop()
            arguments.append(found)
    return arguments[0] if operator is None and len(arguments) == 1 else None


def _applied(operator: int, arguments: list[int]) -> int:
    """An operator on digits. The median of an even number of them is rounded down."""
    if operator == MAX:
        return max(arguments)
    if operator == MIN:
        return min(arguments)
    if operator == SM:
        return sum(arguments) % DIGITS
    ordered, middle = sorted(arguments), len(arguments) // 2
    return (ordered[middle] + ordered[-middle - 1]) // 2
