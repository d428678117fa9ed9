"""The parent's side of a run: check, find or make the certificate, start the worker, see that a record stays.

Imports no framework. Each run is a process of its own (bench/worker.py); one that died without a record gets
its record here.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bench import certificate, machine
from bench.check import Checked, check, missing_packages
from bench.choices import choices
from bench.environment import environment
from bench.process import run_worker
from bench.records import (
    find_done,
    new_record,
    read_record,
    set_status,
    write_certificate,
    write_record,
)

GRACE_SECONDS = 60.0  # for an interrupted worker to write its record
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
        device=checked.device,
        threads=checked.threads,
    )
    if config["resume"]:
        done = find_done(folder, record["config_hash"], code["hash"])
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
    return Outcome(label(config), record["status"], record["message"], folder / f"{record['id']}.json", record)


class _Run:
    def __init__(self, config: Config, checked: Checked, root: Path, record: dict[str, Any]) -> None:
        self.config, self.checked, self.root, self.record = config, checked, root, record
        self.folder = Path(config["results_dir"]).resolve()
        self.frameworks = self._frameworks()

    def measure(self) -> dict[str, Any]:
        """task=train and task=time: the certificate first, then the worker."""
        if self.config["certificate"] != "skip":
            found, note = self._certificate()
            self.record["certificate"] = certificate.for_record(found)
            if note is not None:
                self.record["notes"].append(note)
                print(f"note: {note}", file=sys.stderr)
        return self._work(self.record, self.folder)

    def parity(self) -> dict[str, Any]:
        """task=parity: both frameworks' traces compared; the record is that of the chosen framework."""
        missing = self._missing()
        if missing:
            raise ValueError(f"task=parity: compares two frameworks, but {missing}; run pip install -e .")
        with tempfile.TemporaryDirectory(prefix="ssm-bench-") as folder:
            traces = self._traces(self.config["task"], Path(folder))
            own = traces[self.config["framework"]["name"]]
            kept = {name: self.record[name] for name in ("id", "created", "config", "config_hash")}
            record = {**own, **kept}
            failed = [trace for trace in traces.values() if trace["status"] != "ok"]
            if failed:
                set_status(record, failed[0]["status"], f"{failed[0]['framework']}: {failed[0]['message']}")
            else:
                made = self._compare(traces, Path(folder))
                record["certificate"] = certificate.for_record(made)
                if not made["passed"]:
                    set_status(record, "failed", _differences(made))
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
            settings = OmegaConf.load(self.root / "conf" / "task" / "parity.yaml")
            task = {name: self.config["task"][name] for name in ("length", "optimiser", "clip_norm")}
            batch_size = min(settings.batch_size, self.config["task"]["batch_size"])
            task |= {"name": "parity", "batch_size": batch_size, "steps": settings.steps}
            with tempfile.TemporaryDirectory(prefix="ssm-bench-") as folder:
                traces = self._traces(task, Path(folder))
                for name, trace in traces.items():
                    if trace["status"] != "ok":
                        return None, f"no certificate: {name} {trace['status']}: {trace['message']}"
                found = self._compare(traces, Path(folder))
        if found["passed"]:
            return found, None
        if require:
            raise ValueError(
                f"certificate=require: {found['id']} says that the frameworks differ: {_differences(found)}"
            )
        return found, f"certificate not passed: {_differences(found)}"

    def _frameworks(self) -> dict[str, Config]:
        """The two frameworks that a certificate compares: the chosen one, as it is set, and the other one."""
        own = self.config["framework"]
        conf = self.root / "conf"
        partner = next(name for name in choices(conf, "framework") if name != own["name"])
        other = OmegaConf.to_container(OmegaConf.load(conf / "framework" / f"{partner}.yaml"))
        assert isinstance(other, dict)
        return {own["name"]: own, partner: {str(name): value for name, value in other.items()}}

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
        options, task = self.checked.options, self.config["task"]
        return certificate.certificate_key(
            model=self.config["model"],
            sizes={"d_input": options.d_input, "d_output": options.d_output, "length": self.checked.length},
            precision=self.config["precision"],
            optimiser={**task["optimiser"], "clip_norm": task["clip_norm"]},
            device=self.checked.device,
            code=self._code(),
            versions=self._versions(),
        )

    def _traces(self, task: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
        """What each framework computes, in its own process: folder/<framework>.npz and the runs' records."""
        traces = {}
        shared = ("code", "machine", "device", "threads")
        for name, framework in self.frameworks.items():
            config = {
                **self.config,
                "framework": framework,
                "model": {**self.config["model"], "dropout": 0.0},  # random numbers differ between frameworks
                "task": dict(task),
                "wandb": {**self.config["wandb"], "mode": "disabled"},
            }
            record = new_record(config, **{key: self.record[key] for key in shared})
            traces[name] = self._work(record, folder, folder / f"{name}.npz")
            if traces[name]["status"] != "ok":
                break
        return traces

    def _compare(self, traces: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
        first, second = sorted(traces)
        made = certificate.make(
            folder / f"{first}.npz",
            folder / f"{second}.npz",
            key=self._key(),
            model=self.config["model"]["name"],
            config={name: traces[first]["config"][name] for name in ("model", "dataset", "task", "seed")},
            precision=self.config["precision"],
            code=self._code(),
            versions=self._versions(),
            machine=self.record["machine"],
        )
        write_certificate(made, self.folder)
        return made

    def _work(self, record: dict[str, Any], folder: Path, trace: Path | None = None) -> dict[str, Any]:
        """Has a worker do `record`'s run; returns the record that it, or in its stead this process, wrote.

        KeyboardInterrupt, once the record is written, where Ctrl-C ended the run.
        """
        config = record["config"]
        strangers = {
            package
            for name, framework in self.frameworks.items()
            for package in framework["packages"]
            if name != config["framework"]["name"]
        }
        job = {
            "record": record,
            "results_dir": str(folder),
            "trace": None if trace is None else str(trace),
            "strangers": sorted(strangers - set(config["framework"]["packages"])),
        }
        variables = environment(
            record["threads"],
            config["hardware"]["name"],
            self.checked.device,
            config["precision"],
            os.environ,
        )
        path = folder / f"{record['id']}.json"
        command = [sys.executable, str(self.root / "run.py"), "--worker"]
        ending = run_worker(command, json.dumps(job), variables)
        if not path.exists():
            set_status(record, *ending.verdict())
            write_record(record, folder)
        if ending.interrupted:
            raise KeyboardInterrupt
        return read_record(path)


def _differences(made: Mapping[str, Any]) -> str:
    """The groups of tensors that are out of bounds, and their worst tensor."""
    worse = [
        f"{group} {entry['error']:.1e} > {entry['bound']:.0e} ({entry['worst']})"
        for group, entry in made["errors"].items()
        if entry is not None and entry["error"] is not None and entry["error"] > entry["bound"]
    ]
    return "the frameworks differ: " + ("; ".join(worse) or "a value is not finite")
