"""Data sets: real values, splits, damaged files and the way without a network.

Not covered here: the mirrors themselves, which need a network.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from datasets import DataError, idx, mnist_files, registry
from datasets.permutations import bit_reversal, random42
from datasets.splits import cut_validation, stratified_test, validation_count

ROOT = Path(__file__).parents[1]
REAL_MNIST = ROOT.parent / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(
    not REAL_MNIST.is_dir(), reason="the real MNIST files are not beside the project, in ../shared/data/mnist"
)
DIGITS = {"name": "digits", "validation_fraction": 0.1}
SMNIST = {"name": "smnist", "validation_fraction": 0.1}
PMNIST = {"name": "pmnist", "validation_fraction": 0.1, "permutation": "random42"}


def packed_idx(array: np.ndarray, magic: bytes | None = None) -> bytes:
    header = magic if magic is not None else bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Mirrors that refuse at once: nothing listens on port 9 of this machine."""
    mirrors = ("http://127.0.0.1:9/first/", "http://127.0.0.1:9/second/")
    monkeypatch.setattr(mnist_files, "MIRRORS", mirrors)
    return mirrors


# --- every data set


def config_of(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "conf" / "dataset" / f"{name}.yaml").read_text())


def test_every_module_has_its_config_and_the_other_way_round() -> None:
    configs = {path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml")}
    assert configs == set(registry.names())
    assert {"digits", "smnist", "pmnist"} <= configs


@pytest.mark.parametrize("name", registry.names())
def test_config_is_described_without_a_file(name: str) -> None:
    settings = config_of(name)
    assert settings["name"] == name
    assert (ROOT / "conf" / "dataset" / f"{name}.yaml").read_text().startswith("# ")
    description = registry.describe(settings)
    assert description.name == name
    assert set(description.counts) == {"train", "validation", "test"}
    assert all(count > 0 for count in description.counts.values())


@pytest.mark.parametrize("name", registry.names())
def test_unknown_setting_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"dataset \w+: unknown setting 'validaton'; it has .*validation_fraction"):
        registry.describe({**config_of(name), "validaton": 0.1})


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, True, "0.1", None, float("nan")])
def test_senseless_validation_fraction_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"validation_fraction=.* must be a number between 0 and 1"):
        registry.describe({**config_of(name), "validation_fraction": value})


@pytest.mark.parametrize("value", [1e-9, 1 - 1e-9])
def test_fraction_that_empties_a_part_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="both need at least one"):
        registry.describe({**DIGITS, "validation_fraction": value})


def test_missing_setting_is_named() -> None:
    with pytest.raises(ValueError, match="setting 'validation_fraction' is missing"):
        registry.describe({"name": "digits"})


@pytest.mark.parametrize("name", ["mnits", None, "registry", "batches", "idx", ["digits"]])
def test_unknown_data_set_is_refused_with_the_choices(name: object) -> None:
    with pytest.raises(ValueError, match=r"dataset\.name=.* is not known; choose digits, pmnist, smnist"):
        registry.describe({"name": name, "validation_fraction": 0.1})


def test_settings_are_checked_by_prepare_and_load_too(tmp_path: Path, no_network: tuple[str, ...]) -> None:
    for bad in ({**DIGITS, "permutation": "random42"}, {**PMNIST, "permutation": "random7"}):
        with pytest.raises(ValueError, match="dataset "):
            registry.prepare(bad, tmp_path)
        with pytest.raises(ValueError, match="dataset "):
            registry.load(bad, tmp_path, seed=0)


# --- digits


def test_digits_are_scikit_learns_in_full() -> None:
    from sklearn.datasets import load_digits

    dataset = registry.load(DIGITS, "nowhere", seed=0)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert {**dataset.description.counts} == {"train": 1294, "validation": 144, "test": 359}
    # all 1,797 images, each once: sorted with their labels they are the source's
    ours = np.concatenate([np.hstack([part.inputs[:, :, 0] * 16, part.targets[:, None]]) for part in parts])
    images, labels = load_digits(return_X_y=True)
    theirs = np.hstack([images, labels[:, None]])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    assert min(part.inputs.min() for part in parts) == 0.0
    assert max(part.inputs.max() for part in parts) == 1.0


