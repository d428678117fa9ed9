"""Pathfinder and Path-X: parts and values, the published folders, damage, settings. The generator:
test_pathfinder_generator.py.

Not covered here: the published images themselves, which are in an archive of 7 GB.
"""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets import DataError, registry
from datasets.generators.pathfinder import draw, style
from datasets.parts import pathfinder
from datasets.parts.splits import torch_permutation

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "name": "pathfinder",
    "source": "generated",
    "protocol": "default",
    "difficulty": "hard",
    "generated_count": 40,
    "generated_seed": 0,
}


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, as these tests need few images."""
    monkeypatch.setattr(pathfinder, "CHUNK", 20)


@pytest.mark.parametrize("name, size", [("pathfinder", 32), ("pathx", 128)])
def test_generated_set_has_its_parts_and_its_range(tmp_path: Path, name: str, size: int) -> None:
    settings = {**SETTINGS, "name": name}
    description = registry.prepare(settings, tmp_path)
    assert description.generated
    assert description == registry.describe(settings)
    assert description.counts == {"train": 32, "validation": 4, "test": 4}
    dataset = registry.load(settings, tmp_path, seed=0)
    assert dataset.train.inputs.shape == (32, size * size, 1)
    assert (dataset.train.inputs[:].min(), dataset.train.inputs[:].max()) == (-1.0, 1.0)
    chunks = [draw(style(size, 14), 0, chunk, 20).images for chunk in range(2)]
    expected = np.concatenate(chunks).reshape(40, -1)
    found = np.concatenate([part.inputs[:] for part in (dataset.train, dataset.validation, dataset.test)])
    order = np.concatenate([part.inputs.rows for part in (dataset.train, dataset.validation, dataset.test)])
    np.testing.assert_array_equal(np.sort(order), np.arange(40))
    np.testing.assert_allclose(found[:, :, 0], expected[order] / 127.5 - 1, atol=1e-6)


def test_auto_generates_where_nothing_is_published(tmp_path: Path) -> None:
    settings = {**SETTINGS, "source": "auto"}
    assert registry.prepare(settings, tmp_path).generated
    generated, auto = (registry.load({**SETTINGS, "source": source}, tmp_path, 0) for source in ("generated", "auto"))
    np.testing.assert_array_equal(generated.test.inputs[:], auto.test.inputs[:])
    published(tmp_path)
    assert not registry.prepare(settings, tmp_path).generated


def test_more_images_begin_with_the_same_ones(tmp_path: Path) -> None:
    pair = [registry.load({**SETTINGS, "generated_count": count}, tmp_path, 0).train.inputs.array for count in (30, 40)]
    np.testing.assert_array_equal(pair[0], pair[1][:30])


@pytest.mark.parametrize("name", ["pathfinder", "pathx"])
def test_configurations_are_described(name: str) -> None:
    settings = yaml.safe_load((ROOT / "conf" / "dataset" / f"{name}.yaml").read_text())
    assert registry.describe(settings).counts is None  # only the files know
    counts = registry.describe({**settings, "source": "generated"}).counts
    total = settings["generated_count"]
    assert counts == {"train": total * 8 // 10, "validation": total // 10, "test": total // 10}
    assert registry.class_names(settings) == ("two paths", "one path")


def published(data_dir: Path, size: int = 32, difficulty: str = "curv_contour_length_14", per_list: int = 12) -> Path:
    """Two lists of noise images in the published format, their numbers 2 and 10 (which sort otherwise as text)."""
    folder = data_dir / f"pathfinder{size}" / difficulty
    (folder / "metadata").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in (2, 10):
        (folder / "imgs" / str(number)).mkdir(parents=True)
        lines = []
        for index in range(per_list):
            pixels = random.integers(0, 256, (size, size), np.uint8)
            pixels[0, 0] = number * 10 + index
            Image.fromarray(pixels).save(folder / "imgs" / str(number) / f"sample_{index}.png")
            lines.append(f"imgs/{number} sample_{index}.png {index} {index % 3 % 2} 1.0 14 4 2 0.5 1 1\n")
        (folder / "metadata" / f"{number}.npy").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("name", ["pathfinder", "pathx"])
@pytest.mark.parametrize("protocol, low, high", [("default", -1, 1), ("s5", -1, 1), ("official", 0, 1)])
def test_protocol_has_the_range_of_its_source(tmp_path: Path, name: str, protocol: str, low: int, high: int) -> None:
    inputs = registry.load({**SETTINGS, "name": name, "protocol": protocol}, tmp_path, 0).train.inputs
    expected = inputs.array[inputs.rows] / 255.0 * (high - low) + low
    np.testing.assert_allclose(inputs[:], expected, atol=1e-6)
    assert (inputs[:].min(), inputs[:].max()) == (low, high)


@pytest.mark.parametrize("name, size", [("pathfinder", 32), ("pathx", 128)])
@pytest.mark.parametrize("below", ["lra_release/lra_release", "pathfinder", "."])
def test_published_folders_are_found_and_preferred(tmp_path: Path, name: str, size: int, below: str) -> None:
    folder = published(tmp_path / below, size)
    settings = {**SETTINGS, "name": name, "source": "auto"}
    assert registry.describe(settings).counts is None
    description = registry.prepare(settings, tmp_path)
    assert not description.generated
    assert description.counts == {"train": 20, "validation": 2, "test": 2}
    dataset = registry.load(settings, tmp_path, seed=0)
    array = dataset.train.inputs.array
    np.testing.assert_array_equal(array[:, 0, 0], [*range(20, 32), *range(100, 112)])  # the lists' order
    with Image.open(folder / "imgs" / "10" / "sample_5.png") as image:
        np.testing.assert_array_equal(array[17, :, 0], np.asarray(image).reshape(-1))
    rows = dataset.train.inputs.rows
    np.testing.assert_array_equal(dataset.train.targets, rows % 12 % 3 % 2)


def test_official_split_is_torchs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    published(tmp_path)
    dataset = registry.load({**SETTINGS, "source": "auto", "protocol": "official"}, tmp_path, seed=5)
    generator = torch.Generator().manual_seed(42)
    parts = torch.utils.data.random_split(range(24), [20, 2, 2], generator=generator)
    for own, theirs in zip((dataset.train, dataset.validation, dataset.test), parts, strict=True):
        np.testing.assert_array_equal(own.inputs.rows, theirs.indices)


def test_default_has_the_official_test_part_and_validation_by_the_seed(tmp_path: Path) -> None:
    settings = {**SETTINGS, "generated_count": 100}
    first, second = (registry.load(settings, tmp_path, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test.inputs.rows, torch_permutation(100, 42)[90:])
    np.testing.assert_array_equal(first.test.inputs.rows, second.test.inputs.rows)
    assert set(first.validation.inputs.rows) != set(second.validation.inputs.rows)
    for dataset in (first, second):
        rows = [part.inputs.rows for part in (dataset.train, dataset.validation, dataset.test)]
        np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(100))


@pytest.mark.parametrize("name, difficulty", [("easy", "curv_baseline"), ("intermediate", "curv_contour_length_9")])
def test_difficulty_chooses_the_folder(tmp_path: Path, name: str, difficulty: str) -> None:
    published(tmp_path, difficulty=difficulty, per_list=6)
    assert registry.prepare({**SETTINGS, "source": "published", "difficulty": name}, tmp_path).counts is not None
    with pytest.raises(DataError, match="curv_contour_length_14 not found in it"):
        registry.prepare({**SETTINGS, "source": "published"}, tmp_path)


def test_the_known_bad_image_is_left_out(tmp_path: Path) -> None:
    folder = published(tmp_path, difficulty="curv_baseline")
    (folder / "imgs" / "0").mkdir()
    (folder / "imgs" / "0" / "sample_172.png").write_bytes(b"")
    (folder / "metadata" / "0.npy").write_text("imgs/0 sample_172.png 172 1 1.0 6 2 2 0.5 1 1\n")
    description = registry.prepare({**SETTINGS, "source": "published", "difficulty": "easy"}, tmp_path)
    assert sum(description.counts.values()) == 24


# --- damage


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG of 8 bit grey whose header says so, with no pixels."""
    content = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT", b"IEND")
    chunks = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in content)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WHOLE = png(np.random.default_rng(1).integers(0, 256, (32, 32), np.uint8))
