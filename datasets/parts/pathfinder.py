"""Pathfinder's images, published or generated, as a value that Pathfinder and Path-X differ in; pathfinder.py in the
catalogue says what its protocols are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import pathfinder as pathfinder_files
from datasets.files import sources
from datasets.generators import MOST_GENERATED
from datasets.generators import pathfinder as pathfinder_generator
from datasets.parts.images import Pixels
from datasets.parts.protocols import Protocol, chosen
from datasets.parts.splits import Rows, cut_validation, torch_permutation
from datasets.store.cache import Prepared, Recipe, new_array, progress
from settings.problem import Problem
from settings.rules import LARGEST_SEED, check_known, chosen_of, whole_of

DASHES = {"easy": 6, "intermediate": 9, "hard": 14}  # of a long path
CLASSES = ("two paths", "one path")
CHUNK = 512  # images generated together
_SETTINGS = frozenset({"source", "protocol", "difficulty", "generated_count", "generated_seed"})
_SPLIT_SEED = 42
_CODE = [__file__, pathfinder_files.__file__, pathfinder_generator.__file__]


@dataclass(frozen=True)
class Tenths:
    """80 % train, 10 % validation, 10 % test, as the official loader draws them.

    seeded: validation is cut with the run's seed instead, from all but the loader's test part.
    """

    seeded: bool
    selects_on_test: ClassVar[bool] = False

    def counts(self, count: int) -> dict[str, int]:
        """Of `count` images."""
        tenth = int(0.1 * count)  # the official loader's arithmetic
        return {"train": count - 2 * tenth, "validation": tenth, "test": tenth}

    def rows(self, count: int, seed: int) -> Rows:
        """In the loader's order; what is seeded is ascending."""
        counts, order = self.counts(count), torch_permutation(count, _SPLIT_SEED)
        kept, test = order[: -counts["test"]], order[-counts["test"] :]
        if not self.seeded:
            return kept[: counts["train"]], kept[counts["train"] :], test
        train, validation = cut_validation(len(kept), counts["validation"] / len(kept), seed)
        kept = np.sort(kept)
        return kept[train], kept[validation], test


_BOTH_SIGNS = Pixels(mean=(0.5,), std=(0.5,))
PROTOCOLS = (
    Protocol("default", Tenths(seeded=True), _BOTH_SIGNS),
    Protocol("official", Tenths(seeded=False), Pixels()),
    Protocol("s5", Tenths(seeded=False), _BOTH_SIGNS),
)


@dataclass(frozen=True)
class PathfinderSet:
    """Images of size x size: a catalogue entry whose functions are this value's."""

    name: str
    size: int
    protocols: Sequence[Protocol[Tenths, Pixels]]

    def describe(self, settings: Mapping[str, Any]) -> Description:
        """Sizes, from settings alone; ValueError on an unknown key or a senseless value.

        With source=auto or published only the files know the counts; with auto, only prepare() knows what is generated.
        """
        check_known("dataset", settings, _SETTINGS)
        generated = chosen_of("dataset", settings, "source", sources.SOURCES) == "generated"
        protocol = chosen(settings, self.protocols)
        chosen_of("dataset", settings, "difficulty", DASHES)
        count = whole_of("dataset", settings, "generated_count", least=10, most=MOST_GENERATED)
        whole_of("dataset", settings, "generated_seed", least=0, most=LARGEST_SEED)
        return self._description(protocol, count if generated else None, generated)

    def prepare(self, settings: Mapping[str, Any], data_dir: Path) -> Description:
        """Find the published images and check them, or generate images; DataError if that fails."""
        self.describe(settings)
        found = self._prepared(settings, data_dir)
        return self._described(chosen(settings, self.protocols), found)

    def load(self, settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
        """The three parts, inputs float32 (M, size * size, 1)."""
        self.describe(settings)
        protocol, found = chosen(settings, self.protocols), self._prepared(settings, data_dir)
        pixels, labels = found.arrays["pixels"], found.arrays["labels"]
        rows = protocol.split.rows(len(labels), seed)
        parts = (Split(protocol.values.of(pixels, own), labels[own].astype(np.int32)) for own in rows)
        return Dataset(self._described(protocol, found), *parts)

    def class_names(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Where the two discs lie."""
        self.describe(settings)
        return CLASSES

    def _described(self, protocol: Protocol[Tenths, Pixels], found: Prepared) -> Description:
        return self._description(protocol, len(found.arrays["labels"]), found.notes["generated"])

    def _description(self, protocol: Protocol[Tenths, Pixels], count: int | None, generated: bool) -> Description:
        return Description(
            self.name,
            Problem(self.size * self.size, len(CLASSES), channels=1),
            counts=None if count is None else protocol.split.counts(count),
            protocol=protocol.name,
            selects_on_test=protocol.selects_on_test,
            generated=generated,
        )

    def _prepared(self, settings: Mapping[str, Any], data_dir: Path) -> Prepared:
        """pixels uint8 (N, size * size, 1) and labels uint8 (N,), made if need be."""
        source, difficulty = settings["source"], settings["difficulty"]
        folder = None if source == "generated" else pathfinder_files.find(data_dir, self.size, difficulty)
        count, seed = settings["generated_count"], settings["generated_seed"]
        made = {"difficulty": difficulty, "generated_count": count, "generated_seed": seed}
        return sources.arrays(
            source,
            data_dir,
            (
                Recipe(self.name, {"source": "published", "difficulty": difficulty}, _CODE),
                None if folder is None else pathfinder_files.state(folder),
                partial(pathfinder_files.read, folder, data_dir, self.size, difficulty),
            ),
            (
                Recipe(self.name, made, _CODE),
                partial(_generate, self.name, self.size, DASHES[difficulty], count, seed),
            ),
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