def test_digits_test_part_is_fixed_and_stratified() -> None:
    first, second = (registry.load(DIGITS, "nowhere", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test.inputs, second.test.inputs)
    np.testing.assert_array_equal(first.test.targets, second.test.targets)
    everything = np.concatenate([part.targets for part in (first.train, first.validation, first.test)])
    share = np.bincount(first.test.targets, minlength=10) / np.bincount(everything, minlength=10)
    assert np.abs(share - 0.2).max() < 0.5 / 174  # half an image of the smallest class


def test_digits_validation_follows_the_seed() -> None:
    first, again, other = (registry.load(DIGITS, "nowhere", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.validation.inputs, again.validation.inputs)
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    assert not np.array_equal(first.validation.inputs, other.validation.inputs)


# --- splits


@pytest.mark.parametrize("count, fraction", [(2, 0.5), (11, 0.1), (1438, 0.1), (1000, 0.999)])
def test_cut_is_disjoint_and_covers(count: int, fraction: float) -> None:
    train, validation = cut_validation(count, fraction, seed=5)
    assert len(validation) == validation_count(count, fraction)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(count))


def test_cut_depends_on_the_seed_alone() -> None:
    cuts = [cut_validation(1000, 0.1, seed)[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(cuts[0], cuts[1])
    # two random tenths share a tenth of themselves: about 10 of 100
    assert len(np.intersect1d(cuts[0], cuts[2])) < 40


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed=-1 must not be negative"):
        cut_validation(10, 0.1, -1)


def test_stratified_test_takes_its_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 50])
    rest, test = stratified_test(labels, 0.2, seed=1)
    np.testing.assert_array_equal(np.bincount(labels[test]), [2, 4, 10])
    np.testing.assert_array_equal(np.sort(np.concatenate([rest, test])), np.arange(80))


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
    with pytest.raises(ValueError, match="permutation='random7' is not known; choose bit_reversal or random42"):
        registry.describe({**PMNIST, "permutation": "random7"})


# --- IDX


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    raw = packed_idx(array)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix else raw)
    np.testing.assert_array_equal(idx.parse(raw, "bytes", shape), array)
    np.testing.assert_array_equal(idx.read(path, shape), array)


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", r"the magic number is 0x; expected 0x00000803"),
        (packed_idx(SMALL, magic=bytes([0, 0, 8, 1])), "the magic number is 0x00000801; expected 0x00000803"),
        (
            packed_idx(SMALL, magic=bytes([0, 0, 13, 3])),
            "the magic number is 0x00000d03; expected 0x00000803",
        ),
        (packed_idx(SMALL)[:9], "it ends after 9 bytes; expected a header of 16 bytes"),
        (packed_idx(SMALL[:1]), "its header says 1 x 3 x 4; expected 2 x 3 x 4"),
        (packed_idx(SMALL)[:-1], "it has 39 bytes; expected 40 bytes"),
        (packed_idx(SMALL) + b"\0", "it has 41 bytes; expected 40 bytes"),
    ],
)
def test_damaged_idx_is_refused_with_value_and_rule(raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"the file: {message}.*delete it"):
        idx.parse(raw, "the file", SMALL.shape)


