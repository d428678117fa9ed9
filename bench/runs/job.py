"""One configuration -> its outcome: checked, run unless it is done, and a record of it however it ends.

`job` can be called in any process, on any machine that has this tree: by the command, by a launcher that forks, by a
scheduler. No framework is imported here. The run itself is bench/runs/run.py.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.framework import FRAMEWORKS
from bench.measure import machine
from bench.measure.variables import stated
from bench.runs.check import CONF, Checked, check
from bench.runs.leases import lease
from bench.runs.refusals import explain
from bench.runs.run import Run
from bench.store.files import RecordError
from bench.store.outcome import Outcome
from bench.store.records import find_done, new_record, plain, read_record, refused_record, set_status, write_record
from bench.tasks import registry
from settings.progress import VOICE
from settings.reasons import said

ROOT = Path(__file__).resolve().parents[2]
Config = Mapping[str, Any]


def label(config: Config) -> str:
    """'s4 torch digits train': what tells the runs of a sweep apart."""
    groups = (config.get(name) for name in ("model", "framework", "dataset", "task"))
    names = (group.get("name") if isinstance(group, Mapping) else group for group in groups)
    return " ".join(name if isinstance(name, str) else "?" for name in names)


def title(config: Config) -> str:
    """The label behind the job's number in its sweep: '3/12 s4 torch digits train'."""
    sweep = config.get("sweep")
    number = f"{sweep.get('number')}/{sweep.get('count')} " if isinstance(sweep, Mapping) else ""
    return number + label(config)


@VOICE.beating()
def job(config: Any) -> Outcome:
    """Runs one configuration, a mapping or Hydra's, in processes of its own. It raises nothing.

    What the user mends ends as `refused`, before any long work, Ctrl-C as `interrupted`, whatever goes wrong as
    `failed`; each leaves a record that says so, unless results_dir takes none.
    """
    config = OmegaConf.create(config)
    given = plain(OmegaConf.to_container(config))
    VOICE.title = title(given)
    try:
        given = plain(OmegaConf.to_container(config, resolve=True))
        VOICE.title = title(given)
        return _launched(given)
    except (ValueError, OmegaConfBaseException) as error:
        _show(given)
        return _not_run(given, "refused", explain(error, CONF, []))
    except KeyboardInterrupt:
        return _not_run(given, "interrupted", "interrupted before the run began")
    except Exception as error:  # noqa: BLE001 - a mistake of ours is this job's end, and no other's
        traceback.print_exc()
        return _not_run(given, "failed", f"{type(error).__name__}: {said(error)}")


def _launched(config: dict[str, Any]) -> Outcome:
    """The run, or what is there of it. ValueError, before any long work, for what the user mends."""
    with VOICE.during("checking the settings and the data"):
        checked = check(config)
    folder = Path(config["results_dir"])
    record = new_record(
        config,
        code=machine.code_state(ROOT),
        versions=machine.package_versions(FRAMEWORKS[config["framework"]["name"]].packages),
        machine=machine.describe_machine(),
        environment=stated(os.environ),
        device=checked.device,
        threads=checked.threads,
        data=_data(checked),
    )
    if config["resume"] is True:
        done = find_done(folder, record)
        if done is not None:
            return Outcome(title(config), "skipped", "done before", _place(done), read_record(done))
    try:
        record = _run(config, checked, record)
    except RecordError as error:  # the folder took files when the run began: a full disk, say
        return Outcome(title(config), "failed", str(error), None)
    return Outcome(title(config), record["status"], record["message"], _place(folder / f"{record['id']}.json"), record)


def _run(config: dict[str, Any], checked: Checked, record: dict[str, Any]) -> dict[str, Any]:
    """The finished record; the run has its cores for itself, unless lease=false."""
    if not config["lease"]:
        return Run(config, checked, ROOT, record, title(config)).record_of_all()
    whole = registry.find(config["task"]["name"]).exclusive
    with lease(None if whole else checked.threads, label(config), VOICE.say) as held:
        return Run(config, checked, ROOT, record, title(config), held).record_of_all()


def _not_run(config: dict[str, Any], status: str, message: str) -> Outcome:
    """The outcome, and the record, of a configuration that came to no run of its own."""
    record = refused_record(config, message)
    if status != "refused":
        set_status(record, status, message)
    try:
        path = write_record(record, str(config["results_dir"]))
    except (RecordError, KeyError, OSError, ValueError):  # the reason may be that very folder
        return Outcome(title(config), status, message, None)
    return Outcome(title(config), status, message, _place(path), record)


def _place(path: Path) -> Path:
    """The path as it was given; whole where Hydra has changed the folder for this job alone."""
    if HydraConfig.initialized() and Path(HydraConfig.get().runtime.cwd) != Path.cwd():
        return path.absolute()
    return path


def _show(config: Config) -> None:
    if config.get("debug") is True:
        traceback.print_exc()


def _data(checked: Checked) -> dict[str, Any]:
    """The record's data section."""
    description, problem = checked.description, checked.problem
    sizes = {"length": problem.length, "channels": problem.channels or 1, "classes": problem.classes}
    assert description.counts is not None  # registry.prepare has found them
    origin = {name: getattr(description, name) for name in ("protocol", "selects_on_test", "generated")}
    return {**sizes, **{split: description.counts[split] for split in ("train", "validation", "test")}, **origin}
