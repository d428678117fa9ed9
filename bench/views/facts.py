"""What there is to say of a data set as the network sees it: protocol, sizes, ranges, classes and its first batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.data import Dataset, Description
from settings.problem import NO_TARGET, Problem
from settings.progress import items

PARTS = ("train", "validation", "test")
_ROWS = 256  # sequences that are read at once


@dataclass(frozen=True)
class Values:
    """Of the training inputs: low, high (C,) of real values; lengths (M,) or (M, documents) of padded tokens."""

    low: np.ndarray | None = None
    high: np.ndarray | None = None
    lengths: np.ndarray | None = None


def facts(
    dataset: Dataset, names: Sequence[str], length: int, found: Values, batch: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[str, str]]:
    """(name, text) of each line that is printed. names: of the classes. batch: the first of the training."""
    description, problem = dataset.description, dataset.description.problem
    yield "data set", description.name
    yield "protocol", _protocol(description)
    if description.generated:
        yield "generated", "yes: made here in the style of the published data; its results do not compare with those"
    cut = "" if length == problem.length else f" (task.length; its own length is {problem.length:,})"
    if problem.vocabulary is None:
        assert found.low is not None
        assert found.high is not None
        yield "sequence", f"float32 ({length}, {problem.channels}): steps x channels{cut}"
        ranges = [f"{low:.4g} to {high:.4g}" for low, high in zip(found.low, found.high, strict=True)]
        yield "values", f"{', '.join(ranges)} in train"
    else:
        pair = problem.documents > 1
        sizes, axes = ((problem.documents, length), "documents x tokens") if pair else ((length,), "tokens")
        yield "sequence", f"int32 {sizes}: {axes}{cut}"
        padding = ", padding included" if problem.padding is not None else ""
        yield "vocabulary", f"{problem.vocabulary} values{padding}"
    if found.lengths is not None:
        full = float(np.mean(found.lengths == length))
        text = f"mean {found.lengths.mean():,.1f}, shortest {found.lengths.min():,}, longest {found.lengths.max():,}"
        yield "lengths", f"{text} in train; {100 * full:.1f} % need no padding"
    yield "classes", f"{problem.classes}"
    for part in PARTS:
        targets = getattr(dataset, part).targets
        counts = np.bincount(targets[targets != NO_TARGET], minlength=problem.classes)
        each = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
        yield part, f"{len(targets):,}: {each}"
    inputs, targets = batch
    yield "first batch", f"inputs {inputs.dtype} {inputs.shape}, targets {targets.dtype} {targets.shape}"
    yield "sha256", f"{digest(inputs, targets)} of the first batch, in both frameworks"


def digest(inputs: np.ndarray, targets: np.ndarray) -> str:
    """sha256 (hex) of a batch: the inputs' bytes, little-endian in C order, and then the targets'."""
    parts = (np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes() for part in (inputs, targets))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def values(inputs: Any, problem: Problem) -> Values:
    """The range of real values by channel, or the lengths of padded tokens; every training sequence is read."""
    starts = items(range(0, len(inputs), _ROWS), "reading", unit="block")
    blocks = (inputs[start : start + _ROWS] for start in starts)
    if problem.vocabulary is None:
        ends = [(block.min(axis=(0, 1)), block.max(axis=(0, 1))) for block in blocks]
        return Values(np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0))
    if problem.padding is not None:
        return Values(lengths=np.concatenate([np.count_nonzero(block != problem.padding, axis=-1) for block in blocks]))
    return Values()


def _protocol(description: Description) -> str:
    consequence = (
        "chooses its best epoch on the test part, which is its validation part: no accuracy on unseen data"
        if description.selects_on_test
        else "chooses its best epoch on the validation part; the test part is used once"
    )
    return f"{description.protocol}: {consequence}"
