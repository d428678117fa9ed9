"""The ListOps generator against a slow one, against an evaluator of its own, and against the published statistics."""

from __future__ import annotations

import hashlib
import random
from statistics import mean
from typing import Any

import numpy as np
import pytest
from listops_trees import OPERATORS, arguments, bare, depth, parsed, value, words

from datasets.generators.listops import SYMBOLS, Grammar, draw, expressions

# Of 6,000 expressions drawn one by one by the published rules: mean and deviation of the length, shares of the classes.
LENGTH_MEAN, LENGTH_DEVIATION = 1041, 393
SHARES = [0.169, 0.088, 0.072, 0.078, 0.092, 0.091, 0.082, 0.071, 0.088, 0.170]


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, int]]:
    return list(expressions(2000, seed=0))


def test_targets_are_the_values_of_the_expressions(drawn: list[tuple[np.ndarray, int]]) -> None:
    for tokens, target in drawn[:300]:
        assert value(parsed(words(tokens))) == target


@pytest.mark.parametrize(
    "source, expected",
    [("[MED 3 4 ]", 3), ("[MED 9 0 5 ]", 5), ("[SM 9 9 [MAX 1 7 ] ]", 5), ("[MIN 4 [SM 5 5 ] 3 ]", 0)],
)
def test_operators_by_hand(source: str, expected: int) -> None:
    assert value(parsed(source.split())) == expected


def test_bounds_of_the_trees_hold_and_are_reached(drawn: list[tuple[np.ndarray, int]]) -> None:
    lengths = [len(tokens) for tokens, _ in drawn]
    assert 500 < min(lengths) < 520
    assert 1950 < max(lengths) < 2000
    trees = [parsed(words(tokens)) for tokens, _ in drawn[:200]]
    assert max(map(depth, trees)) == 10
    counts = [count for tree in trees for count in arguments(tree)]
    assert (min(counts), max(counts)) == (2, 10)


def test_statistics_are_those_of_the_published_rules(drawn: list[tuple[np.ndarray, int]]) -> None:
    """Within four deviations of what 2,000 expressions give."""
    lengths = [len(tokens) for tokens, _ in drawn]
    assert mean(lengths) == pytest.approx(LENGTH_MEAN, abs=4 * LENGTH_DEVIATION / np.sqrt(2000))
    shares = np.bincount([target for _, target in drawn], minlength=10) / len(drawn)
    np.testing.assert_allclose(shares, SHARES, atol=4 * np.sqrt(0.17 * 0.83 / 2000))


def test_whole_arrays_draw_like_one_node_after_another() -> None:
    """Against a recursion, with small trees: tokens of each kind, nesting, values and lengths, four deviations."""
    grammar = Grammar(depth=4, arguments=5, longer_than=8, shorter_than=40)
    source = random.Random(0)

    def grow(level: int) -> Any:
        if level > 1 and (level == grammar.depth or source.random() > 0.25):
            return source.randrange(10)
        operator = source.choice(list(OPERATORS))
        return [operator, *(grow(level + 1) for _ in range(source.randint(2, grammar.arguments)))]

    def facts(trees: list[Any]) -> np.ndarray:
        flat = [bare(tree) for tree in trees]
        columns = [[row.count(symbol) for row in flat] for symbol in SYMBOLS[3:]]
        columns += [list(map(len, flat)), [depth(tree) for tree in trees]]
        columns += [[value(tree) == digit for tree in trees] for digit in range(10)]
        return np.array(columns, np.float64)

    slow = [grow(1) for _ in range(12_000)]
    trees = [parsed(words(row)) for chunk in range(2) for row in split(*draw(7, chunk, grammar))]
    kept = [tree for tree in slow if 8 < len(bare(tree)) < 40]
    ours, theirs = facts(trees), facts(kept)
    deviation = np.sqrt(ours.var(axis=1) / len(trees) + theirs.var(axis=1) / len(kept))
    assert (np.abs(ours.mean(axis=1) - theirs.mean(axis=1)) < 4 * deviation).all()


def split(tokens: np.ndarray, lengths: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    assert len(values) == len(lengths)
    return np.split(tokens, np.cumsum(lengths)[:-1])


def test_expressions_depend_on_the_seed_alone() -> None:
    def checksum(seed: int, count: int) -> str:
        rows = list(expressions(count, seed))[:40]
        return hashlib.sha256(b"".join(row.tobytes() + bytes([target]) for row, target in rows)).hexdigest()

    first = checksum(0, 40)
    assert checksum(0, 50) == first
    assert checksum(1, 40) != first
    assert (
        first == "a60d0779d09c6523e314d053a71c37afae439495f4e16eb5ac68e163a310f233"
    )  # the streams are frozen, so that it holds under every NumPy


def test_no_expression_comes_twice() -> None:
    """There are 400 expressions of one operator and two digits."""
    found = {row.tobytes() for row, _ in expressions(400, 0, Grammar(2, 2, longer_than=1, shorter_than=5))}
    assert len(found) == 400
