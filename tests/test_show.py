"""bench.show: what it prints is what a run gets, its picture is of those numbers, and its refusals are one message.

Not covered: how a picture looks, which takes an eye.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import composed, joined
from matplotlib import image

from bench import show
from bench.views import facts, pictures
from datasets import registry
from datasets.batches import epoch_order
from datasets.data import Dataset, Description, Split
from datasets.store.stored import Stored
from settings.problem import Problem

LISTOPS = ["dataset=listops", "dataset.source=generated", "dataset.generated_count=200", "task.batch_size=8"]


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The printed lines by their names, wrapped ones joined."""
    text = re.sub(r"\n +", " ", capsys.readouterr().out)
    return {line[:12].strip(): line[13:] for line in text.splitlines()}


def test_digits_are_described_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "picture.png"
    assert show.main(["dataset=digits", f"out={out}"]) == 0
    lines = said(capsys)
    assert lines["sequence"] == "float32 (64, 1): steps x channels"
    assert lines["values"] == "0 to 1 in train"
    assert "the test part is used once" in lines["protocol"]
    assert lines["first batch"] == "inputs float32 (32, 64, 1), targets int32 (32,)"
    assert lines["picture"] == str(out)
    data = registry.load(composed("dataset=digits")["dataset"], tmp_path, seed=0)
    for part in ("train", "validation", "test"):
        total, counts = lines[part].split(": ")
        targets = getattr(data, part).targets
        assert int(total.replace(",", "")) == len(targets)
        assert counts == ", ".join(f"{label} {count}" for label, count in enumerate(np.bincount(targets)))
    pixels = image.imread(out)
    assert pixels.shape[0] > 1000
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].std() > 0.1


@pytest.mark.parametrize("words", [[], ["seed=5", "task.batch_size=7", "task.length=100"]])
def test_the_hash_is_that_of_the_first_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    config = composed(*words)
    data = registry.load(config["dataset"], tmp_path, config["seed"])
    rows = epoch_order(len(data.train.targets), config["task"]["batch_size"], config["seed"], epoch=0)[0]
    steps = np.arange(config["task"]["length"] or 64) % 64
    inputs, targets = data.train.inputs[rows][:, steps], data.train.targets[rows]
    expected = hashlib.sha256(inputs.astype("<f4").tobytes() + targets.astype("<i4").tobytes()).hexdigest()
    assert show.main([*words, f"out={tmp_path / 'x.png'}"]) == 0
    assert said(capsys)["sha256"].split()[0] == expected


def test_padded_tokens_are_counted_and_generated_data_is_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show.main([*LISTOPS, f"data_dir={tmp_path}", f"out={tmp_path / 'x.svg'}"]) == 0
    lines = said(capsys)
    config = composed(*LISTOPS)
    data = registry.load(config["dataset"], tmp_path, seed=0)
    lengths = np.count_nonzero(np.asarray(data.train.inputs), axis=1)
    text = f"mean {lengths.mean():,.1f}, shortest {lengths.min():,}, longest {lengths.max():,} in train"
    assert lines["lengths"].startswith(text)
    assert lines["sequence"] == "int32 (2048,): tokens"
    assert lines["generated"].startswith("yes")
    assert lines["train"].startswith("192: ")
    drawn = (tmp_path / "x.svg").read_text()
    assert "<svg" in drawn


def test_a_protocol_that_selects_on_the_test_part_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*LISTOPS, "dataset.protocol=annotated", f"data_dir={tmp_path}", f"out={tmp_path / 'x.png'}"]
    assert show.main(words) == 0
    assert "chooses its best epoch on the test part" in said(capsys)["protocol"]


# --- pictures


def toy(array: np.ndarray, divisor: float | None, **changes: Any) -> Dataset:
    """Twelve classes, a sequence each."""
    count = len(array)
    split = Split(Stored(array, np.arange(count), divisor), np.arange(count, dtype=np.int32) % 12)
    counts = dict.fromkeys(("train", "validation", "test"), count)
    problem = Problem(**{"length": array.shape[1], "classes": 12, "channels": array.shape[-1], **changes})
    return Dataset(Description("toy", problem, counts), split, split, split)


def drawn(dataset: Dataset, settings: dict[str, Any]) -> np.ndarray:
    inputs = dataset.train.inputs
    found = facts.values(inputs, dataset.description.problem)
    return np.asarray(image.imread(io.BytesIO(pictures.draw(dataset, settings, inputs, found, "png"))))


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("length, channels", [(784, 1), (1024, 3), (500, 1), (96, 2)])
def test_real_sequences_of_any_size_are_drawn(length: int, channels: int) -> None:
    array = RNG.integers(0, 256, (12, length, channels), np.uint8)
    settings = composed("dataset=speechcommands")["dataset"]  # 35 names, of which the first twelve are taken
    picture = drawn(toy(array, 255.0), settings)
    assert picture.shape[0] == pytest.approx(1500, abs=60)  # ten examples of 150 dots
    assert picture[..., :3].std() > 0.1


@pytest.mark.parametrize("documents", [1, 2])
def test_tokens_of_one_or_two_documents_are_drawn_as_text(documents: int) -> None:
    tokens = RNG.integers(1, 18, (12, *([2] if documents == 2 else []), 50), np.uint8)
    tokens[..., 30:] = 0
    dataset = toy(tokens, None, length=50, channels=None, vocabulary=18, padding=0, documents=documents)
    settings = composed("dataset=listops")["dataset"]
    text = pictures.as_text("title", tokens[0], settings, dataset.description.problem, lines=9)
    assert text.splitlines()[0] == "--- title: " + " and ".join(["30 of 50 tokens"] * documents)
    shown = " ".join(text.splitlines()[1:]).split()
    unpadded = tokens[0][..., :30].reshape(-1)
    assert shown == registry.text_of(settings, unpadded).split()
    assert drawn(dataset, settings)[..., :3].min() == 0.0


