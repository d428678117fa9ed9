"""What conf/ offers: the groups, their choices, the help text and the name nearest to a mistyped one.

Reads file names and first comment lines only: it composes nothing, so that `run.py --help` needs no Hydra.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from settings.hidden import is_foreign
from settings.progress import wrapped

_EXAMPLES = """\
examples
  python run.py model=s4 framework=jax dataset=smnist                 train (the default task)
  python run.py task=time model=dss framework=torch dataset=smnist    seconds a step, memory
  python run.py -m model=s4,dss,s5 framework=torch,jax task=time      a sweep, each a process
  python run.py task=parity model=s5 precision=fp64                   do the frameworks agree?
  python run.py task=time experiment=time_784 model=s4             a named set of settings
  python run.py model=s5 model.n=32 task.epochs=3 seed=1              any setting by its name

more
  python run.py model=s5 --cfg job      every setting with its value, for this choice of groups
  python run.py --hydra-help            Hydra's own options (--cfg, --multirun, completion ...)
  python -m bench.table results         tables from the records
  resume=true                           in a sweep: leave out what is done already
  HYDRA_FULL_ERROR=1 or debug=true      tracebacks
"""


def groups(conf: Path) -> list[str]:
    """The names of the configuration's groups, sorted."""
    return sorted(folder.name for folder in conf.iterdir() if folder.is_dir() and not is_foreign(folder.name))


def choices(conf: Path, group: str) -> list[str]:
    """The choices of one group, sorted; files whose name starts with an underscore are parts of others."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml") if not path.stem.startswith(("_", ".")))


def nearest(value: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name most like ``value``, or None where none is like it."""
    close = difflib.get_close_matches(value, list(names), n=1, cutoff=cutoff)
    return close[0] if close else None


def help_text(conf: Path) -> str:
    """What `python run.py --help` prints."""
    lines = ["usage: python run.py [-m] [group=choice ...] [setting=value ...]", ""]
    lines += ["Trains and times state-space models; each run leaves one record.", "", "groups"]
    names = [name for name in groups(conf) if name != "experiment"]
    width = max(len(name) for name in names) + 1
    beside = " " * (width + 1)
    lines += [wrapped(f"  {name + '=':<{width}} {' | '.join(choices(conf, name))}", beside) for name in names]
    experiments = choices(conf, "experiment")
    width = max(len(name) for name in experiments)
    lines += ["", "experiment="]
    purposes = {name: _purpose(conf / "experiment" / f"{name}.yaml") for name in experiments}
    lines += [wrapped(f"  {name:<{width}}  {purpose}", " " * (width + 2)) for name, purpose in purposes.items()]
    return "\n".join([*lines, "", _EXAMPLES])


def _purpose(path: Path) -> str:
    """The first comment line of an experiment that is neither its command nor Hydra's package line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "python run.py" not in line and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""
