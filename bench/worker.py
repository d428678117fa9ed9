"""The worker's side of a run: one process, one framework, one record.

Reads its job from standard input, loads the adapter, the data and the model, runs the task and writes the
record, however the run ends. Standard input stays open while the parent lives: its end means that the
parent is gone, and the run stops. What it cannot do: write a record after SIGKILL; the parent does that
(bench/launch.py).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from bench import machine, memory
from bench.check import model_options
from bench.environment import bind
from bench.files import RecordError
from bench.framework import Adapter, Diverged, ModelSpec, OptimiserSpec, Trainer
from bench.parity import parity_task
from bench.plan import plan
from bench.records import set_status, write_record
from bench.timing import time_task
from bench.tracking import Tracker
from bench.training import hold_limit, train_task
from datasets import registry
from datasets.data import Dataset
from datasets.progress import VOICE
from datasets.reasons import said
from ssm.network import initial, ssm_parameter_names, statistic_names
from ssm.operations import operations

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_WORDS_SECONDS = 30.0  # what a worker whose parent is gone may take to write its record
MakeAdapter = Callable[..., Adapter]
LoadAdapter = Callable[[str], MakeAdapter]


def work(load_adapter: LoadAdapter) -> int:
    """Does the job that standard input holds; the exit status is 0 if the record says ok, else 1.

    load_adapter: from a framework's name to models_<name>.adapter.adapter, importing the framework.
    """
    job = receive()
    interruption = Interruption()
    record = job["record"]
    VOICE.title = job["title"]
    with VOICE.beating(), Tracker(record["config"]["wandb"], job["results_dir"]) as tracker:
        status, message = _run(job, load_adapter, tracker, interruption)
        interruption.ignore()
        set_status(record, status, message)
        try:
            path = write_record(record, job["results_dir"])
            with VOICE.during("waiting for W&B"):
                notes = tracker.finish(record, path, _results(record))
            if notes:
                record["notes"] += notes
                write_record(record, job["results_dir"])
        except RecordError as error:  # a full disk, say
            VOICE.say(str(error))
            return 1
    return 0 if status == "ok" else 1


def _results(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The results table that W&B shows; none is made for a run that nobody tracks."""
    if record["config"]["wandb"]["mode"] == "disabled":
        return []
    from bench.table import result_rows  # here, after the measuring, because it loads pandas

    return result_rows(record)


def _run(
    job: dict[str, Any], load_adapter: LoadAdapter, tracker: Tracker, interruption: Interruption
) -> tuple[str, str | None]:
    """Runs the job, filling its record; how it ended: status and message."""
    record = job["record"]
    run = Run(job, load_adapter)
    try:
        interruption.allow()
        with VOICE.during("waiting for W&B"):
            tracker.start(record["config"], record["id"])
        with VOICE.during("importing the framework, loading the data and building the model"):
            run.measure(tracker)
    except KeyboardInterrupt as error:
        return "interrupted", str(error) or "interrupted"
    except Diverged as error:
        return "diverged", str(error)
    except Exception as error:  # noqa: BLE001 - whatever happened belongs in the record
        record["notes"].append(f"traceback: {traceback.format_exc()}")
        if record["config"]["debug"]:
            traceback.print_exc()
        if interruption.reason is not None:  # the signal came out of a library as another exception
            return "interrupted", interruption.reason
        message = said(error)
        return ("out_of_memory" if run.is_out_of_memory(error) else "failed"), message
    return "ok", None


def receive() -> dict[str, Any]:
    """The job: one line of JSON. Read without a buffer, as the lifeline reads on from the same file."""
    line = bytearray()
    while not line.endswith(b"\n"):
        read = os.read(0, 65536)
        if not read:
            raise SystemExit("run.py --worker: for run.py itself; its standard input must hold a job")
        line += read
    job: dict[str, Any] = json.loads(line)
    return job


