"""CIFAR-10: its greys, and its files unpacked, packed, damaged, absent and real."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_mnist import kept

from datasets import DataError, registry
from datasets.files import archives, cifar

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "cifar-10-batches-bin.tar.xz"
SETTINGS = [{"name": name, "protocol": "default", "validation_fraction": 0.1} for name in ("scifar10", "lra_image")]


def records(rng: np.random.Generator, count: int) -> np.ndarray:
    made = rng.integers(0, 256, (count, 3073), np.uint8)
    made[:, 0] %= 10
    return made


# --- greys


def test_greys_are_pillow_s() -> None:
    """Values of Image.convert("L"), some of them where the decimal weights .299 .587 .114 would round to another."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 250), (0, 4, 168), (0, 8, 86), (0, 14, 213), (0, 183, 27)]
    greys = [76, 150, 29, 28, 21, 14, 32, 110]
    np.testing.assert_array_equal(cifar.luma(np.array(colours, np.uint8).T[None])[0, 0], greys)
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(cifar.luma(np.stack([levels] * 3)[None])[0, 0], levels)


def test_greys_are_itu_r_601_luma_to_a_rounding() -> None:
    planes = np.random.default_rng(0).integers(0, 256, (100, 3, 1024), np.uint8)
    exact = np.tensordot([0.299, 0.587, 0.114], planes.astype(np.float64), (0, 1))
    assert np.abs(cifar.luma(planes)[:, 0] - exact).max() < 0.5 + 0.005  # 16-bit weights


# --- files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The six files with 20 records each; nothing listens at the archive's addresses."""
    monkeypatch.setattr(cifar, "RECORDS", 20)
    dead = replace(cifar.ARCHIVE, urls=("http://127.0.0.1:9/first/", "http://127.0.0.1:9/second/"))
    monkeypatch.setattr(cifar, "ARCHIVE", dead)
    rng = np.random.default_rng(1)
    return {name: records(rng, 20).tobytes() for name in cifar.FILES}


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def refused(data_dir: Path, message: str) -> None:
    for settings in SETTINGS:
        with pytest.raises(DataError, match=message):
            registry.prepare(settings, data_dir)
    assert kept(data_dir) == []


@pytest.mark.parametrize("place", ["cifar-10-batches-bin", "."])
def test_unpacked_files_are_read_where_they_lie(small: dict[str, bytes], tmp_path: Path, place: str) -> None:
    unpack(small, tmp_path / "data" / place)
    planes = np.frombuffer(b"".join(small.values()), np.uint8).reshape(120, 3073)[:, 1:].reshape(120, 3, 1024)
    colours = cifar.prepared(tmp_path / "data", grey=False)
    np.testing.assert_array_equal(colours.arrays["pixels"], planes.transpose(0, 2, 1))
    np.testing.assert_array_equal(colours.arrays["pixels"][7, 32 * 5 + 3], planes.reshape(120, 3, 32, 32)[7, :, 5, 3])
    greys = cifar.prepared(tmp_path / "data", grey=True)
    assert greys.arrays["pixels"].shape == (120, 1024, 1)
    assert greys.notes == colours.notes == {"source": f"sha256:{hashlib.sha256(b''.join(small.values())).hexdigest()}"}


@pytest.mark.parametrize("size", [-1, 1, -3073, 0])
def test_a_file_of_another_size_is_refused(small: dict[str, bytes], tmp_path: Path, size: int) -> None:
    raw = small["data_batch_3.bin"]
    small["data_batch_3.bin"] = raw[:size] if size <= 0 else raw + bytes(size)
    unpack(small, tmp_path / "cifar-10-batches-bin")
    count = len(small["data_batch_3.bin"])
    refused(tmp_path, rf"data_batch_3\.bin: it has {count} bytes; expected 61460: 20 records of 3073 bytes.*unpack")


