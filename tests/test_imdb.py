"""imdb on small sets in the published layout: order, vocabulary, splits, damage.

Not covered: the address that the reviews are fetched from, which needs a network.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import imdb, registry
from datasets.data import DataError, Dataset
from datasets.files import imdb as imdb_files
from datasets.store.stored import Stored

UNKNOWN, END = 1, 2
REVIEWS = 4  # a part and class
LETTERS = "neopsgtrain neopsgtrain "  # in eight reviews each comes 16 times


def config(**changes: Any) -> dict[str, Any]:
    return {"name": "imdb", "protocol": "default", "length": 40, "validation_fraction": 0.25, **changes}


def folders_of(text: str = LETTERS) -> dict[str, list[str]]:
    """Reviews by folder, each another text: no digit behind `text` comes 15 times in train."""
    return {
        f"{part}/{kind}": [f"{text}{kind} {part} {number}" for number in range(REVIEWS)]
        for part in ("train", "test")
        for kind in ("neg", "pos")
    }


def lay(data_dir: Path, folders: Mapping[str, list[str]]) -> Path:
    """aclImdb in the published layout, files made in descending order."""
    for folder, texts in folders.items():
        where = data_dir / "aclImdb" / folder
        where.mkdir(parents=True)
        for number, text in reversed(list(enumerate(texts))):
            (where / f"{number}_7.txt").write_bytes(text.encode())
    return data_dir


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few reviews are all reviews, and no address answers: nothing listens on port 9 of this machine."""
    monkeypatch.setattr(imdb_files, "REVIEWS", REVIEWS)
    monkeypatch.setattr(imdb_files, "ARCHIVE", replace(imdb_files.ARCHIVE, urls=("http://127.0.0.1:9/reviews/",)))


def shown(dataset: Dataset, part: str) -> list[str]:
    split = getattr(dataset, part)
    return [imdb.text_of(config(), row) for row in np.asarray(split.inputs)]


def cached(data_dir: Path) -> list[str]:
    """What lies in the cache but the locks."""
    return [path.name for path in (data_dir / "prepared").glob("*") if path.suffix != ".lock"]


