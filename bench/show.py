"""Shows a data set as the network sees it: parts, classes, values and first batch in words, examples in a picture.

    python -m bench.show [dataset=NAME] [setting=value ...] [out=FILE.png]

Settings are those of run.py. The data set is prepared like for a run; nothing is trained, and no framework is imported.
bench/pictures.py draws.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.declared import check_declared
from bench.screen import command
from bench.workers.options import length_of
from datasets import registry
from datasets.batches import epoch_order, fit_length
from datasets.data import PADDING, DataError, Dataset, Description
from datasets.progress import VOICE, WIDTH, items, wrapped
from ssm.checks import check_seed, check_size

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
FORMATS = (".png", ".pdf", ".svg")
PARTS = ("train", "validation", "test")
_ROWS = 256  # sequences that are read at once


@dataclass(frozen=True)
class Values:
    """Of the training inputs: low, high (C,) of real values; lengths (M,) or (M, documents) of padded tokens."""

    low: np.ndarray | None = None
    high: np.ndarray | None = None
    lengths: np.ndarray | None = None


def main(words: Sequence[str] | None = None) -> int:
    """Command line; 0 when it was shown, 2 when the settings or the files do not allow it."""
    words = list(sys.argv[1:] if words is None else words)
    if {"--help", "-h"} & set(words):
        print(wrapped(str(__doc__), ""))
        return 0
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1" or "debug=true" in words
    own = [word for word in words if word.startswith("out=")]
    others = [word for word in words if word not in own]
    try:
        with VOICE.beating(), VOICE.during("preparing the data"):
            show(composed(others), Path(own[-1].removeprefix("out=")) if own else None)
    except (HydraException, OmegaConfBaseException, ValueError, MemoryError) as error:
        from bench.refusals import explain

        if tracebacks:
            traceback.print_exc()
        composing = isinstance(error, HydraException | OmegaConfBaseException)
        print(wrapped(explain(error, CONF, others) if composing else str(error)), file=sys.stderr)
        return 2
    return 0


def composed(words: Sequence[str]) -> dict[str, Any]:
    """The configuration of `python run.py <words>`, resolved. Raises Hydra's and OmegaConf's refusals."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from bench.command import as_refusal

    if options := [word for word in words if word.startswith("-")]:
        raise ValueError(f"{options[0]}: bench.show has no such option; it takes group=choice and setting=value")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = OmegaConf.to_container(compose("config", overrides=list(words)), resolve=True)
        except (ValueError, LookupError, AttributeError, TypeError, AssertionError) as error:  # of Hydra, on odd words
            raise as_refusal(error) from error
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}


def show(config: Mapping[str, Any], out: Path | None) -> None:
    """Prints what there is to say and writes the picture; ValueError where settings or files do not allow it."""
    _check(config)
    settings, task = config["dataset"], config["task"]
    description = registry.describe(settings)
    length = length_of(task["length"], description)
    out = Path(f"{description.name}.png") if out is None else out
    _check_out(out)
    registry.prepare(settings, config["data_dir"])
    dataset = registry.load(settings, config["data_dir"], config["seed"])
    train: Any = dataset.train.inputs  # fit_length keeps the kind, array or Stored
    inputs = fit_length(train, length)
    found = values(inputs, dataset.description)
    order = epoch_order(len(inputs), task["batch_size"], config["seed"], 0)
    batch = (np.asarray(inputs[order[0]]), dataset.train.targets[order[0]])
    for name, text in facts(dataset, registry.class_names(settings), length, found, batch):
        print(textwrap.fill(text, WIDTH, initial_indent=f"{name:<12} ", subsequent_indent=" " * 13))
    from bench.pictures import draw

    picture = draw(dataset, settings, inputs, found, out.suffix[1:])
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise ValueError(f"out={out}: cannot be written ({error.strerror}); choose another file") from error
    print(f"{'picture':<12} {out}")


