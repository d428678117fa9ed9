"""The parent's side of a run: check, find or make the certificate, start the worker, see that a record stays.

Imports no framework. Each run is a process of its own (bench/worker.py); one that died without a record gets
its record here.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bench import certificate, machine
from bench.check import Checked, check, missing_packages
from bench.choices import choices
from bench.environment import environment
from bench.files import RecordError
from bench.process import Start, run_workers
from bench.records import (
    find_done,
    new_record,
    read_record,
    set_status,
    write_certificate,
    write_record,
)
from bench.variables import compared, stated

Config = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a run ended. status: a record's status, refused (there is no record) or skipped (done before)."""

    label: str
    status: str
    message: str | None
    path: Path | None
    record: Mapping[str, Any] | None = None


def label(config: Mapping[str, Any]) -> str:
    """'s4 torch digits train': what tells the runs of a sweep apart."""
    groups = (config.get(name) for name in ("model", "framework", "dataset", "task"))
    return " ".join(str(group.get("name")) if isinstance(group, Mapping) else str(group) for group in groups)


def launch(config: Config, root: Path) -> Outcome:
    """Runs one configuration in its own process. ValueError, before any long work, for what the user mends.

    Ctrl-C ends the run with a record that says so, and an Outcome with status interrupted.
    """
    checked = check(config)
    code = machine.code_state(root)
    folder = Path(config["results_dir"])
    record = new_record(
        config,
        code=code,
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
            return Outcome(label(config), "skipped", "done before", done, read_record(done))
    run = _Run(config, checked, root, record)
    try:
        record = run.parity() if config["task"]["name"] == "parity" else run.measure()
    except KeyboardInterrupt:
        path = folder / f"{record['id']}.json"
        if not path.exists():
            set_status(record, "interrupted", "interrupted before the run began")
            write_record(record, folder)
        record = read_record(path)
    except RecordError as error:  # the folder took files when the run began: a full disk, say
        return Outcome(label(config), "failed", str(error), None)
    return Outcome(label(config), record["status"], record["message"], folder / f"{record['id']}.json", record)


def _data(checked: Checked) -> dict[str, Any]:
    """The record's data section."""
    description = checked.description
    sizes = {"length": checked.length, "channels": description.channels, "classes": description.classes}
    assert description.counts is not None  # registry.prepare has found them
    origin = {name: getattr(description, name) for name in ("protocol", "selects_on_test", "generated")}
    return {**sizes, **{split: description.counts[split] for split in ("train", "validation", "test")}, **origin}


class _Run:
    def __init__(self, config: Config, checked: Checked, root: Path, record: dict[str, Any]) -> None:
        self.config, self.checked, self.root, self.record = config, checked, root, record
        self.folder = Path(config["results_dir"]).resolve()
        self.frameworks = self._frameworks()
        self.parity_task = self._parity_task()

    def measure(self) -> dict[str, Any]:
        """task=train and task=time: the certificate first, then the worker."""
        if self.config["certificate"] != "skip":
            found, note = self._certificate()
            self.record["certificate"] = certificate.for_record(found)
            if note is not None:
                self.record["notes"].append(note)
                print(f"note: {note}", file=sys.stderr)
        return self._work([self.record], self.folder, [None])[0]

    def parity(self) -> dict[str, Any]:
        """task=parity: both frameworks' traces compared; the record is that of the chosen framework."""
        missing = self._missing()
        if missing:
            raise ValueError(f'task=parity: compares two frameworks, but {missing}; run pip install -e ".[bench]"')
        with tempfile.TemporaryDirectory(prefix="ssm-bench-") as folder:
            traces = self._traces(Path(folder))
            own = traces[self.config["framework"]["name"]]
            kept = {name: self.record[name] for name in ("id", "created", "config", "config_hash")}
            record = {**own, **kept}
            unfinished = certificate.unfinished(traces)
            if unfinished is not None:
                set_status(record, *unfinished)
            else:
                made = self._compare(traces, Path(folder))
                record["certificate"] = certificate.for_record(made)
                if not made["passed"]:
                    set_status(record, "failed", certificate.differences(made))
        write_record(record, self.folder)
        return record

    def _certificate(self) -> tuple[dict[str, Any] | None, str | None]:
        """The certificate, found or (certificate=auto) made, and what the record should say of it."""
        require = self.config["certificate"] == "require"
        missing = self._missing()
        found = None if missing else certificate.find(self.folder, self._key())
        if found is None and require:
            raise ValueError(
                f"certificate=require: {self.config['results_dir']} holds none for this model, precision, "
                "code and these versions; run task=parity with the same settings, or set certificate=auto."
            )
        if missing:
            return None, f"no certificate: {missing}"
        if found is None:
            names = " and ".join(sorted(self.frameworks))
            print(f"certificate: checking that {names} agree ...", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="ssm-bench-") as folder:
                traces = self._traces(Path(folder))
                if (unfinished := certificate.unfinished(traces)) is not None:
                    return None, f"no certificate: {unfinished[0]}: {unfinished[1]}"
                found = self._compare(traces, Path(folder))
        if found["passed"]:
            return found, None
        if require:
            raise ValueError(f"certificate=require: {found['id']} was not passed: {certificate.differences(found)}")
        return found, f"certificate not passed: {certificate.differences(found)}"

    def _frameworks(self) -> dict[str, Config]:
        """The two frameworks that a certificate compares: the chosen one, as it is set, and the other one."""
        own = self.config["framework"]
        conf = self.root / "conf"
        partner = next(name for name in choices(conf, "framework") if name != own["name"])
        other = OmegaConf.to_container(OmegaConf.load(conf / "framework" / f"{partner}.yaml"))
        assert isinstance(other, dict)
        return {own["name"]: own, partner: {str(name): value for name, value in other.items()}}

    def _parity_task(self) -> Config:
        """What a certificate for this run is taken with: conf/task/parity.yaml, and what the task shares with it."""
        task = self.config["task"]
        if task["name"] == "parity":
            return dict(task)
        settings = OmegaConf.to_container(OmegaConf.load(self.root / "conf" / "task" / "parity.yaml"))
        assert isinstance(settings, dict)
        own = {name: settings[name] for name in ("name", "batch_size", "steps")}
        return {**own, **{name: task[name] for name in ("length", "optimiser", "clip_norm")}}

    def _missing(self) -> str | None:
        for name, framework in self.frameworks.items():
            if missing := missing_packages(framework):
                return f"{name} is not whole here ({', '.join(missing)} not installed)"
        return None

    def _versions(self) -> dict[str, str]:
        packages = {package for framework in self.frameworks.values() for package in framework["packages"]}
        return {name: str(version) for name, version in machine.package_versions(sorted(packages)).items()}

    def _code(self) -> str:
        return machine.code_hash(self.root / name for name in machine.CERTIFIED)

    def _key(self) -> str:
        options, task = self.checked.options, self.parity_task
        sizes = {name: getattr(options, name) for name in ("d_input", "d_output", "padded", "documents")}
        return certificate.certificate_key(
            model=self.config["model"],
            sizes={**sizes, "length": self.checked.length},
            precision=self.config["precision"],
            optimiser={**task["optimiser"], "clip_norm": task["clip_norm"]},
            steps=task["steps"],
            batch_size=task["batch_size"],
            compile={name: framework["compile"] for name, framework in self.frameworks.items()},
            device=self.checked.device,
            code=self._code(),
            versions=self._versions(),
            variables=compared(self.record),
        )

    def _traces(self, folder: Path) -> dict[str, dict[str, Any]]:
        """What each framework computes, in its own process: folder/<framework>.npz and the runs' records."""
        records, paths = {}, {}
        shared = ("code", "machine", "environment", "device", "threads", "data")
        for name, framework in self.frameworks.items():
            config = {
                **self.config,
                "framework": framework,
                "model": {**self.config["model"], "dropout": 0.0},  # random numbers differ between frameworks
                "task": self.parity_task,
                "wandb": {**self.config["wandb"], "mode": "disabled"},
            }
            records[name] = new_record(config, **{key: self.record[key] for key in shared})
            paths[name] = folder / f"{name}.npz"
        # Side by side, as nothing is timed.
        done = self._work(list(records.values()), folder, list(paths.values()))
        return dict(zip(records, done, strict=True))

    def _compare(self, traces: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        first, second = sorted(traces)
        made = certificate.make(
            folder / f"{first}.npz",
            folder / f"{second}.npz",
            key=self._key(),
            model=self.config["model"]["name"],
            config={name: traces[first]["config"][name] for name in ("model", "dataset", "task", "seed")}
            | {"environment": compared(self.record)},
            precision=self.config["precision"],
            code=self._code(),
            versions=self._versions(),
            machine=self.record["machine"],
        )
        write_certificate(made, self.folder)
        return made

    def _work(self, records: list[dict[str, Any]], folder: Path, traces: Sequence[Path | None]) -> list[dict[str, Any]]:
        """Has workers do the runs of `records`; returns the records that they, or in their stead this process,
        wrote.

        KeyboardInterrupt, once the records are written, where Ctrl-C ended the runs.
        """
        starts = [self._start(record, folder, trace) for record, trace in zip(records, traces, strict=True)]
        endings = run_workers(starts)
        paths = [folder / f"{record['id']}.json" for record in records]
        for path, record, ending in zip(paths, records, endings, strict=True):
            if not path.exists():
                set_status(record, *ending.verdict())
                write_record(record, folder)
        if any(ending.interrupted for ending in endings):
            raise KeyboardInterrupt
        return [read_record(path) for path in paths]

    def _start(self, record: dict[str, Any], folder: Path, trace: Path | None) -> Start:
        own = record["config"]["framework"]
        others = [framework for name, framework in self.frameworks.items() if name != own["name"]]
        strangers = {package for framework in others for package in framework["packages"]}
        job = {
            "record": record,
            "results_dir": str(folder),
            "trace": None if trace is None else str(trace),
            "strangers": sorted(strangers - set(own["packages"])),
        }
        config = record["config"]
        cache = config["compile_cache"]
        variables = environment(record["threads"], self.checked.device, config["precision"], os.environ, cache)
        return Start([sys.executable, str(self.root / "run.py"), "--worker"], json.dumps(job), variables)
