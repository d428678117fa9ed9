"""One configuration -> its outcome: checked, run unless it is done, and a record of it.

No framework is imported here. The run itself is bench/runs/run.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measure import machine
from bench.measure.variables import stated
from bench.runs.check import Checked, check
from bench.runs.run import Run
from bench.store.files import RecordError
from bench.store.outcome import Outcome
from bench.store.records import find_done, new_record, read_record
from settings.progress import VOICE

Config = dict[str, Any]


def label(config: Mapping[str, Any]) -> str:
    """'s4 torch digits train': what tells the runs of a sweep apart."""
    groups = (config.get(name) for name in ("model", "framework", "dataset", "task"))
    names = (group.get("name") if isinstance(group, Mapping) else group for group in groups)
    return " ".join(name if isinstance(name, str) else "?" for name in names)


def title(config: Mapping[str, Any]) -> str:
    """The label behind the job's number in its sweep: '3/12 s4 torch digits train'."""
    return f"{VOICE.number} {label(config)}".strip()


@VOICE.beating()
def launch(config: Config, root: Path) -> Outcome:
    """Runs one configuration, in processes of its own. ValueError, before any long work, for what the user mends.

    Ctrl-C ends the run with a record that says so, and an Outcome with status interrupted.
    """
    VOICE.title = title(config)
    with VOICE.during("checking the settings and the data"):
        checked = check(config)
    folder = Path(config["results_dir"])
    record = new_record(
        config,
        code=machine.code_state(root),
        versions=machine.package_versions(config["framework"]["packages"]),
        machine=machine.describe_machine(),
        environment=stated(os.environ),
        device=checked.device,
        threads=checked.threads,
        data=_data(checked),
    )
    if config["resume"]:
        done = find_done(folder, record)
        if done is not None:
            return Outcome(title(config), "skipped", "done before", done, read_record(done))
    try:
        record = Run(config, checked, root, record, title(config)).record_of_all()
    except RecordError as error:  # the folder took files when the run began: a full disk, say
        return Outcome(title(config), "failed", str(error), None)
    return Outcome(title(config), record["status"], record["message"], folder / f"{record['id']}.json", record)


def _data(checked: Checked) -> dict[str, Any]:
    """The record's data section."""
    description = checked.description
    sizes = {"length": checked.length, "channels": description.channels, "classes": description.classes}
    assert description.counts is not None  # registry.prepare has found them
    origin = {name: getattr(description, name) for name in ("protocol", "selects_on_test", "generated")}
    return {**sizes, **{split: description.counts[split] for split in ("train", "validation", "test")}, **origin}