def test_a_label_out_of_range_is_refused(small: dict[str, bytes], tmp_path: Path) -> None:
    raw = bytearray(small["test_batch.bin"])
    raw[4 * 3073] = 10
    unpack({**small, "test_batch.bin": bytes(raw)}, tmp_path / "cifar-10-batches-bin")
    refused(tmp_path, r"test_batch\.bin: the label of record 4 is 10; expected labels from 0 to 9")


@pytest.mark.parametrize("present", [0, 5])
def test_a_missing_file_is_named(small: dict[str, bytes], tmp_path: Path, present: int) -> None:
    unpack(dict(list(small.items())[:present]), tmp_path / "cifar-10-batches-bin")
    refused(tmp_path, rf"batches-bin: {cifar.FILES[present]} is not in it; unpack cifar-10-binary\.tar\.gz")


def test_a_file_that_cannot_be_read_is_named(small: dict[str, bytes], tmp_path: Path) -> None:
    folder = unpack(small, tmp_path / "cifar-10-batches-bin")
    (folder / "data_batch_2.bin").unlink()
    (folder / "data_batch_2.bin").mkdir()
    refused(tmp_path, r"data_batch_2\.bin: cannot be read")


def test_without_network_the_error_says_what_was_tried_and_what_to_do(small: dict[str, bytes], tmp_path: Path) -> None:
    for url in cifar.ARCHIVE.urls:
        refused(tmp_path / "data", rf"(?s){url}cifar-10-binary\.tar\.gz: ConnectionRefusedError.*by hand.*data_dir=")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def packed(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The archive of the six small files, whose checksum is taken to be the published one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, raw in small.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    checksum = f"md5:{hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()}"
    monkeypatch.setattr(cifar, "ARCHIVE", replace(cifar.ARCHIVE, checksum=checksum))
    return buffer.getvalue()


def test_an_archive_is_unpacked_and_prepared_once(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed)
    first = cifar.prepared(tmp_path, grey=False)
    assert archives.find(cifar.ARCHIVE, tmp_path) == tmp_path / "cifar-10-batches-bin"
    os.rename(tmp_path / "cifar-10-batches-bin", tmp_path / "elsewhere")
    (tmp_path / "cifar-10-binary.tar.gz").unlink()
    again = cifar.prepared(tmp_path, grey=False)  # nothing listens at its addresses
    np.testing.assert_array_equal(again.arrays["pixels"], first.arrays["pixels"])
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_archive_is_refused(packed: bytes, tmp_path: Path, damage: str) -> None:
    raw = bytearray(packed)
    raw[len(raw) // 2] ^= 1
    damaged = {"flip": bytes(raw), "truncate": packed[:-100], "empty": b""}[damage]
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(damaged)
    refused(tmp_path, r"cifar-10-binary\.tar\.gz: its MD5 is [0-9a-f]{32}; the published file has .*Delete it")
    assert not (tmp_path / "cifar-10-batches-bin").exists()


def test_a_real_file_has_the_published_statistics(tmp_path: Path) -> None:
    """One train file, a random fifth of train, as unpacking all of them takes long."""
    if not REAL.is_file():
        pytest.skip(f"the real CIFAR-10 files are not beside the project, in ../shared/data/{REAL.name}")
    path = tmp_path / "data_batch.bin"
    with tarfile.open(REAL, "r|xz") as tar:
        member = next(each for each in tar if "data_batch" in each.name)
        content = tar.extractfile(member)
        assert content is not None
        path.write_bytes(content.read())
    real = cifar.read_file(path)
    planes = real[:, 1:].reshape(-1, 3, 1024)
    values = planes / 255.0
    np.testing.assert_allclose(values.mean((0, 2)), [0.4914, 0.4822, 0.4465], atol=0.004)
    np.testing.assert_allclose(values.std((0, 2)), [0.2470, 0.2435, 0.2616], atol=0.002)
    greys = cifar.luma(planes)
    assert greys.mean() == pytest.approx(122.6, abs=1.0)
    assert greys.std() == pytest.approx(61.0, abs=0.5)
    assert np.bincount(real[:, 0]).min() > 900
