"""Retrieval: pairs of documents from small files in the published format.

Not covered: the published files, which are not at hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import registry, retrieval
from datasets.data import DataError
from datasets.store.stored import Stored
from settings.problem import Problem

END = 2


def cached(data_dir: Path) -> list[str]:
    """What lies in the cache but the locks."""
    return [path.name for path in (data_dir / "prepared").glob("*") if path.suffix != ".lock"]


def config(**changes: Any) -> dict[str, Any]:
    return {"name": "retrieval", "protocol": "default", "length": None, **changes}


PAIRS = {
    "train": [("1.0", "b'Parsing \\xc3\\xa9.\\n'", 'b"It\'s a b\\tc"'), ("0.0", "b'~ |'", "b''")] * 2,
    "eval": [("0", "b'one'", "b'two'"), ("1", "b'three'", "b'four'")],
    "test": [("1.0", "plain text", '"quoted" text'), ("0.0", "b'x'", "b'y'"), ("0.0", "b'x'", "b'z'")],
}


def line(label: str, first: str, second: str) -> bytes:
    return f"{label}\tP00-1000\tW01-2000\t{first}\t{second}\n".encode()


def lay_pairs(data_dir: Path, folder: str = "aan", ending: bytes = b"\n", **changes: bytes) -> Path:
    """The three TSV files, of which `changes` replace some: eval=b"..."."""
    where = data_dir / folder
    where.mkdir(parents=True, exist_ok=True)
    for name, pairs in PAIRS.items():
        whole = b"".join(line(*pair) for pair in pairs).replace(b"\n", ending)
        (where / f"new_aan_pairs.{name}.tsv").write_bytes(changes.get(name, whole))
    return data_dir


def test_retrieval_is_described_without_its_files() -> None:
    found = registry.describe(config())
    assert found.problem == Problem(4000, 2, vocabulary=98, padding=0, documents=2)
    assert (found.selects_on_test, found.counts) == (False, None)
    assert registry.describe(config(length=17, protocol="official")).problem.length == 17
    assert registry.class_names(config()) == ("not linked", "linked")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"length": 1}, "length=1: must be a whole number of at least 2"),
        ({"protocol": "annotated"}, "protocol='annotated': must be one of default, official, s5"),
        ({"protocol": "s5", "length": 1000}, "length=1000: contradicts protocol=s5, which has 4000"),
        (
            {"validation_fraction": 0.1},
            "validation_fraction=0.1: is not a setting of dataset=retrieval, which has length, protocol",
        ),
    ],
)
def test_senseless_settings_of_retrieval_are_refused(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^dataset\.{message}"):
        registry.describe(config(**changes))


@pytest.mark.parametrize("protocol", ["default", "official", "s5"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\n\n"])
def test_pairs_become_two_documents_each(tmp_path: Path, protocol: str, ending: bytes) -> None:
    lay_pairs(tmp_path, ending=ending)
    settings = config(protocol=protocol)
    described = registry.prepare(settings, tmp_path)
    data = registry.load(settings, tmp_path, seed=0)
    assert described == data.description
    assert described.counts == {"train": 4, "validation": 2, "test": 3}
    np.testing.assert_array_equal(data.train.targets, [1, 0, 1, 0])
    np.testing.assert_array_equal(data.validation.targets, [0, 1])
    np.testing.assert_array_equal(data.test.targets, [1, 0, 0])
    for split, pairs in ((data.train, PAIRS["train"]), (data.validation, PAIRS["eval"]), (data.test, PAIRS["test"])):
        assert isinstance(split.inputs, Stored)
        assert isinstance(split.inputs.array, np.memmap)
        assert [retrieval.text_of(settings, row) for row in split.inputs[:]] == [
            f"{first}■\n{second}■" for _, first, second in pairs
        ]
    tokens = data.train.inputs[1]
    assert tokens.shape == (2, 4000)
    # printable ASCII is numbered from 3, the space: 'b' is 3 + 0x62 - 0x20
    assert tokens[0, :8].tolist() == [69, 10, 97, 3, 95, 10, END, 0]
    assert tokens[1, :5].tolist() == [69, 10, 10, END, 0]


def test_a_long_document_is_cut_and_keeps_its_end(tmp_path: Path) -> None:
    # what lies behind the cut is not looked at: the vocabulary has no number for it
    lay_pairs(tmp_path, train=line("1.0", "b'0123456789é'", "b'01234'") + line("0", "b'01234567", "b'0"))
    data = registry.load(config(length=11), tmp_path, seed=0)
    shown = [retrieval.text_of(config(), row) for row in data.train.inputs[:]]
    assert shown == ["b'01234567■\nb'01234'■", "b'01234567■\nb'0■"]


def test_a_foreign_character_is_refused_in_train_and_unknown_elsewhere(tmp_path: Path) -> None:
    lay_pairs(tmp_path, eval=line("0.0", "naïve", "b'x'"))
    data = registry.load(config(), tmp_path, seed=0)
    assert retrieval.text_of(config(), data.validation.inputs[0]) == "na�ve■\nb'x'■"
    lay_pairs(tmp_path, train=line("0.0", "b'x'", "b'x'") + line("1.0", "b'x'", "naïve"))
    with pytest.raises(DataError, match=r"new_aan_pairs\.train\.tsv: line 2: U\+00EF 'ï' is no character of"):
        registry.prepare(config(), tmp_path)


@pytest.mark.parametrize("folder", [".", "aan", "retrieval", "tsv_data", "lra_release/lra_release/tsv_data"])
def test_pairs_are_found_in_each_place(tmp_path: Path, folder: str) -> None:
    found = registry.prepare(config(), lay_pairs(tmp_path, folder))
    assert found.counts == {"train": 4, "validation": 2, "test": 3}


def test_what_was_prepared_stays_in_use_without_its_files(tmp_path: Path) -> None:
    registry.prepare(config(), lay_pairs(tmp_path))
    assert len(cached(tmp_path)) == 1
    shutil.rmtree(tmp_path / "aan")
    assert len(registry.load(config(), tmp_path, seed=0).train.targets) == 4


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"1.0\tP\tW\tb'only one text'\n",
            "line 2 has 4 columns; expected 5, with tabs between: label, id1, id2, text1",
        ),
        (b"1.0\tP\tW\tb'a'\tb'b'\tb'c'\n", "line 2 has 6 columns; expected 5"),
        (line("2.0", "b'a'", "b'b'"), r"line 2: the label is '2\.0'; expected 0\.0 or 1\.0"),
        (line("label", "text1", "text2"), "line 2: the label is 'label'"),
        (line("1.0", "", "b'b'"), "line 2: text1 is empty"),
        (line("1.0", "b'a'", " "), "line 2: text2 is empty"),
        (b"1.0\tP\tW\tb'a'\tb'caf\xe9'\n", r"line 2, text2: byte 5 \(0xe9\) is not UTF-8"),
        (b"1.0\tP\tW\tb'a'\tb'the file ends he", "line 2: the file ends within text2"),
        (b"1.0\tP\tW\tb'a'\tb'", "line 2: the file ends within text2"),
        (b"1.0\tP\tW\tb'the fi", "line 2 has 4 columns"),
    ],
)
@pytest.mark.parametrize("part", ["train", "eval", "test"])
def test_damaged_pairs_are_named_and_leave_nothing_in_the_cache(
    tmp_path: Path, part: str, content: bytes, message: str
) -> None:
    lay_pairs(tmp_path, **{part: line("0.0", "b'a'", "b'b'") + content})
    with pytest.raises(DataError, match=rf"new_aan_pairs\.{part}\.tsv: {message}.*put new_aan_pairs"):
        registry.prepare(config(), tmp_path)
    assert cached(tmp_path) == []


def test_a_last_line_without_its_line_break_is_whole(tmp_path: Path) -> None:
    lay_pairs(tmp_path, test=line("1.0", "b'a'", 'b"b"').rstrip(b"\n"))
    assert len(registry.load(config(), tmp_path, seed=0).test.targets) == 1


def test_empty_or_missing_files_of_pairs_are_named(tmp_path: Path) -> None:
    lay_pairs(tmp_path, eval=b"\n")
    with pytest.raises(DataError, match=r"new_aan_pairs\.eval\.tsv: holds no pair of documents"):
        registry.prepare(config(), tmp_path)
    (tmp_path / "aan" / "new_aan_pairs.eval.tsv").unlink()
    with pytest.raises(DataError, match=r"new_aan_pairs\.eval\.tsv: is missing, while others of the three are there"):
        registry.prepare(config(), tmp_path)
    for path in (tmp_path / "aan").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"aan: .* not found in it; put new_aan_pairs"):
        registry.prepare(config(), tmp_path)
    (tmp_path / "aan").rmdir()
    with pytest.raises(DataError, match=r"are not in data_dir=.*one archive of 7\.7 GB.*long-range-arena.* into .*aan"):
        registry.prepare(config(), tmp_path)
    assert cached(tmp_path) == []
