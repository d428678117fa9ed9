"""Sound files that are damaged or missing: refused by name and with the fix, and the cache holds nothing of them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sound_files import COUNTS, TEN, cut, emptied, made_speech, refused, with_words, write_wav

from datasets import DataError, registry
from datasets.files import speech_commands, wav


@pytest.fixture
def one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one word, which takes the place of the ten; tests may damage it."""
    with_words(monkeypatch, ("yes",))
    made_speech(tmp_path / "speech_commands_v0.02", ("yes",))
    return tmp_path / "speech_commands_v0.02"


# --- .wav files


FORM = wav.Form(16_000, 16_000, shorter=True, fix="mend it")


@pytest.mark.parametrize("count", [1, 15_999, 16_000])
def test_wav_gives_its_samples(tmp_path: Path, count: int) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, count).astype(np.int16)
    write_wav(tmp_path / "clip.wav", samples)
    raw = (tmp_path / "clip.wav").read_bytes()
    np.testing.assert_array_equal(wav.parse(raw, tmp_path / "clip.wav", FORM), samples)


def test_wav_with_more_than_sound_is_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "clip.wav", np.arange(10, dtype=np.int16))
    raw = (tmp_path / "clip.wav").read_bytes()
    tagged = raw[:12] + b"LIST\x04\x00\x00\x00INFO" + raw[12:] + b"junk\x02\x00\x00\x00ab"
    tagged = tagged[:4] + (len(tagged) - 8).to_bytes(4, "little") + tagged[8:]
    np.testing.assert_array_equal(wav.parse(tagged, Path("clip.wav"), FORM), np.arange(10))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flipped_header(path: Path) -> None:
    """The second byte of the size of the part that says the form."""
    raw = bytearray(path.read_bytes())
    raw[17] ^= 0x80
    path.write_bytes(raw)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "rate": (lambda path: write_wav(path, np.ones(8_000, np.int16), rate=8_000), "its rate is 8000 .* expected 16000"),
    "stereo": (lambda path: write_wav(path, np.ones(16_000, np.int16), channels=2), "it has 2 channels; expected one"),
    "8 bits": (lambda path: write_wav(path, np.ones(16_000, np.uint8), width=1), "have 8 bits; expected 16"),
    "long": (lambda path: write_wav(path, np.ones(16_001, np.int16)), "it has 16001 samples; expected from 1 to 16000"),
    "no sample": (lambda path: write_wav(path, np.ones(0, np.int16)), "it has 0 samples; expected from 1 to 16000"),
    "cut": (lambda path: cut(path, 20_000), "cut off: its header says 16000 samples, and 9978 are there"),
    "cut by a byte": (lambda path: cut(path, 32_043), "cut off: its header says 16000 samples, and 15999 are there"),
    "cut header": (lambda path: cut(path, 30), r"is no whole \.wav file"),
    "flipped header": (flipped_header, r"is no whole \.wav file"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text": (lambda path: path.write_text("<html>moved</html>" * 9), r"is no whole \.wav file"),
    "float": (
        lambda path: path.write_bytes(path.read_bytes()[:20] + b"\3\0" + path.read_bytes()[22:]),
        "unknown format",
    ),
    "folder": (folder_instead, "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_clip_is_refused_by_name(one_word: Path, damage: str) -> None:
    victim = one_word / "yes" / "00000007_nohash_0.wav"
    spoil, message = DAMAGES[damage]
    spoil(victim)
    refused(TEN, one_word.parent, rf"00000007_nohash_0\.wav: .*{message}.*put the file of .*\.tar\.gz there")


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_text(change((folder / name).read_text()))

    return spoil


def drop_clips(folder: Path) -> None:
    for path in (folder / "yes").iterdir():
        path.rename(path.with_suffix(".mp3"))


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "list names a missing file": (
        lambda folder: (folder / "yes" / "00000001_nohash_0.wav").unlink(),
        r"testing_list\.txt: line 1 names yes/00000001_nohash_0\.wav, and .* is not there; unpack",
    ),
    "list absent": (
        lambda folder: (folder / "testing_list.txt").unlink(),
        r"testing_list\.txt: the list is not there; put",
    ),
    "list of something else": (
        edit("testing_list.txt", lambda text: text + "<html>\n"),
        r"testing_list\.txt: line 3 is '<html>'; expected <word>/<clip>\.wav; put",
    ),
    "list of no text": (
        lambda folder: (folder / "testing_list.txt").write_bytes(b"\xff\xfe\x00"),
        r"testing_list\.txt: cannot be read as a list .*; put",
    ),
    "clip in both lists": (
        edit("testing_list.txt", lambda text: text + "yes/00000000_nohash_0.wav\n"),
        r"testing_list\.txt: line 3 names yes/00000000_nohash_0\.wav, which is in the other list too; put",
    ),
    "clip twice in a list": (
        edit("testing_list.txt", lambda text: text + "yes/00000001_nohash_0.wav\n"),
        r"testing_list\.txt: line 3 names yes/00000001_nohash_0\.wav, as a line before it does; put",
    ),
    "list names no clip": (
        edit("testing_list.txt", lambda text: text + "bed/readme\n"),
        r"testing_list\.txt: line 3 is 'bed/readme'; expected <word>/<clip>\.wav; put",
    ),
    "list empty": (
        edit("validation_list.txt", lambda text: ""),
        r"no clip of yes is left for validation_list\.txt; put",
    ),
    "word absent": (lambda folder: shutil.rmtree(folder / "yes"), "yes: the word's folder is not there; unpack"),
    "word without clips": (drop_clips, r"yes: the folder holds no \.wav clip; unpack"),
    "folder empty": (
        emptied,
        r"speech_commands_v0\.02: neither the lists nor a word is in it; unpack .*, or remove the folder",
    ),
}


@pytest.mark.parametrize("damage", FOLDERS)
def test_incomplete_folder_is_refused_with_the_fix(one_word: Path, damage: str) -> None:
    spoil, message = FOLDERS[damage]
    spoil(one_word)
    refused(TEN, one_word.parent, message)


@pytest.mark.parametrize("call, where", [("listdir", "speech_commands_v0.02/yes"), ("walk", "speech_commands_v0.02")])
def test_folder_that_cannot_be_read_is_refused_as_such(
    one_word: Path, monkeypatch: pytest.MonkeyPatch, call: str, where: str
) -> None:
    """The system's answer is put in, as an administrator who runs the tests may read everything."""
    real = getattr(os, call)

    def denied(path: Path, *rest: Any) -> Any:
        if path == one_word / "yes":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, call, denied)
    message = refused(
        TEN, one_word.parent, r"cannot be read \(.*Permission denied.*make its folders and files readable"
    )
    assert message.startswith(f"{one_word.parent / where}: ")


