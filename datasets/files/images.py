"""What is known of published images before their files are read, and the function that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.store.cache import Prepared


@dataclass(frozen=True)
class Images:
    """Images as sequences of pixels, row by row.

    published: how many the parts "train" and "test" have. prepared: given data_dir, pixels uint8 (N, pixels, channels)
    and labels uint8 (N,), train before test, found or fetched, checked and made if need be; DataError if that fails.
    """

    published: Mapping[str, int]
    pixels: int
    channels: int
    classes: int
    prepared: Callable[[Path], Prepared]