def test_one_example_of_each_class_and_ten_at_most() -> None:
    names = [str(number) for number in range(35)]
    rows, titles = pictures.examples(np.array([2, 2, 0, 5, 0]), names)
    assert rows == [2, 0, 3]
    assert titles[1] == "class 2, training sequence 0"
    assert pictures.examples(np.arange(35)[::-1], names)[0] == list(range(34, 24, -1))
    assert pictures.examples(np.zeros((12, 4), int), names)[0] == list(range(10))  # a target a step


def test_an_image_is_the_sequence_row_by_row_from_lowest_to_highest() -> None:
    sequence = RNG.normal(size=(64, 3)).astype(np.float32)
    found = facts.Values(sequence.min(axis=0), sequence.max(axis=0))
    picture = pictures.as_image(sequence, found)
    assert picture.shape == (8, 8, 3)
    assert picture.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert picture.max(axis=(0, 1)).tolist() == [1, 1, 1]
    restored = picture[3, 5] * (found.high - found.low) + found.low
    np.testing.assert_allclose(restored, sequence[3 * 8 + 5], rtol=1e-5, atol=1e-6)
    constant = np.ones((64, 1), np.float32)
    assert not pictures.as_image(constant, facts.Values(constant[0], constant[0])).any()


def test_what_is_an_image() -> None:
    square = toy(np.zeros((2, 784, 1), np.uint8), 255.0).description.problem
    assert pictures.is_image(square, 784)
    assert not pictures.is_image(square, 100)  # cut by task.length
    assert not pictures.is_image(replace(square, length=16000), 16000)
    assert not pictures.is_image(replace(square, channels=None, vocabulary=256), 784)


def test_text_keeps_to_its_lines_and_signs() -> None:
    assert pictures.as_lines("a\x85b [MAX 1 2 ]", 3) == "a·b [MAX 1 2 ]"
    long = pictures.as_lines("word " * 1000, 4).splitlines()
    assert len(long) == 5
    assert long[-1] == "..."
    assert max(map(len, long)) <= pictures.COLUMNS
    assert pictures.as_lines("costs $5 or $6", 1) == "costs $5 or $6"


def test_ranges_are_by_channel_and_over_every_training_sequence() -> None:
    array = RNG.integers(0, 256, (600, 3, 2), np.uint8)  # more than are read at once
    found = facts.values(Stored(array, np.arange(600), 255.0), toy(array, 255.0).description.problem)
    np.testing.assert_array_equal(found.low, array.astype(np.float32).min(axis=(0, 1)) / np.float32(255))
    np.testing.assert_array_equal(found.high, array.astype(np.float32).max(axis=(0, 1)) / np.float32(255))


# --- refusals

REFUSED = {
    "~task": ["task=None: is missing"],
    "~seed": ["seed: is missing"],
    "~data_dir": ["data_dir: is missing"],
    "~model.activation": ["model.activation: is missing"],
    "dataset=null": ["dataset=null: is not a choice"],
    "hydra=null": ["Hydra cannot compose"],
    "task.length=1000000000000": ["task.length=1000000000000: ", "at most"],
    "seed=9223372036854775808": ["seed=9223372036854775808: ", "at most"],
    "data_dir=a=b": ["""quote it: 'data_dir="a=b"'"""],
    "dataset=digts": ["dataset=digts", "did you mean dataset=digits?"],
    "dataset.validation_fracton=0.2": ["dataset.validation_fracton", "did you mean"],
    "dataset.validation_fraction=2": ["validation_fraction=2"],
    "task.batch_size=5000": ["batch_size=5000", "1294 training sequences"],
    "task.batch_size=0": ["task.batch_size=0"],
    "task.length=0": ["task.length=0"],
    "task.length=many": ["task.length='many'"],
    "seed=-1": ["seed=-1"],
    "data_dir=null": ["data_dir=None", "folder"],
    "~dataset": ["dataset=None", "choose"],
    "out=x.gif": ["out='x.gif'", ".png"],
    "out=absent/x.png": ["out='absent/x.png'", "no folder absent"],
    "--multirun": ["--multirun", "no such option"],
    "dataset=digits,smnist": ["dataset=digits,smnist: several values"],
}


@pytest.mark.parametrize("words", list(REFUSED))
def test_refusals_are_one_message(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert show.main(words.split()) == 2
    message = joined(capsys.readouterr().err)
    assert len(message.splitlines()) == 1
    assert not [part for part in REFUSED[words] if part not in message], message
    assert list(tmp_path.iterdir()) == []


def test_missing_files_are_named_in_a_process_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    command = [sys.executable, "-m", "bench.show", "dataset=scifar10", f"data_dir={tmp_path}/data"]
    done = subprocess.run(command, cwd=show.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"{tmp_path}/data" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (show.ROOT / "scifar10.png").exists()


def test_without_matplotlib_there_is_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as Python itself marks what is not to be found
    assert show.main([]) == 2
    assert capsys.readouterr().err.startswith("bench.show draws with matplotlib, not installed here; run pip install")


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.png").mkdir()
    assert show.main([f"out={tmp_path / 'x.png'}"]) == 2
    assert "cannot be written" in joined(capsys.readouterr().err)


def test_help_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert show.main(["--help"]) == 0
    assert "python -m bench.show" in capsys.readouterr().out
