"""Texts as tokens, a character each, and imdb on the real reviews."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import registry
from datasets.files import characters
from datasets.files import imdb as imdb_files
from datasets.files import retrieval as retrieval_files

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "aclImdb.tar.xz"
REVIEWS = 4  # of each folder, where not all are read


def test_a_text_is_written_with_its_end_and_read_back() -> None:
    table = characters.token_table("ab ", left_out="b")
    for text, length, tokens, shown in [
        ("a b", 6, [3, 5, 1, 2, 0, 0], "a �■"),
        ("a ac", 5, [3, 5, 3, 1, 2], "a a�■"),  # it fits exactly
        ("a aca", 5, [3, 5, 3, 1, 2], "a a�■"),  # it is cut, and its end token stays
        ("\U0001f600a", 3, [1, 3, 2], "�a■"),  # a character is one token, however many bytes it has
    ]:
        row = np.zeros(length, np.uint8)
        characters.write(text, table, row)
        assert row.tolist() == tokens
        assert characters.read(row, "ab ") == shown


@pytest.mark.parametrize("module, size", [(imdb_files, 131), (retrieval_files, 95)])
def test_alphabets_have_their_size_and_each_character_once(module: Any, size: int) -> None:
    assert len(module.ALPHABET) == len(set(module.ALPHABET)) == size


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[bytes]]]:
    """aclImdb with the first reviews of each folder, and all reviews of the train part."""
    if not REAL.exists():
        pytest.skip("the real reviews are not beside the project, in ../shared/data/aclImdb.tar.xz")
    data_dir = tmp_path_factory.mktemp("reviews")
    found: dict[str, list[bytes]] = {}
    with tarfile.open(REAL, "r|xz") as tar:
        for member in tar:
            path = Path(member.name)
            folder = "/".join(path.parts[-3:-1])
            if path.suffix != ".txt" or path.parent.name not in ("neg", "pos"):
                continue
            stream = tar.extractfile(member)
            assert stream is not None
            texts = found.setdefault(folder, [])
            texts.append(stream.read())
            if len(texts) <= REVIEWS:
                where = data_dir / "aclImdb" / folder
                where.mkdir(parents=True, exist_ok=True)
                (where / path.name).write_bytes(texts[-1])
    return data_dir, found


def test_the_real_reviews_are_all_there_and_have_this_alphabet(real: tuple[Path, dict[str, list[bytes]]]) -> None:
    _, found = real
    assert {folder: len(texts) for folder, texts in found.items()} == dict.fromkeys(
        ("train/neg", "train/pos", "test/neg", "test/pos"), 12_500
    )
    train = [text.decode() for folder in ("train/neg", "train/pos") for text in found[folder]]
    for length, size in ((4096, 131), (2048, 126)):
        counts = Counter[str]()
        for text in train:
            counts.update(text[: length - 1])
        seen = {character for character, count in counts.items() if count >= 15}
        assert len(seen) == size
        assert seen <= set(imdb_files.ALPHABET)


def test_real_reviews_can_be_read_back(
    real: tuple[Path, dict[str, list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, _ = real
    monkeypatch.setattr(imdb_files, "REVIEWS", REVIEWS)
    settings = {"name": "imdb", "protocol": "default", "length": 2048, "validation_fraction": 0.25}
    data = registry.load(settings, data_dir, seed=0)
    paths = [path for kind in ("neg", "pos") for path in sorted((data_dir / "aclImdb" / "test" / kind).iterdir())]
    for tokens, path in zip(np.asarray(data.test.inputs), paths, strict=True):
        text = registry.text_of(settings, tokens)
        source = path.read_text(encoding="utf-8")[:2047] + characters.END_SIGN
        assert len(text) == len(source)
        assert all(ours in ("�", theirs) for ours, theirs in zip(text, source, strict=True))
        assert text.count("�") < 0.2 * len(text)  # eight reviews to count in know few capitals and signs
