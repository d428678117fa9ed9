"""ListOps expressions drawn by the Long Range Arena's rules: nested MIN, MAX, MED and SM (sum modulo 10) over digits.

An expression has 2 to 10 arguments; an argument is an expression with probability 1/4 above the greatest depth, else a
digit; operators, digits and numbers of arguments are uniform. Trees with more than 500 and fewer than 2000 tokens are
kept, each once. Tokens are the operators, the digits and the closing brackets.

A chunk of trees is drawn level by level in whole arrays, not node by node. A chunk has its own random numbers, so that
it depends on the seed and its number alone, on every machine and under every NumPy (PCG64's and RandomState's streams
are frozen, NEP 19).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# A symbol's number is its token. The first three are the official loader's; its other numbers follow frequency.
SYMBOLS = (
    "<pad>",
    "<unk>",
    "<eos>",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "[MAX",
    "[MED",
    "[MIN",
    "[SM",
    "]",
)
END_OF_SEQUENCE, ZERO, MAX, MED, MIN, SM, CLOSE = (SYMBOLS.index(s) for s in ("<eos>", "0", *SYMBOLS[13:]))
DIGITS = 10

_CHUNK = 4096  # trees drawn at once; about a fifth of them has an allowed length
_STREAM = 3  # sets these random numbers apart from others under the same seed
_EXPRESSION_PROBABILITY = 0.25


@dataclass(frozen=True)
class Grammar:
    """Bounds of the trees. A root has depth 1; at `depth` all is digits. Lengths in tokens, both bounds excluded."""

    depth: int = 10
    arguments: int = 10
    longer_than: int = 500
    shorter_than: int = 2000


PUBLISHED = Grammar()


@dataclass(frozen=True)
class _Level:
    """The nodes of one depth, from left to right: those of one tree are neighbours, those of one parent too.

    root (n,): the tree. expression (n,): whether it has arguments. arguments (e,): how many each expression has; they
    are the nodes of the next level, in order.
    """

    root: np.ndarray
    expression: np.ndarray
    arguments: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """(e,): where each expression's arguments begin in the next level."""
        return np.cumsum(self.arguments) - self.arguments


def expressions(count: int, seed: int, grammar: Grammar = PUBLISHED) -> Iterator[tuple[np.ndarray, int]]:
    """`count` different expressions, in the order they were drawn: (tokens uint8 (l,), value 0..9)."""
    seen: set[bytes] = set()
    for chunk in range(1 << 32):
        tokens, lengths, values = draw(seed, chunk, grammar)
        for row, value in zip(np.split(tokens, np.cumsum(lengths)[:-1]), values.tolist(), strict=True):
            if len(seen) == count:
                return
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                yield row, value


def draw(seed: int, chunk: int, grammar: Grammar = PUBLISHED) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A chunk's expressions of an allowed length: tokens uint8 one after another, lengths (m,), values (m,)."""
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAM, chunk)))
    random = np.random.RandomState(bits)
    return _filled(random, _allowed(*_shapes(random, grammar), grammar))


def _shapes(random: np.random.RandomState, grammar: Grammar) -> tuple[list[_Level], np.ndarray]:
    """Trees without operators and digits, and their lengths (_CHUNK,); one that is too long is not grown further."""
    root, expression = np.arange(_CHUNK), np.ones(_CHUNK, bool)  # a digit alone is too short
    length = np.zeros(_CHUNK, np.int64)
    levels = []
    for depth in range(1, grammar.depth + 1):
        length += np.bincount(root, minlength=_CHUNK) + np.bincount(root[expression], minlength=_CHUNK)  # its bracket
        expression &= (length < grammar.shorter_than)[root]
        arguments = random.randint(2, grammar.arguments + 1, np.count_nonzero(expression), np.int64)
        levels.append(_Level(root, expression, arguments))
        root = np.repeat(root[expression], arguments)
        expression = random.random_sample(len(root)) < (_EXPRESSION_PROBABILITY if depth + 1 < grammar.depth else 0.0)
    return levels, length


def _allowed(levels: list[_Level], length: np.ndarray, grammar: Grammar) -> list[_Level]:
    """Those trees alone whose length is allowed."""
    kept = (length > grammar.longer_than) & (length < grammar.shorter_than)
    found = []
    for level in levels:
        own = kept[level.root]
        found.append(_Level(level.root[own], level.expression[own], level.arguments[own[level.expression]]))
    return found


def _filled(random: np.random.RandomState, levels: list[_Level]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operators and digits for the trees: `draw`'s three arrays."""
    symbols = []  # a level: the token that each node begins with
    for level in levels:
        begins = ZERO + random.randint(0, DIGITS, len(level.root), np.int64)
        begins[level.expression] = MAX + random.randint(0, 4, len(level.arguments), np.int64)
        symbols.append(begins)
    sizes, values = _sizes_and_values(levels, symbols)
    ends = np.cumsum(sizes[0])
    tokens = np.zeros(ends[-1] if len(ends) else 0, np.uint8)
    starts = ends - sizes[0]
    for depth, (level, begins) in enumerate(zip(levels, symbols, strict=True)):
        tokens[starts] = begins
        own = starts[level.expression]
        tokens[own + sizes[depth][level.expression] - 1] = CLOSE
        if depth + 1 < len(levels):
            before = np.cumsum(sizes[depth + 1]) - sizes[depth + 1]
            starts = before + np.repeat(own + 1 - before[level.first], level.arguments)
    return tokens, sizes[0], values


def _sizes_and_values(levels: list[_Level], symbols: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """A level: tokens of each node with all below it; and the values of the roots. From the leaves up."""
    sizes: list[np.ndarray] = []
    size = value = np.zeros(0, np.int64)
    for level, begins in zip(reversed(levels), reversed(symbols), strict=True):
        below, argument_values = size, value
        size, value = np.ones(len(level.root), np.int64), begins - ZERO
        if len(level.arguments):
            size[level.expression] = 2 + np.add.reduceat(below, level.first)
            value[level.expression] = _applied(begins[level.expression], argument_values, level)
        sizes.insert(0, size)
    return sizes, value


def _applied(operators: np.ndarray, arguments: np.ndarray, level: _Level) -> np.ndarray:
    """Each operator (e,) on its own run of arguments. The median of an even number is rounded down."""
    table = np.full((len(operators), level.arguments.max()), DIGITS)
    row = np.repeat(np.arange(len(operators)), level.arguments)
    table[row, np.arange(len(arguments)) - level.first[row]] = arguments
    table.sort(axis=1)
    each = np.arange(len(operators))
    low, high = table[each, (level.arguments - 1) // 2], table[each, level.arguments // 2]
    results = {
        MAX: table[each, level.arguments - 1],
        MED: (low + high) // 2,
        MIN: table[:, 0],
        SM: np.add.reduceat(arguments, level.first) % DIGITS,
    }
    return np.select([operators == operator for operator in results], list(results.values()))