@pytest.mark.parametrize(
    "protocol, length, padded, selects, counts",
    [
        ("default", 4096, True, False, (22_500, 2_500, 25_000)),
        ("official", 4096, True, True, (25_000, 25_000, 25_000)),
        ("s5", 4096, True, True, (25_000, 25_000, 25_000)),
        ("annotated", 2048, False, True, (25_000, 25_000, 25_000)),
    ],
)
def test_imdb_is_described_by_its_protocol(
    protocol: str, length: int, padded: bool, selects: bool, counts: tuple[int, ...]
) -> None:
    found = registry.describe(config(protocol=protocol, length=None, validation_fraction=0.1))
    assert (found.problem.length, found.problem.padding, found.selects_on_test) == (
        length,
        0 if padded else None,
        selects,
    )
    assert (found.problem.vocabulary, found.problem.classes, found.problem.documents) == (135, 2, 1)
    assert found.counts == dict(zip(("train", "validation", "test"), counts, strict=True))
    assert registry.class_names(config()) == ("negative", "positive")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"length": 1}, "length=1: must be a whole number of at least 2"),
        ({"length": 4096.0}, r"length=4096\.0: must be a whole number"),
        ({"length": True}, "length=True: must be a whole number"),
        ({"protocol": "s4torch"}, "protocol='s4torch': must be one of default, official, s5, annotated"),
        ({"protocol": "s5", "length": 2048}, "length=2048: contradicts protocol=s5, which has 4096"),
        ({"protocol": "annotated", "length": 4096}, "length=4096: contradicts protocol=annotated, which has 2048"),
        ({"protocol": "official"}, "validation_fraction=0.25: has no effect under protocol=official"),
    ],
)
def test_senseless_settings_of_imdb_are_refused(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^dataset\.{message}"):
        registry.describe(config(**changes))


def test_reviews_become_tokens_in_one_order_on_every_machine(tmp_path: Path, small: None) -> None:
    data = registry.load(config(protocol="official", validation_fraction=0.1), lay(tmp_path, folders_of()), seed=0)
    for part in ("train", "test"):
        texts = [text for kind in ("neg", "pos") for text in folders_of()[f"{part}/{kind}"]]
        # digits, of which none comes 15 times, are unknown
        assert shown(data, part) == [f"{text[:-1]}�■" for text in texts]
        np.testing.assert_array_equal(getattr(data, part).targets, [0] * REVIEWS + [1] * REVIEWS)
    np.testing.assert_array_equal(data.validation.inputs, data.test.inputs)
    np.testing.assert_array_equal(data.validation.targets, data.test.targets)
    first = np.asarray(data.train.inputs)[0]
    numbers = [imdb_files.ALPHABET.index(character) + 3 for character in f"{LETTERS}neg train "]
    assert first.tolist() == [*numbers, UNKNOWN, END] + [0] * 4
    assert first.dtype == np.int32


def test_characters_are_known_that_come_fifteen_times_in_the_train_part_as_it_is_cut(
    tmp_path: Path, small: None
) -> None:
    folders = folders_of()
    folders["train/neg"][0] = "x" * 15 + "y" * 14
    folders["train/pos"][1] = "e" * 39 + "z" * 99  # the z all lie behind the cut at 39
    folders["test/pos"][1] = "xyz" + "w" * 50  # test is not counted
    data = registry.load(config(), lay(tmp_path, folders), seed=0)
    texts = shown(data, "train") + shown(data, "validation")
    assert "x" * 15 + "�" * 14 + "■" in texts
    assert "e" * 39 + "■" in texts
    assert shown(data, "test")[REVIEWS + 1] == "x" + "�" * 38 + "■"
    longer = registry.load(config(length=200), tmp_path, seed=0)
    assert "e" * 39 + "z" * 99 + "■" in shown(longer, "train") + shown(longer, "validation")


def test_a_length_past_the_arenas_counts_no_further_characters(tmp_path: Path, small: None) -> None:
    folders = folders_of()
    folders["train/neg"][0] = "e" * 4095 + "z" * 99
    data = registry.load(config(length=5000), lay(tmp_path, folders), seed=0)
    assert "e" * 4095 + "�" * 99 + "■" in shown(data, "train") + shown(data, "validation")


def test_validation_is_cut_with_the_seed_from_arrays_that_are_prepared_once(tmp_path: Path, small: None) -> None:
    folders = folders_of(f"{LETTERS}0123 0123 ")  # digits that are known, so that each review can be told
    settings = config(length=60)
    described = registry.prepare(settings, lay(tmp_path, folders))
    first, again, other = (registry.load(settings, tmp_path, seed) for seed in (3, 3, 4))
    assert described.counts == first.description.counts == {"train": 6, "validation": 2, "test": 8}
    assert shown(first, "validation") == shown(again, "validation")
    assert shown(first, "validation") != shown(other, "validation")
    train = folders["train/neg"] + folders["train/pos"]
    assert sorted(shown(first, "train") + shown(first, "validation")) == sorted(f"{text}■" for text in train)
    registry.load(config(length=60, protocol="official", validation_fraction=0.1), tmp_path, seed=0)
    assert len(cached(tmp_path)) == 1
    registry.load(config(), tmp_path, seed=0)
    assert len(cached(tmp_path)) == 2
    assert isinstance(first.train.inputs, Stored)
    assert isinstance(first.train.inputs.array, np.memmap)
    shutil.rmtree(tmp_path / "aclImdb")  # what was prepared stays in use without its source
    assert shown(registry.load(settings, tmp_path, seed=3), "validation") == shown(first, "validation")


def spoil(root: Path, damage: str) -> None:
    victim = root / "train" / "pos" / "2_7.txt"
    if damage == "not UTF-8":
        victim.write_bytes(b"caf\xe9 noir")
    elif damage == "empty review":
        victim.write_bytes(b" \n")
    elif damage == "half folder":
        victim.unlink()
    elif damage == "another text":
        victim.rename(victim.with_name("README.txt"))
    elif damage == "empty folder":
        shutil.rmtree(victim.parent)
        victim.parent.mkdir()
    elif damage == "missing folder":
        shutil.rmtree(victim.parent)
    elif damage == "foreign characters":
        victim.write_bytes(("Ж" * 15 + "Ц" * 20).encode())
    elif damage == "unreadable review":
        victim.unlink()
        victim.mkdir()
    elif damage == "unreadable folder":
        shutil.rmtree(victim.parent)
        victim.parent.write_text("")


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            "not UTF-8",
            r"train/pos/2_7\.txt: byte 3 \(0xe9\) is not UTF-8 .*; put the file of aclImdb_v1\.tar\.gz there",
        ),
        ("empty review", r"train/pos/2_7\.txt: the review is empty; put the file"),
        ("half folder", r"train/pos: 3 reviews \(\*\.txt\) are there; the published data has 4\. Unpack aclImdb_v1"),
        ("another text", r"train/pos/README\.txt: a review's name is <number>_<rating>\.txt; remove"),
        ("empty folder", r"train/pos: 0 reviews \(\*\.txt\) are there"),
        ("missing folder", r"aclImdb: train/pos is not in it; unpack aclImdb_v1\.tar\.gz"),
        ("foreign characters", r"U\+0416 'Ж' is seen 15 times in the train part \(so are 1 others\)"),
        ("unreadable review", r"train/pos/2_7\.txt: cannot be read"),
        ("unreadable folder", r"train/pos: cannot be read .*; make it a folder"),
    ],
)
def test_damaged_reviews_are_named_and_leave_nothing_in_the_cache(
    tmp_path: Path, small: None, damage: str, message: str
) -> None:
    lay(tmp_path, folders_of())
    spoil(tmp_path / "aclImdb", damage)
    for call in (registry.prepare, lambda settings, where: registry.load(settings, where, seed=0)):
        with pytest.raises(DataError, match=message):
            call(config(), tmp_path)
    assert cached(tmp_path) == []
    shutil.rmtree(tmp_path / "aclImdb")
    registry.prepare(config(), lay(tmp_path, folders_of()))
    assert len(cached(tmp_path)) == 1


