"""Path-X of the Long Range Arena: Pathfinder with 128 x 128 images, 16,384 steps of one value. See pathfinder.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import pathfinder
from datasets.data import Dataset, Description

_SIZE = 128


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return pathfinder.described("pathx", _SIZE, settings)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find the published images and check them, or generate images; DataError if that fails."""
    return pathfinder.prepared_images("pathx", _SIZE, settings, data_dir)[0]


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 16384, 1)."""
    return pathfinder.dataset("pathx", _SIZE, settings, data_dir, seed)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the two discs lie."""
    describe(settings)
    return pathfinder.CLASSES
