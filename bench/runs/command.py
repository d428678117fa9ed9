"""The command's words as Hydra reads them, wherever they stand. The jobs of a sweep: bench/runs/sweep.py."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench.runs.choices import nearest
from bench.runs.declared import DEFAULTS, declared, defaults

CONF = Path(__file__).resolve().parents[2] / "conf"
REFUSALS = (HydraException, OmegaConfBaseException)  # of Hydra, which bench.runs.refusals puts in our words
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
MOST_JOBS = 100_000  # of a sweep, which are listed before the first one runs
PRIMARY = DEFAULTS  # conf/config.yaml
VERSION_BASE = "1.3"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Hydra's options, wherever they stand, and as `overrides` all other words. ValueError for an unknown option."""
    parser = get_args_parser()
    options = [option for action in parser._actions for option in action.option_strings]

    def refuse(message: str) -> NoReturn:
        wrong = next((word for word in before if word.startswith("-") and word.split("=", 1)[0] not in options), "")
        if "=" in wrong and not nearest(wrong.split("=", 1)[0], options):
            raise ValueError(f"{wrong}: is not an option; settings have no dashes: {wrong.lstrip('-')}")
        close = nearest(wrong.split("=", 1)[0], options) if wrong else None
        fix = f"did you mean {close}?" if close else "python run.py --hydra-help lists the options."
        raise ValueError(f"{message}; {fix}")

    parser.error = refuse  # type: ignore[method-assign]  # else it prints all options and exits
    end = list(words).index("--") if "--" in words else len(words)
    before = [
        "--info=all" if word in ("-i", "--info") and following not in INFO else word
        for word, following in itertools.zip_longest(words[:end], words[1:end])
    ]
    args = parser.parse_intermixed_args(before)
    args.overrides = [*args.overrides, *words[end + 1 :]]
    return args


def plain_words(args: argparse.Namespace) -> list[str]:
    """The same command with the options first, as Hydra's own parser needs it."""
    words = []
    for name, value in vars(args).items():
        option = f"--{name.replace('_', '-')}"
        if name != "overrides" and value not in (None, False):
            words.append(option if value is True else f"{option}={value}")
    return [*words, "--", *args.overrides] if args.overrides else words


def asks_hydra(args: argparse.Namespace) -> bool:
    """Whether Hydra itself answers: it shows something, or refuses options that do not go together."""
    shown = args.info or args.shell_completion or args.hydra_help or args.experimental_rerun
    return bool(
        shown or (args.cfg and not args.multirun) or (args.run and args.multirun) or (args.resolve and not args.cfg)
    )


@contextmanager
def composer(args: argparse.Namespace) -> Iterator[Hydra]:
    """Hydra over the configuration in conf/, or where --config-path and --config-dir say."""
    version.setbase(VERSION_BASE)
    folder = CONF if args.config_path is None else CONF.parent / args.config_path
    search_path = create_config_search_path(str(folder))
    if args.config_dir is not None:
        added = Path(args.config_dir).resolve()
        if not added.is_dir():
            raise ValueError(f"--config-dir={args.config_dir}: is no folder; name one that holds groups and choices.")
        search_path.prepend("command-line", f"file://{added}", SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra2("run", search_path)
    finally:
        GlobalHydra.instance().clear()


def is_sweep(hydra: Hydra, name: str, args: argparse.Namespace) -> bool:
    """Whether there may be several jobs: -m, or hydra.mode=MULTIRUN in a word or a file.

    For a single run it also sees to what Hydra would answer with a traceback.
    """
    if args.multirun:
        return True
    config = composed_by(hydra, name, list(args.overrides), validate_sweep_overrides=False)
    if config.hydra.mode == RunMode.MULTIRUN:
        return True
    folder = str(config.hydra.run.dir)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"hydra.run.dir={folder}: cannot be made ({error.strerror}); choose another folder."
        ) from error
    return False


def composed_by(hydra: Hydra, name: str, overrides: list[str], **options: bool) -> DictConfig:
    """The configuration of a run or, without the settings that it tries, of a sweep. Raises REFUSALS, or ValueError for
    a primary configuration that is not this project's.
    """
    try:
        config = hydra.compose_config(name, overrides, RunMode.MULTIRUN, **options)
    except REFUSALS:
        raise
    except Exception as error:
        raise as_refusal(error) from error
    lacking = [] if name == PRIMARY else sorted({*defaults(CONF), *declared(CONF, PRIMARY)} - {"experiment", *config})
    if lacking:
        raise ValueError(
            f"--config-name={name}: lacks {', '.join(map(str, lacking))}; let it begin with "
            f"defaults: [{PRIMARY}, _self_]."
        )
    return config


def as_refusal(error: Exception) -> Exception:
    """What composing raised, as one of REFUSALS: some words run Hydra into errors of other kinds."""
    if isinstance(error, REFUSALS):
        return error
    if isinstance(error, OSError):
        return HydraException(
            f"hydra.sweep.dir: {error.filename} cannot be made ({error.strerror}); choose another folder."
        )
    return HydraException(f"Hydra cannot compose these words: {type(error).__name__}: {error}; leave out one by one.")
