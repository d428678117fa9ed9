"""Shows a data set as the network sees it: parts, classes, values and first batch in words, examples in a picture.

    python -m bench.show [dataset=NAME] [setting=value ...] [out=FILE.png]

Settings are those of run.py. The data set is prepared like for a run; nothing is trained, and no framework is imported.
bench/views/facts.py finds what is said, bench/views/pictures.py draws.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.runs.declared import check_declared
from bench.views.facts import facts, values
from bench.workers.options import problem_at
from datasets import registry
from datasets.batches import epoch_order, fit_length
from datasets.data import DataError
from settings.errors import SettingError
from settings.progress import VOICE, WIDTH, wrapped
from settings.rules import check_seed, check_size
from settings.screen import command

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
FORMATS = (".png", ".pdf", ".svg")


def main(words: Sequence[str] | None = None) -> int:
    """Command line; 0 when it was shown, 2 when the settings or the files do not allow it."""
    words = list(sys.argv[1:] if words is None else words)
    if {"--help", "-h"} & set(words):
        print(wrapped(str(__doc__), ""))
        return 0
    from bench.runs.composing import composed

    tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1" or "debug=true" in words
    own = [word for word in words if word.startswith("out=")]
    others = [word for word in words if word not in own]
    try:
        with VOICE.beating(), VOICE.during("preparing the data"):
            show(composed(others, "bench.show"), Path(own[-1].removeprefix("out=")) if own else None)
    except (ValueError, MemoryError) as error:
        if tracebacks:
            traceback.print_exc()
        print(wrapped(str(error)), file=sys.stderr)
        return 2
    return 0


def show(config: Mapping[str, Any], out: Path | None) -> None:
    """Prints what there is to say and writes the picture; ValueError where settings or files do not allow it."""
    _check(config)
    settings, task = config["dataset"], config["task"]
    description = registry.describe(settings)
    length = problem_at(task["length"], description.problem).length
    out = Path(f"{description.name}.png") if out is None else out
    _check_out(out)
    registry.prepare(settings, config["data_dir"])
    dataset = registry.load(settings, config["data_dir"], config["seed"])
    train: Any = dataset.train.inputs  # fit_length keeps the kind, array or Stored
    inputs = fit_length(train, length)
    found = values(inputs, dataset.description.problem)
    order = epoch_order(len(inputs), task["batch_size"], config["seed"], 0)
    batch = (np.asarray(inputs[order[0]]), dataset.train.targets[order[0]])
    for name, text in facts(dataset, registry.class_names(settings), length, found, batch):
        print(textwrap.fill(text, WIDTH, initial_indent=f"{name:<12} ", subsequent_indent=" " * 13))
    from bench.views.pictures import draw

    picture = draw(dataset, settings, inputs, found, out.suffix[1:])
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise SettingError("out", str(out), f"cannot be written ({error.strerror})", "choose another file.") from error
    print(f"{'picture':<12} {out}")


def _check(config: Mapping[str, Any]) -> None:
    """The names of all settings, and the values of those that are used here and that no other module checks."""
    check_declared(config, CONF)
    if not isinstance(config["data_dir"], str) or not config["data_dir"]:
        raise SettingError("data_dir", config["data_dir"], "must be the name of a folder", "set data_dir=data.")
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
        raise SettingError("out", str(out), "its format is not known", f"let it end in one of {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise SettingError("out", str(out), f"there is no folder {out.parent}", "make it, or choose another file.")


if __name__ == "__main__":
    sys.exit(command(main))
