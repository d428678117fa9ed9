"""ListOps: its parts and tokens, the published files, damage, settings. The generator: test_listops_generator.py.

Not covered here: the published files themselves, which are in an archive of 7 GB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from listops_trees import parsed, value, with_parentheses, words

from datasets import DataError, listops, registry
from datasets.files import listops_values
from datasets.generators.listops import SYMBOLS, expressions
from settings.problem import Problem

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "name": "listops",
    "source": "generated",
    "protocol": "default",
    "generated_count": 60,
    "generated_seed": 0,
}


def test_generated_parts_are_padded_and_closed_by_the_end_token(tmp_path: Path) -> None:
    description = registry.prepare(SETTINGS, tmp_path)
    assert description.generated
    assert description.counts == registry.describe(SETTINGS).counts == {"train": 58, "validation": 1, "test": 1}
    dataset = registry.load(SETTINGS, tmp_path, seed=3)
    inputs = np.concatenate([part.inputs[:] for part in (dataset.train, dataset.validation, dataset.test)])
    targets = np.concatenate([part.targets for part in (dataset.train, dataset.validation, dataset.test)])
    for row, target, (tokens, expected) in zip(inputs, targets, expressions(60, 0), strict=True):
        np.testing.assert_array_equal(row[: len(tokens)], tokens)
        assert SYMBOLS[row[len(tokens)]] == "<eos>"
        assert not row[len(tokens) + 1 :].any()
        assert target == expected


def test_configuration_is_the_published_size() -> None:
    settings = yaml.safe_load((ROOT / "conf" / "dataset" / "listops.yaml").read_text())
    described = registry.describe({**settings, "source": "generated"})
    assert described.counts == {"train": 96_000, "validation": 2_000, "test": 2_000}
    assert described.problem == Problem(2048, 10, vocabulary=18, padding=0)
    assert registry.describe(settings).counts is None  # only the files know


def published(folder: Path, count: int = 6) -> list[tuple[np.ndarray, int]]:
    """Small files in the published format; the rows of the three in order."""
    rows = list(expressions(3 * count, seed=5))
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(listops.FILES.values()):
        own = rows[index * count : (index + 1) * count]
        lines = [f"{with_parentheses(parsed(words(tokens)))}\t{target}\r\n" for tokens, target in own]
        (folder / name).write_bytes(("Source\tTarget\r\n" + "".join(lines)).encode())
    return rows


@pytest.mark.parametrize("folder", ["lra_release/lra_release/listops-1000", "listops-1000", "listops", "."])
def test_published_files_are_found_and_preferred(tmp_path: Path, folder: str) -> None:
    rows = published(tmp_path / folder)
    settings = {**SETTINGS, "source": "auto"}
    description = registry.prepare(settings, tmp_path)
    assert not description.generated
    assert description.counts == {"train": 6, "validation": 6, "test": 6}
    dataset = registry.load(settings, tmp_path, seed=0)
    for index, part in enumerate((dataset.train, dataset.validation, dataset.test)):
        for row, target, (tokens, expected) in zip(part.inputs[:], part.targets, rows[6 * index :], strict=False):
            np.testing.assert_array_equal(row[: len(tokens) + 1], [*tokens, SYMBOLS.index("<eos>")])
            assert target == expected
    assert registry.prepare({**settings, "source": "generated"}, tmp_path).generated


def test_auto_generates_where_nothing_is_published(tmp_path: Path) -> None:
    settings = {**SETTINGS, "source": "auto"}
    assert registry.prepare(settings, tmp_path).generated
    published(tmp_path)
    assert not registry.prepare(settings, tmp_path).generated


def test_prepared_arrays_outlive_their_files(tmp_path: Path) -> None:
    published(tmp_path / "listops")
    settings = {**SETTINGS, "source": "auto"}
    registry.prepare(settings, tmp_path)
    for name in listops.FILES.values():
        (tmp_path / "listops" / name).unlink()
    (tmp_path / "listops").rmdir()
    assert not registry.load(settings, tmp_path, 0).description.generated


def test_annotated_chooses_on_the_test_part(tmp_path: Path) -> None:
    published(tmp_path)
    settings = {**SETTINGS, "source": "published", "protocol": "annotated"}
    dataset = registry.load(settings, tmp_path, seed=0)
    assert dataset.description.selects_on_test
    np.testing.assert_array_equal(dataset.validation.inputs[:], dataset.test.inputs[:])
    plain = registry.load({**settings, "protocol": "official"}, tmp_path, seed=0)
    assert (dataset.description.problem.padding, plain.description.problem.padding) == (None, 0)
    np.testing.assert_array_equal(plain.test.inputs[:], dataset.test.inputs[:])
    assert not np.array_equal(plain.validation.inputs[:], plain.test.inputs[:])


def test_too_long_an_expression_is_cut_and_keeps_its_end(tmp_path: Path) -> None:
    published(tmp_path)
    long = "( [SM " + "1 " * 3000 + "] )"
    (tmp_path / "basic_test.tsv").write_text(f"Source\tTarget\n{long}\t0\n")
    tokens = registry.load({**SETTINGS, "source": "published"}, tmp_path, 0).test.inputs[0]
    assert words(tokens[[0, 1, 2046, 2047]]) == ["[SM", "1", "1", "<eos>"]


def test_text_is_the_inverse_of_the_tokens() -> None:
    source = "[MAX 3 [MED 0 9 ] 7 ]"
    tokens = np.array([SYMBOLS.index(word) for word in [*source.split(), "<eos>"]], np.int32)
    assert registry.text_of(SETTINGS, np.concatenate([tokens, np.zeros(5, np.int32)])) == f"{source} <eos>"
    assert registry.class_names(SETTINGS) == tuple("0123456789")


# --- damage


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"line 1 has no column 'Source'"),
        ("Source\n[MAX 1 2 ]\n", r"line 1 has no column 'Target'"),
        ("Source\tTarget\n", r"holds no expression"),
        ("Source\tTarget\n[MAX 1 2 ]\t2\n[MAX 1 2 ]\n", r"line 3 has 1 columns"),
        ("Source\tTarget\n[MAX 1 2 ]\t10\n", r"line 2: the target is '10'; expected a digit from 0 to 9"),
        ("Source\tTarget\n[MAX 1 2 ]\t-1\n", r"line 2: the target is '-1'"),
        ("Source\tTarget\n[MAX 1 2 ]\t\n", r"line 2: the target is ''"),
        ("Source\tTarget\n[MAX 1 [AVG 2 3 ] ]\t2\n", r"line 2: '\[AVG' is no symbol"),
        ("Source\tTarget\n[MAX 1 \ufffd ]\t2\n", r"line 2: '\ufffd' is no symbol"),
        ("Source\tTarget\n[MAX 1 [MIN 2 3 ]\t2\n", r"line 2: 2 brackets are opened and 1 closed"),
        ("Source\tTarget\n\t2\n", r"line 2: 0 brackets"),
        ("Source\tTarget\n[MAX 1 2 ]\t2\t\n", r"line 2 has 3 columns, line 1 2"),
        ("Source\tTarget\n[MAX 1 2 ]\t02\n", r"line 2: the target is '02'"),
        ("Source\tTarget\n[MAX 1 2 ]\t 2\n", r"line 2: the target is ' 2'"),
        ("Source\tTarget\n[MAX 1 2 ]\t1\n", r"line 2: the target is 1, but the expression's value is 2"),
        ("Source\tTarget\n[SM 5 [MED 1 9 4 2 ] ]\t9\n", r"line 2: the target is 9, but the expression's value is 8"),
        ("Source\tTarget\n] [MAX 1 2\t2\n", r"line 2: '\] \[MAX 1 2' \.\.\. is no single expression: its brackets"),
        ("Source\tTarget\n[MAX 1 2 ] 3\t2\n", r"line 2: .* is no single expression"),
        ("Source\tTarget\n[MAX 1 2 ] [MAX 1 2 ]\t2\n", r"line 2: .* is no single expression"),
        ("Source\tTarget\n3 4\t4\n", r"line 2: .* is no single expression"),
        ("Source\tTarget\n[MAX ]\t0\n", r"line 2: .* or an operator has fewer than 2 arguments"),
        ("Source\tTarget\n[SM 3 [MIN 4 ] ]\t7\n", r"line 2: .* or an operator has fewer than 2 arguments"),
        ("Source\tTarget\n( [MAX 1 2 ]\t2\n", r"line 2: its parentheses do not come in pairs"),
        ("Source\tTarget\n) [MAX 1 2 ] (\t2\n", r"line 2: its parentheses do not come in pairs"),
        ("Source\tTarget\n[MAX 1 2 <eos> ]\t2\n", r"line 2: '<eos>' is no symbol"),
    ],
)
def test_damaged_files_are_refused_with_line_and_fix(tmp_path: Path, text: str, message: str) -> None:
    published(tmp_path)
    (tmp_path / "basic_val.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"basic_val\.tsv: {message}.*lra_release"):
        registry.prepare({**SETTINGS, "source": "auto"}, tmp_path)
    assert nothing_prepared(tmp_path)


def test_values_are_those_of_another_evaluator() -> None:
    for tokens, expected in expressions(60, seed=9):
        assert listops_values.value(tokens.tobytes()) == value(parsed(words(tokens))) == expected
    assert listops_values.value(bytes([SYMBOLS.index("7")])) == 7
    assert listops_values.value(b"") is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "basic_test.tsv").unlink()
    with pytest.raises(DataError, match=r"basic_test\.tsv: cannot be read"):
        registry.prepare({**SETTINGS, "source": "auto"}, tmp_path)
    assert nothing_prepared(tmp_path)


def test_empty_folder_is_not_taken_for_no_folder(tmp_path: Path) -> None:
    (tmp_path / "listops").mkdir()
    with pytest.raises(DataError, match=r"listops: basic_train\.tsv.* not found in it; .*remove the folder"):
        registry.prepare({**SETTINGS, "source": "auto"}, tmp_path)


def test_published_without_files_says_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not in data_dir=.*lra_release\.gz.*source=auto"):
        registry.prepare({**SETTINGS, "source": "published"}, tmp_path)
    assert nothing_prepared(tmp_path)


def nothing_prepared(data_dir: Path) -> bool:
    return [path for path in (data_dir / "prepared").iterdir() if path.suffix != ".lock"] == []


# --- settings


@pytest.mark.parametrize(
    "change, message",
    [
        ({"source": "web"}, r"source='web': must be one of auto, published, generated"),
        ({"protocol": "s4torch"}, r"protocol='s4torch': must be one of default, official, s5, annotated"),
        ({"generated_count": 49}, r"generated_count=49: must be a whole number of at least 50"),
        ({"generated_count": 1e5}, r"generated_count=100000\.0: must be a whole number"),
        ({"generated_seed": -1}, r"generated_seed=-1: must be a whole number of at least 0"),
        ({"generated_seed": True}, r"generated_seed=True: must be a whole number"),
        ({"length": 100}, r"length=100: is not a setting of dataset=listops"),
    ],
)
def test_senseless_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.describe({**SETTINGS, **change})
