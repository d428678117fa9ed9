"""Data sets by name: `settings["name"]` is the module beside this one that describes, prepares and loads it, or the
NAME that the module gives itself.

A new data set is one file with these three functions and one YAML; nothing here is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import datasets
from datasets.data import Dataset, Description
from datasets.store.stored import Stored

_FUNCTIONS = {"describe", "prepare", "load"}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes of the data set; checks the settings, reads no file. ValueError if they are senseless."""
    description: Description = _module(settings).describe(settings)
    return description


def prepare(settings: Mapping[str, Any], data_dir: str | Path) -> Description:
    """Have the files there and checked, fetched if need be; DataError (a ValueError) if that fails.

    The description again, now with the number of sequences.
    """
    description: Description = _module(settings).prepare(settings, Path(data_dir))
    assert description.counts is not None, description.name
    return description


def load(settings: Mapping[str, Any], data_dir: str | Path, seed: int) -> Dataset:
    """The arrays. `seed` decides which of the training sequences are validation, and nothing else."""
    dataset: Dataset = _module(settings).load(settings, Path(data_dir), seed)
    _check(dataset)
    return dataset


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What the classes are called: as the module's own `class_names(settings)` says, or else their numbers."""
    own = vars(_module(settings)).get("class_names")
    return tuple(map(str, range(describe(settings).problem.classes))) if own is None else tuple(own(settings))


def text_of(settings: Mapping[str, Any], tokens: np.ndarray) -> str:
    """Tokens (l,) without their padding to be read: by the module's own `text_of(settings, tokens)`, or as numbers."""
    own = vars(_module(settings)).get("text_of")
    return " ".join(map(str, tokens.tolist())) if own is None else str(own(settings, tokens))


def names() -> tuple[str, ...]:
    """Every data set of the catalogue, sorted."""
    return tuple(sorted(_modules()))


@cache
def _modules() -> dict[str, ModuleType]:
    found = {}
    for info in pkgutil.iter_modules(datasets.__path__):
        if info.ispkg:  # a room, not a data set
            continue
        module = importlib.import_module(f"datasets.{info.name}")
        if module.__name__ != __name__ and set(vars(module)) >= _FUNCTIONS:
            found[vars(module).get("NAME", info.name)] = module
    return found


def _module(settings: Mapping[str, Any]) -> ModuleType:
    name = settings.get("name")
    if not isinstance(name, str) or name not in _modules():
        raise ValueError(f"dataset.name={name!r} is not known; choose {', '.join(names())}")
    return _modules()[name]


def _check(dataset: Dataset) -> None:
    """Hold a data set to its own description: a mistake here is ours, not the user's."""
    description, problem = dataset.description, dataset.description.problem
    assert description.counts is not None, description.name
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for part, split in splits.items():
        count = description.counts[part]
        documents = (problem.documents,) if problem.documents > 1 else ()
        own = (*documents, problem.length) if problem.tokens else (problem.length, problem.features)
        assert split.inputs.shape == (count, *own), (part, split.inputs.shape)
        assert split.inputs.dtype == (np.int32 if problem.tokens else np.float32), (part, split.inputs.dtype)
        array = split.inputs.array if isinstance(split.inputs, Stored) else split.inputs
        assert array.flags.c_contiguous, part  # else every batch is gathered from all over the array
        steps = (problem.length,) if problem.per_step else ()
        assert split.targets.shape == (count, *steps), (part, split.targets.shape)
        assert split.targets.dtype == np.int32, (part, split.targets.dtype)
