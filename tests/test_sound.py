"""Speech Commands and its repetitions: values, parts, protocols, where files may lie; NSynth has a file of its own.

Small folders in the published format are made here; sound itself is tried on a real subset where it is at hand. Not
covered: the published archive, which needs a network.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from sound_files import ALL, COUNTS, NSYNTH, PARTS, PER_WORD, REPEATED, TEN, made_speech, padded, with_words

from datasets import registry
from datasets.files.speech_commands import WORDS_10, WORDS_35
from datasets.repeated_speechcommands10 import places


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A data_dir that tests only read, and its clips."""
    data_dir = tmp_path_factory.mktemp("ten")
    return data_dir, made_speech(data_dir / "speech_commands_v0.02", WORDS_10)


@pytest.fixture
def one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one word, which takes the place of the ten; tests may damage it."""
    with_words(monkeypatch, ("yes",))
    made_speech(tmp_path / "speech_commands_v0.02", ("yes",))
    return tmp_path / "speech_commands_v0.02"


def rows_by_first_step(array: np.ndarray) -> np.ndarray:
    return array[np.argsort(array[:, 0, 0])]


# --- Speech Commands


def test_default_is_the_lists_and_the_waveform(ten: tuple[Path, dict[str, np.ndarray]]) -> None:
    data_dir, clips = ten
    assert registry.describe(TEN).counts is None
    dataset = registry.load(TEN, data_dir, seed=0)
    assert dict(dataset.description.counts or {}) == {"train": 90, "validation": 10, "test": 20}
    assert (dataset.description.problem.length, dataset.description.problem.classes) == (16_000, 10)
    assert not dataset.description.selects_on_test
    listed = {
        "validation": (data_dir / "speech_commands_v0.02" / "validation_list.txt").read_text().split(),
        "test": (data_dir / "speech_commands_v0.02" / "testing_list.txt").read_text().split(),
    }
    listed["train"] = [name for name in clips if name not in {*listed["validation"], *listed["test"]}]
    for part in PARTS:
        split = getattr(dataset, part)
        names = sorted(listed[part])
        expected = np.stack([padded(clips[name]) for name in names]).astype(np.float32) / 32768
        np.testing.assert_array_equal(np.asarray(split.inputs)[:, :, 0], expected)
        assert [WORDS_10[target] for target in split.targets] == [name.partition("/")[0] for name in names]


def test_all_words_have_the_sources_classes(tmp_path: Path) -> None:
    made_speech(tmp_path / "speech_commands", WORDS_35)
    dataset = registry.load(ALL, tmp_path, seed=0)
    assert dict(dataset.description.counts or {}) == {"train": 315, "validation": 35, "test": 70}
    np.testing.assert_array_equal(np.bincount(dataset.test.targets), np.full(35, 2))
    alphabetical = [WORDS_35.index(word) for word in sorted(WORDS_35)]
    np.testing.assert_array_equal(dataset.validation.targets, alphabetical)
    # standardised step by step with the padding, over what the lists leave for training
    official = registry.load({**ALL, "protocol": "official"}, tmp_path, seed=0)
    train = np.asarray(dataset.train.inputs, np.float64) / 32768
    mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
    expected = (np.asarray(dataset.test.inputs, np.float64) / 32768 - mean) / (std + 1e-5)
    np.testing.assert_allclose(np.asarray(official.test.inputs), expected, rtol=1e-4, atol=1e-6)


def test_class_names_are_the_words_in_the_sources_order() -> None:
    from datasets import nsynth, repeated_speechcommands10, speechcommands, speechcommands10

    for module in (speechcommands10, speechcommands, repeated_speechcommands10, nsynth):
        settings = {"speechcommands10": TEN, "speechcommands": ALL, "nsynth": NSYNTH}.get(
            module.__name__.partition(".")[2], REPEATED
        )
        names = module.class_names(settings)
        assert len(set(names)) == len(names) == registry.describe(settings).problem.classes
    assert speechcommands10.class_names(TEN)[:4] == ("yes", "no", "up", "down")
    assert speechcommands.class_names(ALL)[:4] == ("bed", "cat", "down", "five")
    assert set(WORDS_10) < set(WORDS_35)


@pytest.mark.parametrize("protocol", ["official", "s5"])
def test_official_is_the_sources_computation(ten: tuple[Path, dict[str, np.ndarray]], protocol: str) -> None:
    """Whole clips word by word, divided by 2^15 after the loader has, cut twice, standardised step by step."""
    from sklearn.model_selection import train_test_split

    data_dir, clips = ten
    whole = [
        name
        for word in WORDS_10
        for name in sorted(clips)
        if name.startswith(f"{word}/") and len(clips[name]) == 16_000
    ]
    x = np.stack([clips[name] for name in whole]).astype(np.float32) / 2**15 / 2**15
    y = np.array([WORDS_10.index(name.partition("/")[0]) for name in whole])
    train, rest, _, rest_y = train_test_split(x, y, train_size=0.7, random_state=0, shuffle=True, stratify=y)
    validation, test = train_test_split(rest, train_size=0.5, random_state=1, shuffle=True, stratify=rest_y)
    mean, std = train.astype(np.float64).mean(axis=0), train.astype(np.float64).std(axis=0, ddof=1)

    dataset = registry.load({**TEN, "protocol": protocol}, data_dir, seed=0)
    assert not dataset.description.selects_on_test
    for part, source in zip(PARTS, (train, validation, test), strict=True):
        split = getattr(dataset, part)
        assert len(split.targets) == len(source)
        expected = rows_by_first_step(((source - mean) / (std + 1e-5))[:, :, None])
        np.testing.assert_allclose(rows_by_first_step(np.asarray(split.inputs)), expected, rtol=1e-4, atol=1e-6)
    assert len(train) + len(validation) + len(test) == 10 * (PER_WORD - 1)
    counts = np.bincount(dataset.train.targets)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("settings", [TEN, REPEATED])
def test_s4torch_is_torchs_random_split_of_the_sorted_files(
    ten: tuple[Path, dict[str, np.ndarray]], settings: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    data_dir, clips = ten
    names = sorted(clips)
    generator = torch.Generator().manual_seed(1234)
    kept, held = torch.utils.data.random_split(names, [108, 12], generator=generator)
    dataset = registry.load({**settings, "protocol": "s4torch"}, data_dir, seed=0)
    assert dataset.description.selects_on_test
    assert dict(dataset.description.counts or {}) == {"train": 108, "validation": 12, "test": 12}
    for part, indices in (("train", kept.indices), ("validation", held.indices), ("test", held.indices)):
        for row, index in enumerate(sorted(indices)):
            clip = padded(clips[names[index]])[:100].astype(np.float32) / 32768
            heard = np.asarray(getattr(dataset, part).inputs[row])[:, 0].reshape(-1, 16_000)[:, :100]
            assert (heard == clip).all(axis=1).any()


@pytest.mark.parametrize("protocol", ["default", "official", "s4torch"])
def test_half_the_rate_is_every_second_sample(ten: tuple[Path, dict[str, np.ndarray]], protocol: str) -> None:
    data_dir, _ = ten
    whole, half = (registry.load({**TEN, "protocol": protocol, "rate": rate}, data_dir, 0) for rate in (16000, 8000))
    assert half.description.problem.length == 8_000
    for part in PARTS:
        np.testing.assert_array_equal(getattr(half, part).inputs[:], getattr(whole, part).inputs[:][:, ::2])
        np.testing.assert_array_equal(getattr(half, part).targets, getattr(whole, part).targets)


def test_seed_changes_nothing(ten: tuple[Path, dict[str, np.ndarray]]) -> None:
    first, second = (registry.load(TEN, ten[0], seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.validation.inputs[:], second.validation.inputs[:])


@pytest.mark.parametrize(
    "place", ["speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02", "SpeechCommands", "speech_commands", "."]
)
def test_each_place_is_found(one_word: Path, place: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "elsewhere"
    (data_dir / place).parent.mkdir(parents=True, exist_ok=True)
    one_word.rename(data_dir / place)
    assert registry.prepare(TEN, data_dir).counts == COUNTS


def test_clips_are_read_once_and_again_when_some_come(one_word: Path) -> None:
    data_dir = one_word.parent
    registry.prepare(TEN, data_dir)
    (one_word / "yes" / "00000009_nohash_0.wav").write_bytes(b"")  # no one looks at it again ...
    assert registry.load({**TEN, "rate": 8000}, data_dir, 0).description.counts == {
        "train": 9,
        "validation": 1,
        "test": 2,
    }
    (one_word / "yes" / "00000009_nohash_0.wav").unlink()  # ... until the folder changes
    assert registry.load(TEN, data_dir, 0).description.counts == {"train": 8, "validation": 1, "test": 2}


def test_prepared_clips_do_without_the_files(one_word: Path) -> None:
    counts = registry.prepare(TEN, one_word.parent).counts
    shutil.rmtree(one_word)
    assert registry.load(TEN, one_word.parent, 0).description.counts == counts


# --- settings


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {**TEN, "protocol": "annotated"},
            "protocol='annotated': must be one of default, official, s5, s4torch",
        ),
        ({**REPEATED, "protocol": "s5"}, "protocol='s5': must be one of default, s4torch"),
        ({**NSYNTH, "protocol": "official"}, "protocol='official': must be one of default, s4torch"),
        *(({**ALL, "rate": rate}, "rate=.*: must be one of 16000, 8000") for rate in (4000, "16000", 8000.0, None)),
        *(({**NSYNTH, "seconds": seconds}, "seconds=.*: must be one of 4, 2") for seconds in (3, True, "4")),
        (
            {**TEN, "validation_fraction": 0.1},
            "validation_fraction=0.1: is not a setting of dataset=speechcommands10, which has protocol, rate",
        ),
        ({"name": "speechcommands", "protocol": "default"}, "rate=None: must be given"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^dataset\.{message}"):
        registry.describe(settings)


# --- repeated


def test_repeated_clips_are_counted(ten: tuple[Path, dict[str, np.ndarray]]) -> None:
    data_dir, _ = ten
    dataset = registry.load(REPEATED, data_dir, seed=0)
    assert dict(dataset.description.counts or {}) == {"train": 90, "validation": 10, "test": 20}
    plain = registry.load(TEN, data_dir, seed=0)
    for part in PARTS:
        repeated, single = (getattr(each, part).inputs[:] for each in (dataset, plain))
        parts = repeated.reshape(-1, 4, 16_000)
        heard = parts.any(axis=2)
        np.testing.assert_array_equal(heard.sum(axis=1) - 1, getattr(dataset, part).targets)
        np.testing.assert_array_equal(parts, heard[:, :, None] * single.reshape(-1, 1, 16_000))


def test_places_are_drawn_as_in_the_source() -> None:
    heard = places(100_000)
    # halves in each place; a clip that none has goes to one of the first three
    expected = np.array([0, 5, 6, 4, 1]) / 16
    np.testing.assert_allclose(np.bincount(heard.sum(axis=1), minlength=5) / 1e5, expected, atol=0.006)
    np.testing.assert_allclose(heard.mean(axis=0), np.array([25, 25, 25, 24]) / 48, atol=0.006)
    np.testing.assert_array_equal(heard, places(100_000))


# --- the real thing


REAL = SHARED / "data" / "speech_commands_10.tar.xz"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REAL.is_file():
        pytest.skip("the real clips are not beside the project, in ../shared/data")
    data_dir = tmp_path_factory.mktemp("real")
    with tarfile.open(REAL) as tar:
        tar.extractall(data_dir, filter="data")
    return data_dir


def test_real_clips_are_what_another_reader_gives(real: Path) -> None:
    from scipy.io import wavfile

    dataset = registry.load(TEN, real, seed=0)
    folder = real / "speech_commands"
    listed = {part: set((folder / f"{part}_list.txt").read_text().split()) for part in ("validation", "testing")}
    names = sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*.wav"))
    parts = {
        "train": [name for name in names if name not in listed["validation"] | listed["testing"]],
        "validation": sorted(listed["validation"]),
        "test": sorted(listed["testing"]),
    }
    assert dict(dataset.description.counts or {}) == {part: len(own) for part, own in parts.items()}
    for part, own in parts.items():
        split = getattr(dataset, part)
        for row in range(0, len(own), 10):
            rate, samples = wavfile.read(folder / own[row])
            assert (rate, len(samples), WORDS_10[split.targets[row]]) == (16_000, 16_000, own[row].partition("/")[0])
            np.testing.assert_array_equal(split.inputs[row], samples.astype(np.float32)[:, None] / 32768)
    speakers = [{name.partition("/")[2].partition("_")[0] for name in own} for own in parts.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers))
    everything = np.concatenate([getattr(dataset, part).targets for part in PARTS])
    np.testing.assert_array_equal(np.bincount(everything), np.full(10, 100))


def test_real_clips_have_the_scale_of_sound(real: Path) -> None:
    """The waveform is soft and its mean is nothing; standardised the official way its 1e-5 rules the scale."""
    plain, official = (registry.load({**TEN, "protocol": name}, real, seed=0) for name in ("default", "official"))
    waveform, standardised = (np.asarray(each.train.inputs) for each in (plain, official))
    assert 0.05 < waveform.std() < 0.12
    assert abs(waveform.mean()) < 2e-3
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    assert 0.15 < standardised.std() < 0.25
    assert dict(official.description.counts or {}) == {"train": 700, "validation": 150, "test": 150}