FLIPPED = WHOLE[:500] + bytes([WHOLE[500] ^ 1]) + WHOLE[501:]


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", "is no whole PNG file"),
        (WHOLE[:600], "is no whole PNG file"),
        (FLIPPED, "is no whole PNG file"),
        (b"<html>moved</html>", "is no whole PNG file"),
        (png(np.zeros((28, 32), np.uint8)), r"is 32 x 28 pixels of mode L; expected 32 x 32 of mode L"),
        (png(np.zeros((32, 32, 3), np.uint8)), r"is 32 x 32 pixels of mode RGB; expected 32 x 32 of mode L"),
        (png(np.zeros((32, 32), np.uint16)), r"is 32 x 32 pixels of mode I;16; expected 32 x 32 of mode L"),
        (claiming(32, 32), "is no whole PNG file"),
        (claiming(5_000, 5_000), r"is 5000 x 5000 pixels of mode L; expected 32 x 32 of mode L"),
        (claiming(10_000, 10_000), r"is far larger than 32 x 32 pixels"),
        (claiming(60_000, 60_000), r"is far larger than 32 x 32 pixels"),
    ],
)
def test_damaged_images_are_refused_by_name(tmp_path: Path, raw: bytes, message: str) -> None:
    (published(tmp_path) / "imgs" / "10" / "sample_3.png").write_bytes(raw)
    refused(tmp_path, rf"imgs/10/sample_3\.png: {message}.*lra_release\.gz")


