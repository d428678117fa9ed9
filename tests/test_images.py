"""The image sets on files of random bytes in full size: each protocol's split, values and order, against torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cifar import records
from test_idx import packed_idx

from datasets import Dataset, registry
from datasets.files import cifar, mnist
from datasets.parts.permutations import bit_reversal, random42

BLOCK = 500  # different images in a file made here, one block after another
SETS = {"smnist": 60_000, "pmnist": 60_000, "mnist-classification": 60_000, "scifar10": 50_000, "lra_image": 50_000}
CIFAR = ("scifar10", "lra_image")


def settings_of(name: str, protocol: str = "default", **changes: Any) -> dict[str, Any]:
    own = {"permutation": None} if name == "pmnist" else {}
    return {"name": name, "protocol": protocol, "validation_fraction": 0.1, **own, **changes}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST and CIFAR-10 in full size and in the published layout, of random bytes."""
    data_dir, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for file in mnist.FILES:
        high = 10 if len(file.shape) == 1 else 256
        block = rng.integers(0, high, (BLOCK, *file.shape[1:]), np.uint8)
        (data_dir / file.name).write_bytes(
            packed_idx(np.tile(block, (file.shape[0] // BLOCK, *[1] * (block.ndim - 1))))
        )
    folder = data_dir / "cifar-10-batches-bin"
    folder.mkdir()
    for name in cifar.FILES:
        (folder / name).write_bytes(records(rng, BLOCK).tobytes() * (cifar.RECORDS // BLOCK))
    return data_dir


def truth(name: str, data_dir: Path, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 values (M, L, C) in the files' order and labels of those rows, train before test, read here."""
    values, labels = [], []
    for row in rows.tolist():
        if name in CIFAR:
            path = data_dir / "cifar-10-batches-bin" / cifar.FILES[row // 10_000]
            record = np.fromfile(path, np.uint8, 3073, offset=row % 10_000 * 3073)
            labels.append(record[0])
            values.append(record[1:].reshape(3, 1024).T)
        else:
            part, at = ("train", row) if row < 60_000 else ("t10k", row - 60_000)
            values.append(
                np.fromfile(data_dir / f"{part}-images-idx3-ubyte", np.uint8, 784, offset=16 + 784 * at)[:, None]
            )
            labels.append(np.fromfile(data_dir / f"{part}-labels-idx1-ubyte", np.uint8, 1, offset=8 + at)[0])
    return np.stack(values), np.array(labels)


# --- protocols


def official(count: int) -> tuple[list[int], list[int]]:
    """The official repository's split_train_val, which S5 has too."""
    rest = int(count * (1.0 - 0.1))
    parts = torch.utils.data.random_split(range(count), (rest, count - rest), torch.Generator().manual_seed(42))
    return list(parts[0].indices), list(parts[1].indices)


def s4torch(count: int) -> tuple[list[int], list[int]]:
    """S4Torch's train_val_split, called with the seed that its train.py has by default."""
    cut = int(count * 0.1)
    parts = torch.utils.data.random_split(range(count), [count - cut, cut], torch.Generator().manual_seed(1234))
    return list(parts[0].indices), list(parts[1].indices)


def annotated(count: int) -> tuple[list[int], list[int]]:
    return list(range(count)), list(range(count, count + 10_000))


IDENTITY, HALVES, GREY = ((0.0,), (1.0,)), ((0.5,), (0.5,)), ((122.6 / 255.0,), (61.0 / 255.0,))
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
COLOUR, OTHER = (MEAN, STD), (MEAN, (0.2023, 0.1994, 0.2010))
PUBLISHED: list[tuple[str, str, Callable[[int], Any], Any, Any]] = [
    *[("smnist", own, official, IDENTITY, None) for own in ("official", "s5")],
    ("smnist", "s4torch", s4torch, IDENTITY, None),
    ("smnist", "annotated", annotated, HALVES, None),
    ("mnist-classification", "annotated", annotated, HALVES, None),
    *[("pmnist", own, official, IDENTITY, bit_reversal) for own in ("official", "s5")],
    ("pmnist", "s4torch", s4torch, IDENTITY, random42),
    *[("scifar10", own, official, COLOUR, None) for own in ("official", "s5")],
    ("scifar10", "s4torch", s4torch, IDENTITY, None),
    ("scifar10", "annotated", annotated, OTHER, None),
    *[("lra_image", own, official, GREY, None) for own in ("official", "s5")],
]
DEFAULT = [
    ("smnist", "default", None, IDENTITY, None),
    ("mnist-classification", "default", None, HALVES, None),
    ("pmnist", "default", None, IDENTITY, random42),
    ("scifar10", "default", None, COLOUR, None),
    ("lra_image", "default", None, GREY, None),
]


def identity(value: Any) -> str:
    """Name and protocol tell the cases apart."""
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize("name, protocol, split, scale, order", PUBLISHED, ids=identity)
def test_published_split_is_its_source_s_whatever_the_seed(
    data_dir: Path, name: str, protocol: str, split: Callable[[int], Any], scale: Any, order: Any
) -> None:
    train, validation = split(SETS[name])
    for seed in (0, 7):
        dataset = registry.load(settings_of(name, protocol), data_dir, seed)
        np.testing.assert_array_equal(dataset.train.inputs.rows, train)
        np.testing.assert_array_equal(dataset.validation.inputs.rows, validation)
        np.testing.assert_array_equal(dataset.test.inputs.rows, np.arange(10_000) + SETS[name])
    description = dataset.description
    assert (description.protocol, description.selects_on_test) == (protocol, protocol == "annotated")


@pytest.mark.parametrize("name", SETS)
def test_the_default_split_is_honest_and_follows_the_seed(data_dir: Path, name: str) -> None:
    first, again, other = (registry.load(settings_of(name), data_dir, seed) for seed in (3, 3, 4))
    rows = [part.inputs.rows for part in (first.train, first.validation, first.test)]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(SETS[name] + 10_000))
    np.testing.assert_array_equal(rows[2], np.arange(10_000) + SETS[name])
    assert len(rows[1]) == SETS[name] // 10
    np.testing.assert_array_equal(again.validation.inputs.rows, rows[1])
    assert not np.array_equal(other.validation.inputs.rows, rows[1])
    assert not first.description.selects_on_test


@pytest.mark.parametrize("name, protocol, split, scale, order", PUBLISHED + DEFAULT, ids=identity)
def test_values_are_torch_s_bit_for_bit(
    data_dir: Path, name: str, protocol: str, split: Any, scale: Any, order: Any
) -> None:
    """torchvision: ToTensor divides by 255, Normalize subtracts and divides in float32."""
    dataset = registry.load(settings_of(name, protocol), data_dir, seed=1)
    for part in (dataset.train, dataset.validation, dataset.test):
        some = np.array([0, 1, len(part.targets) // 2, len(part.targets) - 1])
        values, labels = truth(name, data_dir, part.inputs.rows[some])
        if name == "lra_image":
            values = cifar.luma(values.transpose(0, 2, 1)).transpose(0, 2, 1)
        mean, std = (torch.tensor(each, dtype=torch.float32) for each in scale)
        expected = torch.from_numpy(values).to(torch.float32).div(255).sub(mean).div(std).numpy()
        if order is not None:
            expected = expected[:, order(784)]
        np.testing.assert_array_equal(part.inputs[some], expected)
        np.testing.assert_array_equal(part.targets[some], labels)


@pytest.mark.parametrize("name", SETS)
def test_a_cached_load_is_quick_and_the_same(data_dir: Path, name: str) -> None:
    def sample(dataset: Dataset) -> list[np.ndarray]:
        return [dataset.train.inputs[:50], dataset.validation.targets, dataset.test.inputs[-50:]]

    first, seconds = sample(registry.load(settings_of(name), data_dir, seed=0)), []
    for _ in range(3):
        begin = time.perf_counter()
        again = registry.load(settings_of(name), data_dir, seed=0)
        seconds.append(time.perf_counter() - begin)
        for one, other in zip(first, sample(again), strict=True):
            np.testing.assert_array_equal(one, other)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "name, choices",
    [
        ("smnist", "default, official, s5, s4torch, annotated"),
        ("pmnist", "default, official, s5, s4torch"),
        ("mnist-classification", "default, annotated"),
        ("scifar10", "default, official, s5, s4torch, annotated"),
        ("lra_image", "default, official, s5"),
    ],
)
def test_another_protocol_is_refused_with_the_choices(name: str, choices: str) -> None:
    with pytest.raises(ValueError, match=f"dataset.protocol='lra': must be one of {choices}; choose"):
        registry.describe(settings_of(name, "lra"))


@pytest.mark.parametrize("name, protocol", [case[:2] for case in PUBLISHED])
def test_a_fraction_that_a_published_split_ignores_is_refused(name: str, protocol: str) -> None:
    with pytest.raises(
        ValueError, match=rf"dataset\.validation_fraction=0\.2: has no effect under protocol={protocol}"
    ):
        registry.describe(settings_of(name, protocol, validation_fraction=0.2))
    count = SETS[name] // 5
    assert registry.describe(settings_of(name, validation_fraction=0.2)).counts["validation"] == count


@pytest.mark.parametrize(
    "protocol, own", [("official", "bit_reversal"), ("s5", "bit_reversal"), ("s4torch", "random42")]
)
def test_a_permutation_that_contradicts_its_protocol_is_refused(protocol: str, own: str) -> None:
    other = {"bit_reversal": "random42", "random42": "bit_reversal"}[own]
    with pytest.raises(ValueError, match=f"permutation='{other}': contradicts protocol={protocol}, which has {own}"):
        registry.describe(settings_of("pmnist", protocol, permutation=other))
    registry.describe(settings_of("pmnist", protocol, permutation=own))
    registry.describe(settings_of("pmnist", "default", permutation=other))
