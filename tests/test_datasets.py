"""Every data set: its config, what its settings allow, its description; splits; and digits in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from datasets import registry
from datasets.parts.splits import cut_validation, stratified_test, validation_count

ROOT = Path(__file__).parents[1]
DIGITS = {"name": "digits", "validation_fraction": 0.1}

# --- every data set


CONFIGS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf" / "dataset").glob("*.yaml"))}
CUT = [name for name, config in CONFIGS.items() if "validation_fraction" in config]


def config_of(name: str) -> dict[str, Any]:
    return dict(CONFIGS[name])


def test_every_module_has_its_config_and_the_other_way_round() -> None:
    assert set(CONFIGS) == set(registry.names())
    assert {"digits", "smnist", "pmnist"} <= set(CONFIGS)


@pytest.mark.parametrize("name", registry.names())
def test_config_is_described_without_a_file(name: str) -> None:
    settings = config_of(name)
    assert settings["name"] == name
    assert (ROOT / "conf" / "dataset" / f"{name}.yaml").read_text().startswith("# ")
    description = registry.describe(settings)
    assert description.name == name
    if description.counts is not None:  # else only the files know them
        assert set(description.counts) == {"train", "validation", "test"}
        assert all(count > 0 for count in description.counts.values())


@pytest.mark.parametrize("name", registry.names())
def test_unknown_setting_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.validaton=.*: is not a setting of dataset={name}, which has "):
        registry.describe({**config_of(name), "validaton": 0.1})


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, True, "0.1", None, float("nan")])
def test_senseless_validation_fraction_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"dataset\.validation_fraction=.*: must be a number in \(0, 1\)"):
        registry.describe({**config_of(name), "validation_fraction": value})


@pytest.mark.parametrize("value", [1e-9, 1 - 1e-9])
def test_fraction_that_empties_a_part_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="both need at least one"):
        registry.describe({**DIGITS, "validation_fraction": value})


def test_missing_setting_is_named() -> None:
    with pytest.raises(ValueError, match="dataset\\.validation_fraction=None: must be given"):
        registry.describe({"name": "digits"})


@pytest.mark.parametrize("name", ["mnits", None, "registry", "batches", "idx", ["digits"]])
def test_unknown_data_set_is_refused_with_the_choices(name: object) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.name=.* is not known; choose {', '.join(registry.names())}$"):
        registry.describe({"name": name, "validation_fraction": 0.1})


@pytest.mark.parametrize("name", registry.names())
def test_settings_are_checked_by_prepare_and_load_too(name: str, tmp_path: Path) -> None:
    bad = {**config_of(name), "validaton": 0.1}
    with pytest.raises(ValueError, match=r"dataset\.validaton=0\.1: is not a setting"):
        registry.prepare(bad, tmp_path)
    with pytest.raises(ValueError, match=r"dataset\.validaton=0\.1: is not a setting"):
        registry.load(bad, tmp_path, seed=0)
    assert list(tmp_path.iterdir()) == []


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
