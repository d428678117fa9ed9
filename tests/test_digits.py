"""digits reads scikit-learn's file without its package's code; a file that is not there is an error with its fix."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from datasets import DataError, registry

ROOT = Path(__file__).parents[1]
DIGITS = {"name": "digits", "validation_fraction": 0.1}
COMPLAINT = r"dataset=digits: .*digits\.csv\.gz is not there; .*pip install -c constraints\.txt scikit-learn"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of scikit-learn's name, found before scikit-learn itself, that raises when it is imported."""
    folder = tmp_path / "sklearn"
    (folder / "datasets" / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_package_without_the_file_is_an_error_before_any_run(package: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=COMPLAINT):
        registry.prepare(DIGITS, tmp_path)
    with pytest.raises(DataError, match=COMPLAINT):
        registry.load(DIGITS, tmp_path, 0)


def test_no_package_at_all_is_the_same_error(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(package)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert find_spec("sklearn") is None
    with pytest.raises(DataError, match=COMPLAINT):
        registry.prepare(DIGITS, tmp_path)


def test_the_file_alone_is_enough(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In the place of scikit-learn, whose import takes a second of every run, lies one that cannot be imported."""
    truth = registry.load(DIGITS, tmp_path, 0)
    name = Path("datasets", "data", "digits.csv.gz")
    real = Path(find_spec("sklearn").origin).parent / name
    shutil.copy(real, request.getfixturevalue("package") / name)
    registry.prepare(DIGITS, tmp_path)
    np.testing.assert_array_equal(registry.load(DIGITS, tmp_path, 0).test.inputs, truth.test.inputs)