def test_too_few_clips_for_the_official_cut_are_refused(one_word: Path) -> None:
    for path in sorted((one_word / "yes").iterdir())[4:]:
        path.unlink()
    assert registry.prepare(TEN, one_word.parent).counts == {"train": 1, "validation": 1, "test": 2}
    (one_word / "yes" / "00000003_nohash_0.wav").unlink()
    write_wav(one_word / "yes" / "00000003_nohash_0.wav", np.ones(7, np.int16))
    (one_word / "yes" / "00000002_nohash_0.wav").unlink()
    edit("testing_list.txt", lambda text: text.splitlines()[0])(one_word)
    with pytest.raises(DataError, match=r"2 clips of a full second cannot be cut .*dataset\.protocol=default"):
        registry.prepare({**TEN, "protocol": "official"}, one_word.parent)


# --- the archive


@pytest.fixture
def archive(one_word: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The word's folder as the published archive packs it, at hand in data_dir, its checksum the published one."""
    packed = one_word.parent / "speech_commands_v0.02.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(one_word, arcname=".")
    shutil.rmtree(one_word)
    checksum = f"sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}"
    dead = ("http://127.0.0.1:9/first/", "http://127.0.0.1:9/second/")
    known = dataclasses.replace(speech_commands.ARCHIVE, checksum=checksum, urls=dead)
    monkeypatch.setattr(speech_commands, "ARCHIVE", known)
    return packed


def test_archive_at_hand_is_unpacked(archive: Path) -> None:
    assert registry.prepare(TEN, archive.parent).counts == COUNTS
    assert (archive.parent / "speech_commands_v0.02" / "validation_list.txt").is_file()


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_damaged_archive_is_refused(archive: Path, damage: str) -> None:
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes({"cut": raw[: len(raw) // 2], "flip": bytes(raw), "other": b"<html>moved</html>"}[damage])
    message = refused(TEN, archive.parent, "its SHA256 is [0-9a-f]{64}; .*Delete it, and it is fetched anew")
    assert message.startswith(str(archive))
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def test_without_network_the_error_says_what_was_tried(archive: Path) -> None:
    archive.unlink()
    message = refused(TEN, archive.parent, f"Put {archive.name} into {archive.parent} by hand")
    for place in ("first", "second"):
        assert f"http://127.0.0.1:9/{place}/{archive.name}: ConnectionRefusedError" in message


def test_archive_is_fetched_past_an_address_that_gives_something_else(
    archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, served: tuple[Path, str]
) -> None:
    folder, address = served
    (folder / "bad").mkdir()
    (folder / "bad" / archive.name).write_bytes(archive.read_bytes()[:-1])
    (folder / "good").mkdir()
    archive.rename(folder / "good" / archive.name)
    urls = (f"{address}/bad/", f"{address}/good/")
    monkeypatch.setattr(speech_commands, "ARCHIVE", dataclasses.replace(speech_commands.ARCHIVE, urls=urls))
    assert registry.prepare(TEN, tmp_path / "data").counts == COUNTS