def packed(folders: Mapping[str, list[str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for folder, texts in folders.items():
            for number, text in enumerate(texts):
                member = tarfile.TarInfo(f"aclImdb/{folder}/{number}_7.txt")
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize("damage", ["none", "truncated", "flipped byte", "another file"])
def test_the_archive_is_used_if_it_is_the_published_one(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    raw = packed(folders_of())
    checksum = f"md5:{hashlib.md5(raw).hexdigest()}"
    monkeypatch.setattr(imdb_files, "ARCHIVE", replace(imdb_files.ARCHIVE, checksum=checksum))
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 1
    given = {"truncated": raw[:-100], "flipped byte": bytes(flipped), "another file": b"<html>moved</html>"}
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(given.get(damage, raw))
    if damage == "none":
        assert len(shown(registry.load(config(), tmp_path, seed=0), "test")) == 2 * REVIEWS
    else:
        with pytest.raises(DataError, match=r"aclImdb_v1\.tar\.gz: its MD5 is .*the published file has .*[Dd]elete it"):
            registry.prepare(config(), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["aclImdb_v1.tar.gz"]


def test_without_network_the_error_says_where_reviews_come_from_and_go(tmp_path: Path, small: None) -> None:
    with pytest.raises(DataError) as raised:
        registry.prepare(config(), tmp_path)
    assert "http://127.0.0.1:9/reviews/aclImdb_v1.tar.gz: ConnectionRefusedError" in str(raised.value)
    assert f"unpack it there (as {tmp_path / 'aclImdb'})" in str(raised.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
