"""The command's words as Hydra reads them, wherever they stand, and the jobs of a sweep.

A sweep is Hydra's: its grammar, its basic launcher, its folders. Three things are done otherwise than by Hydra's basic
sweeper: a job that cannot be composed does not stop the others, no multirun.yaml is left behind, and glob(...) finds
choices only, not the parts of others (conf/model/_network.yaml).
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher, BasicLauncherConf
from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.runs.choices import nearest
from bench.runs.declared import DEFAULTS, declared, defaults

CONF = Path(__file__).resolve().parents[2] / "conf"
REFUSALS = (HydraException, OmegaConfBaseException)  # of Hydra, which bench.runs.refusals puts in our words
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
MOST_JOBS = 100_000  # of a sweep, which are listed before the first one runs
PRIMARY = DEFAULTS  # conf/config.yaml
VERSION_BASE = "1.3"


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its overrides, and those of them that tell it apart from the others."""

    overrides: list[str]
    label: str


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
    config = _composed(hydra, name, list(args.overrides), validate_sweep_overrides=False)
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


def _composed(hydra: Hydra, name: str, overrides: list[str], **options: bool) -> DictConfig:
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


class Sweep:
    """The jobs of a sweep. ValueError where there is none, or where other plugins would run them."""

    def __init__(self, hydra: Hydra, name: str, overrides: Sequence[str]) -> None:
        self.hydra, self.name = hydra, name
        parsed = OverridesParser.create().parse_overrides([*overrides, "hydra.mode=MULTIRUN"])
        self.own = [str(override.input_line) for override in parsed if override.is_hydra_override()]
        try:
            self.master = _composed(hydra, name, [str(override.input_line) for override in parsed])
        except REFUSALS:  # a setting that some of the jobs have, perhaps: each of them is told of its own
            self.master = _composed(hydra, name, list(self.own))
        for part, known in (("sweeper", BasicSweeperConf), ("launcher", BasicLauncherConf)):
            target = OmegaConf.select(self.master, f"hydra.{part}._target_")
            if target != known._target_:
                raise ValueError(
                    f"hydra/{part}={target}: the jobs are run here, one after the other, so that no run disturbs "
                    f"another's clock; leave it at hydra/{part}=basic."
                )
        params = OmegaConf.to_container(self.master.hydra.sweeper.params or OmegaConf.create({}), resolve=True)
        assert isinstance(params, dict)
        given = OverridesParser.create().parse_overrides([f"{key!s}={value}" for key, value in params.items()])
        self.jobs = self._jobs([*given, *(override for override in parsed if not override.is_hydra_override())])

    def launch(self, task: TaskFunction) -> Iterator[tuple[Job, Exception | None]]:
        """Runs each job; with it, the exception that its composition or `task` raised."""
        callbacks = Callbacks(self.master)
        callbacks.on_multirun_start(config=self.master, config_name=self.name)
        context = HydraContext(config_loader=self.hydra.config_loader, callbacks=callbacks)
        launcher = BasicLauncher()
        launcher.setup(hydra_context=context, task_function=task, config=self.master)
        for number, job in enumerate(self.jobs):
            try:
                (done,) = launcher.launch([job.overrides], initial_job_idx=number)
                error = None if done.status == JobStatus.COMPLETED else done._return_value  # its property would raise
            except Exception as other:  # noqa: BLE001 - this job's end, not that of the sweep
                error = as_refusal(other)
            yield job, error
        callbacks.on_multirun_end(config=self.master, config_name=self.name)

    def show(self, args: argparse.Namespace) -> Iterator[tuple[Job, Exception | None]]:
        """Prints what --cfg asks for, a YAML document a job."""
        for number, job in enumerate(self.jobs):
            print(f"{'---' if number else ''}\n# {job.label}".lstrip("\n"))
            words = [*self.own, *job.overrides]
            try:
                self.hydra.show_cfg(self.name, words, args.cfg, args.package, args.resolve)
            except Exception as error:  # noqa: BLE001 - the other jobs are shown
                yield job, as_refusal(error)
            else:
                yield job, None

    def _jobs(self, overrides: Sequence[Override]) -> list[Job]:
        """Every combination of the values, in Hydra's order; a later word for the same setting replaces an earlier."""
        values: dict[str, list[str]] = {}
        swept: set[str] = set()
        for override in overrides:
            name, word = override.get_key_element(), str(override.input_line)
            values[name] = self._values(override)
            swept -= {name}
            swept |= {name} if override.is_sweep_override() else set()
            if not values[name]:
                raise ValueError(f"{word}: gives no value, so that the sweep has no job; give at least one.")
        if math.prod(map(len, values.values())) > MOST_JOBS:
            raise ValueError(f"-m: more than {MOST_JOBS} jobs; give fewer values, or split the sweep.")
        jobs = []
        for chosen in itertools.product(*values.values()):
            telling = [word for name, word in zip(values, chosen, strict=True) if name in swept]
            jobs.append(Job(list(chosen), " ".join(telling or chosen) or "all defaults"))
        return jobs

    def _values(self, override: Override) -> list[str]:
        """The words that a sweep over one setting stands for; the word itself where it is none."""
        word, name = str(override.input_line), override.get_key_element()
        if not override.is_sweep_override():
            return [word]
        if not override.is_discrete_sweep():
            raise ValueError(f"{word}: has no single values that could be tried; use range(...) or choice(...).")
        if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
            found: Any = override.value()
            names = self.hydra.config_loader.get_group_options(override.key_or_group)
            parts = any(pattern.startswith("_") for pattern in found.include)
            return [f"{name}={choice}" for choice in found.filter(names) if parts or not choice.startswith("_")]
        several = [f"{name}={value}" for value in itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1)]
        if len(several) > MOST_JOBS:
            raise ValueError(f"{word}: more than {MOST_JOBS} jobs; give fewer values, or split the sweep.")
        return several