def facts(
    dataset: Dataset, names: Sequence[str], length: int, found: Values, batch: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[str, str]]:
    """(name, text) of each line that is printed. names: of the classes. batch: the first of the training."""
    description = dataset.description
    yield "data set", description.name
    yield "protocol", _protocol(description)
    if description.generated:
        yield "generated", "yes: made here in the style of the published data; its results do not compare with those"
    cut = "" if length == description.length else f" (task.length; its own length is {description.length:,})"
    if description.vocabulary is None:
        assert found.low is not None
        assert found.high is not None
        yield "sequence", f"float32 ({length}, {description.channels}): steps x channels{cut}"
        ranges = [f"{low:.4g} to {high:.4g}" for low, high in zip(found.low, found.high, strict=True)]
        yield "values", f"{', '.join(ranges)} in train"
    else:
        pair = description.documents > 1
        sizes, axes = ((description.documents, length), "documents x tokens") if pair else ((length,), "tokens")
        yield "sequence", f"int32 {sizes}: {axes}{cut}"
        yield "vocabulary", f"{description.vocabulary} values, padding included"
    if found.lengths is not None:
        full = float(np.mean(found.lengths == length))
        text = f"mean {found.lengths.mean():,.1f}, shortest {found.lengths.min():,}, longest {found.lengths.max():,}"
        yield "lengths", f"{text} in train; {100 * full:.1f} % need no padding"
    yield "classes", f"{description.classes}"
    for part in PARTS:
        targets = getattr(dataset, part).targets
        counts = np.bincount(targets, minlength=description.classes)
        each = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
        yield part, f"{len(targets):,}: {each}"
    inputs, targets = batch
    yield "first batch", f"inputs {inputs.dtype} {inputs.shape}, targets {targets.dtype} {targets.shape}"
    yield "sha256", f"{digest(inputs, targets)} of the first batch, in both frameworks"


def digest(inputs: np.ndarray, targets: np.ndarray) -> str:
    """sha256 (hex) of a batch: the inputs' bytes, little-endian in C order, and then the targets'."""
    parts = (np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes() for part in (inputs, targets))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def values(inputs: Any, description: Description) -> Values:
    """The range of real values by channel, or the lengths of padded tokens; every training sequence is read."""
    starts = items(range(0, len(inputs), _ROWS), "reading", unit="block")
    blocks = (inputs[start : start + _ROWS] for start in starts)
    if description.vocabulary is None:
        ends = [(block.min(axis=(0, 1)), block.max(axis=(0, 1))) for block in blocks]
        return Values(np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0))
    if description.padded:
        return Values(lengths=np.concatenate([np.count_nonzero(block != PADDING, axis=-1) for block in blocks]))
    return Values()


def _protocol(description: Description) -> str:
    consequence = (
        "chooses its best epoch on the test part, which is its validation part: no accuracy on unseen data"
        if description.selects_on_test
        else "chooses its best epoch on the validation part; the test part is used once"
    )
    return f"{description.protocol}: {consequence}"


def _check(config: Mapping[str, Any]) -> None:
    """The names of all settings, and the values of those that are used here and that no other module checks."""
    check_declared(config, CONF)
    if not isinstance(config["data_dir"], str) or not config["data_dir"]:
        raise ValueError(f"data_dir={config['data_dir']!r}: must be the name of a folder; set data_dir=data")
    check_seed("seed", config["seed"])
    check_size("task.batch_size", config["task"]["batch_size"])
    if config["task"]["length"] is not None:
        check_size("task.length", config["task"]["length"])


def _check_out(out: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError(
            "bench.show draws with matplotlib, not installed here; run pip install matplotlib -c constraints.txt"
        )
    if out.suffix not in FORMATS:
        raise ValueError(f"out={out}: its format is not known; let it end in one of {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise ValueError(f"out={out}: there is no folder {out.parent}; make it, or choose another file")


if __name__ == "__main__":
    sys.exit(command(main))
