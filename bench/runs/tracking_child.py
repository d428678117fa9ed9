"""The process that talks to W&B for bench/runs/tracking.py: JSON lines in, an answer a milestone or failure out.

The only module that imports wandb. It ends when its input ends, and it measures nothing.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from settings.screen import command

LEFT_SECONDS = 60.0  # that a run, whose parent is gone, may take to close


def main() -> None:
    # Answers keep the pipe for themselves: whatever wandb or its helpers print goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(call: str, error: str | None = None) -> None:
        answers.write(json.dumps({"call": call, "error": error}) + "\n")
        answers.flush()

    run: Any = None
    for line in os.fdopen(os.dup(0), encoding="utf-8"):
        message = json.loads(line)
        try:
            if message["call"] == "start":
                run = start(message["settings"], message["config"])
            elif message["call"] == "log":
                run.log(message["metrics"], step=message["step"])
                continue
            else:
                finish(run, message["record"], Path(message["record_path"]), message["table"])
                run = None
            answer(message["call"])
        except Exception as error:  # noqa: BLE001 - whatever wandb raises is told to the run, and ends this child only
            answer(message["call"], f"{type(error).__name__}: {error}")
            os._exit(1)  # wandb's own exit hooks may wait for a network
    if run is not None:  # the run's process is gone
        clock = threading.Timer(LEFT_SECONDS, os._exit, args=(1,))
        clock.daemon = True
        clock.start()
        run.finish(exit_code=1)


def start(settings: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """The W&B run of a configuration; files under settings['folder']/wandb."""
    import wandb

    return wandb.init(
        mode=settings["mode"],
        project=settings.get("project"),
        entity=settings.get("entity"),
        group=settings.get("group"),
        name=settings.get("name"),
        tags=settings.get("tags") or None,
        dir=settings["folder"],
        config=dict(config),
        # No console capture, no system statistics: they would take processor time from what is measured.
        settings=wandb.Settings(
            console="off",
            silent=True,
            init_timeout=30,
            login_timeout=10,
            save_code=False,
            x_disable_stats=True,
        ),
    )


def finish(run: Any, record: Mapping[str, Any], path: Path, table: list[Mapping[str, Any]]) -> None:
    """Summary, results table, and the record's file as an artifact; then wait until W&B has them."""
    import wandb

    run.summary.update(dict(summary(record)))
    if table:
        columns = list(table[0])
        run.log({"results": wandb.Table(columns=columns, data=[[row[name] for name in columns] for row in table])})
    artifact = wandb.Artifact(f"record-{record['id']}", type="record")
    artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish(exit_code=0 if record["status"] == "ok" else 1)


def summary(record: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The record's single figures by dotted name; lists, the configuration and null stay out."""
    for name, value in record.items():
        dotted = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            if name != "config":
                yield from summary(value, dotted)
        elif isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            yield dotted, value


if __name__ == "__main__":
    sys.exit(command(main))