def test_list_that_names_a_missing_image_is_refused(tmp_path: Path) -> None:
    (published(tmp_path) / "imgs" / "10" / "sample_3.png").unlink()
    refused(tmp_path, r"sample_3\.png: is not there, but .*metadata/10\.npy: line 4 names it; .*lra_release\.gz")


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"imgs/2 sample_0.png 0\n", r"line 1 reads 'imgs/2 sample_0\.png 0'; expected folder, file, number and class"),
        (b"imgs/2 sample_0.png 0 2 1.0\n", r"line 1 reads 'imgs/2 sample_0\.png 0 2 1\.0'"),
        (b"imgs/2 sample_0.png 0 1 1.0\n\n", r"line 2 reads ''"),
        (b"../2 sample_0.png 0 1 1.0\n", r"line 1 names '\.\./2/sample_0\.png', which leads out of the folder"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", r"line 1 reads"),
        (b"", r"is empty"),
    ],
)
def test_damaged_lists_are_refused_with_their_line(tmp_path: Path, raw: bytes, message: str) -> None:
    (published(tmp_path) / "metadata" / "2.npy").write_bytes(raw)
    refused(tmp_path, rf"metadata/2\.npy: {message}.*lra_release\.gz")


def test_an_image_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    """It could be in two parts."""
    metadata = published(tmp_path) / "metadata"
    text = (metadata / "10.npy").read_text()
    (metadata / "10.npy").write_text(text + "imgs/2 sample_0.png 0 1 1.0\n")
    message = r"10\.npy: line 13 names .*imgs/2/sample_0\.png, as does .*2\.npy: line 1; expected each image once"
    refused(tmp_path, rf"{message}.*lra_release\.gz")


def test_lists_that_are_missing_or_foreign_or_too_short_are_refused(tmp_path: Path) -> None:
    folder = published(tmp_path, per_list=4)
    refused(tmp_path, r"its lists name 8 images; expected 10 or more")
    (folder / "metadata" / "combined.npy").write_text("")
    refused(tmp_path, r"combined\.npy: a list's name is <number>\.npy")
    for path in (folder / "metadata").iterdir():
        path.unlink()
    refused(tmp_path, r"metadata: holds no list")


def test_lists_that_cannot_be_read_are_refused_as_such(tmp_path: Path) -> None:
    metadata = published(tmp_path) / "metadata"
    (metadata / "3.npy").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"its lists cannot be read \(.*3\.npy.*lra_release\.gz"):
        registry.prepare({**SETTINGS, "source": "auto"}, tmp_path)
    shutil.rmtree(metadata)
    metadata.write_text("")
    with pytest.raises(DataError, match=r"metadata: cannot be read \(.*lra_release\.gz"):
        registry.prepare({**SETTINGS, "source": "auto"}, tmp_path)
    assert not (tmp_path / "prepared").exists()


def test_empty_folder_and_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"pathfinder32 is not in data_dir=.*lra_release\.gz.*dataset\.source=generated"
    ):
        registry.prepare({**SETTINGS, "source": "published"}, tmp_path)
    (tmp_path / "pathfinder32").mkdir()
    with pytest.raises(DataError, match=r"pathfinder32: curv_contour_length_14 not found in it; .*remove the folder"):
        registry.prepare({**SETTINGS, "source": "auto"}, tmp_path)


def refused(data_dir: Path, message: str) -> None:
    """With its name and its fix, and the cache holds nothing of it."""
    with pytest.raises(DataError, match=message):
        registry.prepare({**SETTINGS, "source": "auto"}, data_dir)
    assert [path for path in (data_dir / "prepared").iterdir() if path.suffix != ".lock"] == []


# --- settings


@pytest.mark.parametrize("name", ["pathfinder", "pathx"])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"source": "web"}, r"source='web': must be one of auto, published, generated"),
        ({"protocol": "annotated"}, r"protocol='annotated': must be one of default, official, s5"),
        ({"difficulty": "14"}, r"difficulty='14': must be one of"),
        ({"generated_count": 9}, r"generated_count=9: must be a whole number of at least 10"),
        ({"generated_seed": 0.5}, r"generated_seed=0\.5: must be a whole number of at least 0"),
        ({"size": 64}, r"size=64: is not a setting of dataset="),
    ],
)
def test_senseless_settings_are_refused(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^dataset\.{message}"):
        registry.describe({**SETTINGS, "name": name, **change})