def test_cut_off_or_foreign_gz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    whole = gzip.compress(np.random.default_rng(0).bytes(2000))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for raw in (b"", whole[:-1], whole[: len(whole) // 2], b"<html>moved</html>", bytes(flipped)):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"file\.gz: .*expected"):
            idx.read(path, SMALL.shape)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.gz").mkdir()
    with pytest.raises(DataError, match=r"folder\.gz: cannot be read"):
        idx.read(tmp_path / "folder.gz", SMALL.shape)


def test_labels_out_of_range_are_refused() -> None:
    idx.check_labels(np.array([0, 9], np.uint8), "labels", 10)
    with pytest.raises(DataError, match="labels: label 1 is 10; expected labels from 0 to 9"):
        idx.check_labels(np.array([9, 10, 3], np.uint8), "labels", 10)


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
        for file in mnist_files.FILES:
            assert f"{file.name}.gz" in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # nothing half-made stays


def test_describe_needs_neither_network_nor_files(no_network: tuple[str, ...]) -> None:
    assert registry.describe(SMNIST).counts == {"train": 54_000, "validation": 6_000, "test": 10_000}


def test_data_dir_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match=r"data_dir=.*cannot be made.*data_dir=\.\.\."):
        registry.prepare(SMNIST, blocked)


def test_small_synthetic_files_are_refused_for_their_counts(tmp_path: Path, no_network: tuple[str, ...]) -> None:
    for file in mnist_files.FILES:
        array = np.zeros((100, *file.shape[1:]), np.uint8)
        (tmp_path / file.name).write_bytes(packed_idx(array))
    with pytest.raises(DataError, match="its header says 100 x 28 x 28; expected 60000 x 28 x 28"):
        registry.prepare(SMNIST, tmp_path)


def test_right_structure_with_other_content_fails_the_checksum(tmp_path: Path) -> None:
    file = mnist_files.TEST_LABELS
    raw = packed_idx(np.zeros(file.shape, np.uint8))
    (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(DataError, match=rf"its MD5 is [0-9a-f]{{32}}; the published file has {file.md5}"):
        mnist_files.read_file(file, tmp_path / f"{file.name}.gz")
    # unpacked files have no published checksum: the structure is what is verified
    (tmp_path / file.name).write_bytes(raw)
    assert mnist_files.read_file(file, tmp_path / file.name).shape == (10_000,)


def test_labels_of_a_file_are_checked(tmp_path: Path) -> None:
    file = mnist_files.TEST_LABELS
    (tmp_path / file.name).write_bytes(packed_idx(np.full(file.shape, 11)))
    with pytest.raises(DataError, match="label 0 is 11; expected labels from 0 to 9"):
        mnist_files.read_file(file, tmp_path / file.name)


@pytest.mark.parametrize("folder", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_found_in_each_place(tmp_path: Path, folder: str, suffix: str) -> None:
    file = mnist_files.TRAIN_LABELS
    assert mnist_files.locate(file, tmp_path) is None
    path = tmp_path / folder / f"{file.name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert mnist_files.locate(file, tmp_path) == path


@pytest.fixture(scope="module")
def real() -> Mapping[str, Any]:
    """smnist and both kinds of pmnist from the real files, one seed."""
    if not REAL_MNIST.is_dir():
        pytest.skip("the real MNIST files are not beside the project, in ../shared/data/mnist")
    return {
        "smnist": registry.load(SMNIST, REAL_MNIST, seed=0),
        "bit_reversal": registry.load({**PMNIST, "permutation": "bit_reversal"}, REAL_MNIST, seed=0),
    }


def test_real_mnist_has_its_published_statistics(real: Mapping[str, Any]) -> None:
    dataset = real["smnist"]
    total = dataset.train.inputs.sum(dtype=np.float64) + dataset.validation.inputs.sum(dtype=np.float64)
    assert total / (60_000 * 784) == pytest.approx(0.1306604762738429, rel=1e-7)  # the well-known 0.1307
    assert dataset.test.inputs.mean(dtype=np.float64) == pytest.approx(0.1325, abs=5e-5)
    labels = np.concatenate([dataset.train.targets, dataset.validation.targets])
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(labels), published)
    np.testing.assert_array_equal(dataset.test.targets[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    assert (dataset.train.inputs.min(), dataset.train.inputs.max()) == (0.0, 1.0)


def test_real_pmnist_is_smnist_in_another_order(real: Mapping[str, Any]) -> None:
    plain, permuted = real["smnist"], real["bit_reversal"]
    order = bit_reversal(784)
    for part in ("train", "validation", "test"):
        ours, source = getattr(permuted, part), getattr(plain, part)
        np.testing.assert_array_equal(ours.targets, source.targets)
        for step in (0, 1, 500, 783):
            np.testing.assert_array_equal(ours.inputs[:, step], source.inputs[:, order[step]])


@needs_mnist
def test_real_files_unpacked_give_the_same_arrays(tmp_path: Path) -> None:
    for file in mnist_files.FILES:
        raw = gzip.decompress((REAL_MNIST / f"{file.name}.gz").read_bytes())
        (tmp_path / file.name).write_bytes(raw)
    unpacked, packed = mnist_files.read(tmp_path), mnist_files.read(REAL_MNIST)
    np.testing.assert_array_equal(unpacked.train_pixels, packed.train_pixels)
    np.testing.assert_array_equal(unpacked.test_labels, packed.test_labels)


@needs_mnist
def test_real_file_cut_off_is_refused(tmp_path: Path, no_network: tuple[str, ...]) -> None:
    for file in mnist_files.FILES:
        (tmp_path / f"{file.name}.gz").symlink_to(REAL_MNIST / f"{file.name}.gz")
    victim = tmp_path / "t10k-images-idx3-ubyte.gz"
    raw = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: \d+ bytes that do not unpack"):
        registry.prepare(SMNIST, tmp_path)


@needs_mnist
def test_missing_file_is_fetched_past_bad_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dead mirror, one that serves other bytes, one that is right: its file is kept."""
    import functools
    import http.server
    import threading

    served = tmp_path / "served"
    (served / "bad").mkdir(parents=True)
    (served / "good").mkdir()
    name = "t10k-labels-idx1-ubyte.gz"
    (served / "bad" / name).write_bytes(b"<html>moved</html>")
    (served / "good" / name).write_bytes((REAL_MNIST / name).read_bytes())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        mirrors = ("http://127.0.0.1:9/", f"{address}/absent/", f"{address}/bad/", f"{address}/good/")
        monkeypatch.setattr(mnist_files, "MIRRORS", mirrors)
        data_dir = tmp_path / "data"
        path = mnist_files.fetch(mnist_files.TEST_LABELS, data_dir)
        server.shutdown()
    assert path == data_dir / "mnist" / name
    assert [each.name for each in path.parent.iterdir()] == [name]
    assert mnist_files.locate(mnist_files.TEST_LABELS, data_dir) == path
    assert mnist_files.read_file(mnist_files.TEST_LABELS, path).shape == (10_000,)
