"""Pathfinder of the Long Range Arena, 32 x 32: do both discs lie on one dashed path? 1,024 steps of one value.

The rows of an image one after another. Read from the published folders, or generated in their style (see
pathfinder_generator.py). 80 % train, 10 % validation, 10 % test. Protocols:

- default: values in [-1, 1]; the official loader's test part, and validation cut from the rest with the run's seed;
- official (state-spaces/s4): values in [0, 1], as its configuration has them since its version 4 (before, and in its
  loader where no configuration says otherwise, [-1, 1]); split by torch's random_split with seed 42;
- s5 (lindermanlab/S5): values in [-1, 1], the same split.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets import pathfinder_files, pathfinder_generator, sources
from datasets.cache import Prepared, Recipe, new_array, progress
from datasets.data import Dataset, Description, Split
from datasets.settings import LARGEST_SEED, MOST_GENERATED, choice, refuse_unknown, whole_number
from datasets.splits import cut_validation, torch_permutation
from datasets.stored import Stored

# What is subtracted from a value in [0, 1], and what that is divided by.
PROTOCOLS = {"default": (0.5, 0.5), "official": (0.0, 1.0), "s5": (0.5, 0.5)}
DASHES = {"easy": 6, "intermediate": 9, "hard": 14}  # of a long path
_SETTINGS = frozenset({"source", "protocol", "difficulty", "generated_count", "generated_seed"})
CLASSES = ("two paths", "one path")
_SPLIT_SEED = 42
_SIZE = 32
CHUNK = 512  # images generated together
_CODE = [__file__, pathfinder_files.__file__, pathfinder_generator.__file__]


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value.

    With source=auto or published only the files know the counts; with auto, only prepare() knows what is generated.
    """
    return described("pathfinder", _SIZE, settings)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find the published images and check them, or generate images; DataError if that fails."""
    return prepared_images("pathfinder", _SIZE, settings, data_dir)[0]


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 1024, 1)."""
    return dataset("pathfinder", _SIZE, settings, data_dir, seed)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the two discs lie."""
    describe(settings)
    return CLASSES


def described(name: str, size: int, settings: Mapping[str, Any]) -> Description:
    """The set `name`, of size x size images."""
    refuse_unknown(name, settings, _SETTINGS)
    source = choice(name, settings, "source", sources.SOURCES)
    protocol = choice(name, settings, "protocol", PROTOCOLS)
    choice(name, settings, "difficulty", DASHES)
    count = whole_number(name, settings, "generated_count", least=10, most=MOST_GENERATED)
    whole_number(name, settings, "generated_seed", least=0, most=LARGEST_SEED)
    return _description(name, size, protocol, count if source == "generated" else None, source == "generated")


def prepared_images(
    name: str, size: int, settings: Mapping[str, Any], data_dir: Path
) -> tuple[Description, Mapping[str, np.ndarray]]:
    """Pixels uint8 (N, size * size, 1) and labels uint8 (N,), and the description that fits them."""
    protocol = described(name, size, settings).protocol
    found = _prepared(name, size, settings, data_dir)
    return _description(name, size, protocol, len(found.arrays["labels"]), found.notes["generated"]), found.arrays


def dataset(name: str, size: int, settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The parts of the set `name`."""
    description, arrays = prepared_images(name, size, settings, data_dir)
    counts = description.counts
    assert counts is not None
    order = torch_permutation(len(arrays["labels"]), _SPLIT_SEED)
    kept, test = order[: -counts["test"]], order[-counts["test"] :]
    if description.protocol == "default":
        train, validation = cut_validation(len(kept), counts["validation"] / len(kept), seed)
        kept = np.sort(kept)
    else:
        train, validation = np.split(np.arange(len(kept)), [counts["train"]])
    rows = (kept[train], kept[validation], test)
    pixels, labels = arrays["pixels"], arrays["labels"]
    mean, std = PROTOCOLS[description.protocol]
    parts = (Split(Stored(pixels, own, 255.0, (mean,), (std,)), labels[own].astype(np.int32)) for own in rows)
    return Dataset(description, *parts)


def _description(name: str, size: int, protocol: str, count: int | None, generated: bool) -> Description:
    tenth = 0 if count is None else int(0.1 * count)  # the official loader's arithmetic
    counts = None if count is None else {"train": count - 2 * tenth, "validation": tenth, "test": tenth}
    return Description(
        name,
        size * size,
        channels=1,
        classes=len(CLASSES),
        vocabulary=None,
        counts=counts,
        protocol=protocol,
        generated=generated,
    )


def _prepared(name: str, size: int, settings: Mapping[str, Any], data_dir: Path) -> Prepared:
    source, difficulty = settings["source"], settings["difficulty"]
    folder = None if source == "generated" else pathfinder_files.find(data_dir, size, difficulty)
    count, seed = settings["generated_count"], settings["generated_seed"]
    made = {"difficulty": difficulty, "generated_count": count, "generated_seed": seed}
    return sources.arrays(
        source,
        data_dir,
        (
            Recipe(name, {"source": "published", "difficulty": difficulty}, _CODE),
            None if folder is None else pathfinder_files.state(folder),
            partial(pathfinder_files.read, folder, data_dir, size, difficulty),
        ),
        (Recipe(name, made, _CODE), partial(_generate, name, size, DASHES[difficulty], count, seed)),
    )


def _generate(name: str, size: int, dashes: int, count: int, seed: int, into: Path) -> Mapping[str, Any]:
    style = pathfinder_generator.style(size, dashes)
    pixels = new_array(into, "pixels", np.uint8, (count, size * size, 1))
    labels = new_array(into, "labels", np.uint8, (count,))
    for start in progress(range(0, count, CHUNK), name):
        drawing = pathfinder_generator.draw(style, seed, start // CHUNK, CHUNK)
        own = min(CHUNK, count - start)
        pixels[start : start + own, :, 0] = drawing.images[:own].reshape(own, -1)
        labels[start : start + own] = drawing.labels[:own]
    return {"source": f"generated, seed {seed}", "generated": True}
