"""MNIST: its files as published, damaged, fetched or absent, its fixed orders, and its real values.

Not covered here: the mirrors themselves, which need a network, and the protocols (test_images.py).
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_idx import packed_idx

from datasets import DataError, registry
from datasets.files import mnist
from datasets.parts.permutations import bit_reversal, random42

REAL_MNIST = Path(__file__).parents[1].parent / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(
    not REAL_MNIST.is_dir(), reason="the real MNIST files are not beside the project, in ../shared/data/mnist"
)
SMNIST = {"name": "smnist", "protocol": "default", "validation_fraction": 0.1}
PMNIST = {**SMNIST, "name": "pmnist", "permutation": "random42"}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Mirrors that refuse at once: nothing listens on port 9 of this machine."""
    mirrors = ("http://127.0.0.1:9/first/", "http://127.0.0.1:9/second/")
    monkeypatch.setattr(mnist, "MIRRORS", mirrors)
    return mirrors


def kept(data_dir: Path) -> list[Path]:
    """Prepared arrays, and anything half-made beside them; not the empty files that processes wait at."""
    return [path for path in (data_dir / "prepared").glob("*") if path.suffix != ".lock"]


# --- permutations


def test_bit_reversal_is_the_repeated_folding_of_the_official_code() -> None:
    # A row split in halves and laid one under the other, ten times, then read as a column.
    table = np.arange(1024).reshape(1024, 1)
    for _ in range(10):
        half = table.shape[0] // 2
        table = np.hstack([table[:half], table[half:]])
    folded = table[0]
    np.testing.assert_array_equal(bit_reversal(784), folded[folded < 784])


def test_bit_reversal_by_hand() -> None:
    np.testing.assert_array_equal(bit_reversal(8), [0, 4, 2, 6, 1, 5, 3, 7])
    np.testing.assert_array_equal(bit_reversal(6), [0, 4, 2, 1, 5, 3])


def test_random42_is_numpys_published_stream() -> None:
    shuffled = np.arange(784)
    np.random.RandomState(42).shuffle(shuffled)
    np.testing.assert_array_equal(random42(784), shuffled)
    # RandomState's stream is frozen, so these hold under every NumPy
    np.testing.assert_array_equal(random42(784)[:8], [598, 590, 209, 637, 174, 213, 429, 259])


@pytest.mark.parametrize("permutation", [random42, bit_reversal])
def test_permutations_permute(permutation: Any) -> None:
    np.testing.assert_array_equal(np.sort(permutation(784)), np.arange(784))
    assert not np.array_equal(permutation(784), np.arange(784))


def test_unknown_permutation_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="permutation='random7': must be one of"):
        registry.describe({**PMNIST, "permutation": "random7"})


# --- MNIST files: where they lie, damage, no network


def test_without_network_the_error_says_what_was_tried_and_what_to_do(
    tmp_path: Path, no_network: tuple[str, ...]
) -> None:
    for settings in (SMNIST, PMNIST):
        with pytest.raises(DataError) as raised:
            registry.prepare(settings, tmp_path)
        message = str(raised.value)
        for mirror in no_network:
            assert f"{mirror}train-images-idx3-ubyte.gz: ConnectionRefusedError" in message
        assert f"into {tmp_path / 'mnist'} by hand" in message
        for file in mnist.FILES:
            assert f"{file.name}.gz" in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # nothing half-made stays


def test_describe_needs_neither_network_nor_files(no_network: tuple[str, ...]) -> None:
    assert registry.describe(SMNIST).counts == {"train": 54_000, "validation": 6_000, "test": 10_000}


def test_data_dir_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match=r"data_dir=.*cannot be written.*data_dir=\.\.\."):
        registry.prepare(SMNIST, blocked)


def test_small_synthetic_files_are_refused_for_their_counts(tmp_path: Path, no_network: tuple[str, ...]) -> None:
    for file in mnist.FILES:
        array = np.zeros((100, *file.shape[1:]), np.uint8)
        (tmp_path / file.name).write_bytes(packed_idx(array))
    with pytest.raises(DataError, match="its header says 100 x 28 x 28; expected 60000 x 28 x 28"):
        registry.prepare(SMNIST, tmp_path)
    assert kept(tmp_path) == []