class Interruption:
    """Turns the first SIGINT or SIGTERM, or the parent's end, into KeyboardInterrupt; ignores later ones."""

    def __init__(self) -> None:
        self.reason: str | None = None
        for number in SIGNALS:
            signal.signal(number, self._interrupt)
        self._orphaned = False
        threading.Thread(target=self._lifeline, daemon=True).start()

    def allow(self) -> None:
        """Lets in the signals that run.py has held back since the worker's first line."""
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def ignore(self) -> None:
        """From here on nothing interrupts: the record is being written."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, number: int, _: object) -> None:
        self.ignore()
        name = signal.Signals(number).name
        gone = "run.py, which started this run, is gone"
        self.reason = gone if self._orphaned else f"interrupted by {name}"
        raise KeyboardInterrupt(self.reason)

    def _lifeline(self) -> None:
        while os.read(0, 1):
            pass
        self._orphaned = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_WORDS_SECONDS)
        os._exit(1)  # stuck in a compiler, say: nobody waits for this process


class Run:
    """One run from the import of the framework to the last figure; fills the record on its way."""

    def __init__(self, job: dict[str, Any], load_adapter: LoadAdapter) -> None:
        self.job, self.load_adapter = job, load_adapter
        self.record: dict[str, Any] = job["record"]
        self.config: dict[str, Any] = self.record["config"]
        self.task: dict[str, Any] = self.config["task"]
        self.adapter: Adapter | None = None
        self.ledger: dict[str, float] = {}

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether memory ran out, in NumPy or, as its adapter knows, in the framework."""
        return isinstance(error, MemoryError) or (self.adapter is not None and self.adapter.is_out_of_memory(error))

    def measure(self, tracker: Tracker) -> None:
        """The task named in the configuration, or the trace for a certificate."""
        self.record["ledger"] = self.ledger
        self._load_framework()
        data = self._load_data()
        # After the imports, the adapter and the data, before the model.
        baseline_bytes = memory.baseline()
        trainer, counted = self._build(data)
        self._be_alone()
        seed = self.config["seed"]
        VOICE.report(plan(self.record, len(data.train.targets)))
        if self.task["name"] == "parity":
            with VOICE.during("tracing what the certificate compares"):
                parity_task(trainer, data, self.task, self.job["trace"], seed)
        elif self.task["name"] == "time":
            time_task(
                trainer,
                data,
                self.task,
                self.record,
                seed=seed,
                operations=counted,
                baseline_bytes=baseline_bytes,
            )
        else:
            assert self.adapter is not None
            limit = hold_limit(self.adapter.device())
            train_task(
                trainer,
                data,
                self.task,
                self.record,
                seed=seed,
                ledger=self.ledger,
                on_epoch=lambda entry: tracker.log(entry["step"], entry),
                hold_bytes=limit,
            )
            self.record["memory"] = memory.PeakMeter(trainer, baseline_bytes).section()
        self._be_alone()

    def _load_framework(self) -> None:
        framework = self.config["framework"]
        begin = time.perf_counter()
        make = self.load_adapter(framework["name"])
        self.adapter = make(
            hardware=self.record["device"],  # what hardware=auto means was decided by the parent
            precision=self.config["precision"],
            threads=self.record["threads"],
            compile=framework["compile"],
        )
        self.ledger["import_seconds"] = time.perf_counter() - begin
        device = self.adapter.device()
        self.record["device"] = device["kind"]
        if device["kind"] == "gpu":
            gpu = {key: device[key] for key in ("name", "memory_bytes")}
            self.record["machine"]["gpu"] = {**gpu, "driver": machine.gpu_driver()}
        # The packages' installed versions, as the parent looks them up, come first: resume compares them.
        versions = self.adapter.versions() | {"numpy": np.__version__}
        self.record["versions"] = versions | (self.record["versions"] or {})

    def _load_data(self) -> Dataset:
        begin = time.perf_counter()
        data = registry.load(self.config["dataset"], self.config["data_dir"], self.config["seed"])
        self.ledger["data_seconds"] = time.perf_counter() - begin
        return data

    def _build(self, data: Dataset) -> tuple[Trainer, dict[str, float]]:
        """The trainer from initial values that are the same in each framework, and the step's operations."""
        assert self.adapter is not None
        begin = time.perf_counter()
        length = self.task["length"] or data.description.length
        options = model_options(self.config["model"], data.description, length)
        self.record["algorithm"] = ", ".join(dict.fromkeys(layer.chosen for layer in options.layers))
        values = initial(options, self.config["seed"])
        statistics = statistic_names(options)
        count = sum(value.size for name, value in values.items() if name not in statistics)
        width = 8 if self.config["precision"] == "fp64" else 4
        self.record["parameters"] = {"count": count, "bytes": count * width}
        spec = ModelSpec(self.config["model"]["name"], options, values, ssm_parameter_names(options))
        optimiser = OptimiserSpec(**self.task["optimiser"], clip_norm=self.task["clip_norm"])
        trainer = self.adapter.build(spec, optimiser, self.config["seed"])
        self.ledger["build_seconds"] = time.perf_counter() - begin
        return trainer, asdict(operations(options, self.task["batch_size"], count))

    def _be_alone(self) -> None:
        """One framework a process: the packages of the others must not have come in by a side door."""
        loaded = sorted(name for name in self.job["strangers"] if name in sys.modules)
        if loaded:
            raise RuntimeError(f"{', '.join(loaded)} was imported beside {self.config['framework']['name']}")


def start(load_adapter: LoadAdapter) -> int:
    """Entry of `run.py --worker`: binds the process to its cores first, then works."""
    bind(int(os.environ["OMP_NUM_THREADS"]))
    return work(load_adapter)
