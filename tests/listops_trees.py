"""ListOps expressions taken apart: a parser and an evaluator that share nothing with the generator."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from datasets.generators.listops import SYMBOLS

OPERATORS = {"[MIN": min, "[MAX": max, "[MED": lambda found: int(median(found)), "[SM": lambda found: sum(found) % 10}


def words(tokens: np.ndarray) -> list[str]:
    return [SYMBOLS[token] for token in tokens]


def parsed(source: list[str]) -> Any:
    """A digit, or [operator, argument, ...]."""
    stack: list[list[Any]] = [[]]
    for word in source:
        if word in OPERATORS:
            stack.append([word])
        elif word == "]":
            own = stack.pop()
            stack[-1].append(own)
        else:
            stack[-1].append(int(word))
    assert len(stack) == 1
    assert len(stack[0]) == 1
    return stack[0][0]


def value(tree: Any) -> int:
    return tree if isinstance(tree, int) else OPERATORS[tree[0]](list(map(value, tree[1:])))


def depth(tree: Any) -> int:
    return 1 if isinstance(tree, int) else 1 + max(map(depth, tree[1:]))


def arguments(tree: Any) -> list[int]:
    if isinstance(tree, int):
        return []
    return [len(tree) - 1, *(count for part in tree[1:] for count in arguments(part))]


def with_parentheses(tree: Any) -> str:
    """As the published files have it: each argument applied to what stands before it."""
    if isinstance(tree, int):
        return str(tree)
    text = tree[0]
    for part in tree[1:]:
        text = f"( {text} {with_parentheses(part)} )"
    return f"( {text} ] )"


def bare(tree: Any) -> list[str]:
    return with_parentheses(tree).replace("(", "").replace(")", "").split()