def test_right_structure_with_other_content_fails_the_checksum(tmp_path: Path) -> None:
    file = mnist.TEST_LABELS
    raw = packed_idx(np.zeros(file.shape, np.uint8))
    (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(DataError, match=rf"its MD5 is [0-9a-f]{{32}}; the published file has {file.md5}"):
        mnist.read_file(file, tmp_path / f"{file.name}.gz")
    # unpacked files have no published checksum: the structure is what is verified
    (tmp_path / file.name).write_bytes(raw)
    assert mnist.read_file(file, tmp_path / file.name).shape == (10_000,)


def test_labels_of_a_file_are_checked(tmp_path: Path) -> None:
    file = mnist.TEST_LABELS
    (tmp_path / file.name).write_bytes(packed_idx(np.full(file.shape, 11)))
    with pytest.raises(DataError, match="label 0 is 11; expected labels from 0 to 9"):
        mnist.read_file(file, tmp_path / file.name)


@pytest.mark.parametrize("folder", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_found_in_each_place(tmp_path: Path, folder: str, suffix: str) -> None:
    file = mnist.TRAIN_LABELS
    assert mnist.locate(file, tmp_path) is None
    path = tmp_path / folder / f"{file.name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert mnist.locate(file, tmp_path) == path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir that links to the real files, so that what is prepared lies elsewhere."""
    if not REAL_MNIST.is_dir():
        pytest.skip("the real MNIST files are not beside the project, in ../shared/data/mnist")
    data_dir = tmp_path_factory.mktemp("mnist")
    for file in mnist.FILES:
        (data_dir / f"{file.name}.gz").symlink_to(REAL_MNIST / f"{file.name}.gz")
    return data_dir


def test_real_mnist_has_its_published_statistics(real: Path) -> None:
    dataset = registry.load(SMNIST, real, seed=0)
    train, validation, test = (np.asarray(part.inputs) for part in (dataset.train, dataset.validation, dataset.test))
    total = train.sum(dtype=np.float64) + validation.sum(dtype=np.float64)
    assert total / (60_000 * 784) == pytest.approx(0.1306604762738429, rel=1e-7)  # the well-known 0.1307
    assert test.mean(dtype=np.float64) == pytest.approx(0.1325, abs=5e-5)
    labels = np.concatenate([dataset.train.targets, dataset.validation.targets])
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(labels), published)
    np.testing.assert_array_equal(dataset.test.targets[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    assert (train.min(), train.max()) == (0.0, 1.0)


def test_real_pmnist_is_smnist_in_another_order(real: Path) -> None:
    plain = registry.load(SMNIST, real, seed=0)
    permuted = registry.load({**PMNIST, "permutation": "bit_reversal"}, real, seed=0)
    order = bit_reversal(784)
    for part in ("train", "validation", "test"):
        ours, source = getattr(permuted, part), getattr(plain, part)
        np.testing.assert_array_equal(ours.targets, source.targets)
        np.testing.assert_array_equal(ours.inputs[:500], source.inputs[:500][:, order])


def test_prepared_arrays_are_the_files_pixels_in_order(real: Path) -> None:
    """Bit by bit what a run read before there was a cache: uint8 values of the files, train before test."""
    arrays = mnist.prepared(real).arrays
    for file, rows in ((mnist.TRAIN_IMAGES, slice(0, 60_000)), (mnist.TEST_IMAGES, slice(60_000, None))):
        pixels = mnist.read_file(file, real / f"{file.name}.gz")
        np.testing.assert_array_equal(arrays["pixels"][rows, :, 0], pixels.reshape(-1, 784))
    train = registry.load(SMNIST, real, seed=0).train
    rows = train.inputs.rows[:100]
    np.testing.assert_array_equal(train.inputs[:100], arrays["pixels"][rows].astype(np.float32) / np.float32(255.0))


def test_prepared_mnist_serves_every_set_and_outlives_its_files(real: Path, no_network: tuple[str, ...]) -> None:
    first = registry.load(SMNIST, real, seed=0)
    data_dir = real.parent / f"{real.name}-alone"
    shutil.copytree(real / "prepared", data_dir / "prepared")
    again = registry.load(SMNIST, data_dir, seed=0)
    np.testing.assert_array_equal(again.train.inputs[:200], first.train.inputs[:200])
    np.testing.assert_array_equal(again.test.targets, first.test.targets)
    for settings in (PMNIST, {**SMNIST, "name": "mnist-classification"}):
        registry.load(settings, data_dir, seed=0)
    assert len(kept(data_dir)) == 1


def test_real_files_unpacked_give_the_same_arrays(real: Path, tmp_path: Path) -> None:
    for file in mnist.FILES:
        raw = gzip.decompress((REAL_MNIST / f"{file.name}.gz").read_bytes())
        (tmp_path / file.name).write_bytes(raw)
    unpacked, packed = mnist.prepared(tmp_path), mnist.prepared(real)
    assert unpacked.notes["source"].startswith("sha256:")
    assert unpacked.notes == packed.notes
    for name in ("pixels", "labels"):
        np.testing.assert_array_equal(unpacked.arrays[name], packed.arrays[name])


def test_real_file_cut_off_is_refused(real: Path, tmp_path: Path, no_network: tuple[str, ...]) -> None:
    for file in mnist.FILES:
        (tmp_path / f"{file.name}.gz").symlink_to(REAL_MNIST / f"{file.name}.gz")
    victim = tmp_path / "t10k-images-idx3-ubyte.gz"
    raw = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: \d+ bytes that do not unpack"):
        registry.prepare(SMNIST, tmp_path)
    assert kept(tmp_path) == []


@needs_mnist
def test_missing_file_is_fetched_past_bad_mirrors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str]
) -> None:
    """One dead mirror, one that serves other bytes, one that is right: its file is kept."""
    folder, address = served
    (folder / "bad").mkdir()
    (folder / "good").mkdir()
    name = "t10k-labels-idx1-ubyte.gz"
    (folder / "bad" / name).write_bytes(b"<html>moved</html>")
    (folder / "good" / name).write_bytes((REAL_MNIST / name).read_bytes())
    mirrors = ("http://127.0.0.1:9/", f"{address}/absent/", f"{address}/bad/", f"{address}/good/")
    monkeypatch.setattr(mnist, "MIRRORS", mirrors)
    data_dir = tmp_path / "data"
    path = mnist.fetch(mnist.TEST_LABELS, data_dir)
    assert path == data_dir / "mnist" / name
    assert [each.name for each in path.parent.iterdir()] == [name]
    assert mnist.locate(mnist.TEST_LABELS, data_dir) == path
    assert mnist.read_file(mnist.TEST_LABELS, path).shape == (10_000,)
