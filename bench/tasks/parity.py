"""task=parity: do two frameworks compute the same thing from the same weights and the same batches?

Two workers at once, one for each framework: each traces what it computes, takes some optimiser steps and traces again;
the traces are compared (bench/measure/agreement.py), and a certificate is kept. Not compared: speed, and dropout, whose
random numbers differ: the networks are built at dropout 0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.framework import FRAMEWORKS
from bench.measure import agreement, machine
from bench.measure.variables import compared
from bench.store import certificate
from bench.store.records import write_certificate
from bench.tasks.context import Context
from bench.tasks.settings import Common
from bench.tasks.task import Task
from bench.workers.protocol import Finish, Trace
from bench.workers.remote import RunEnded
from settings.errors import SettingError
from settings.progress import VOICE
from settings.rules import check_whole


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    """conf/task/parity.yaml. steps: of the optimiser, after which the parameters are compared again."""

    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("task.steps", self.steps)


def run(context: Context) -> None:
    """Certifies with the run's own settings; the run fails where the frameworks differ."""
    if missing := lacking(context):
        raise SettingError(
            "task", "parity", f"compares two frameworks, but {missing}", 'run pip install -e ".[bench]".'
        )
    made = certify(context, context.settings, recorded=True)
    context.record["certificate"] = certificate.for_record(made)
    if not made["passed"]:
        raise RunEnded("failed", certificate.differences(made))


def certify(context: Context, settings: Settings, recorded: bool) -> dict[str, Any]:
    """Has both frameworks trace what they compute, compares that, and writes the certificate.

    recorded: whether the run's own framework's worker stands for the run. Raises RunEnded where a side does not reach
    its end.
    """
    model = {**context.build.model, "dropout": 0.0}  # random numbers differ between frameworks
    own = context.build.framework
    with tempfile.TemporaryDirectory(prefix="ssm-bench-") as folder:
        paths = {name: Path(folder) / f"{name}.npz" for name in context.frameworks}
        workers = {}
        for name, framework in context.frameworks.items():
            build = context.build_of(settings, framework=name, compile=framework["compile"], model=model)
            workers[name] = context.start(build, recorded=recorded and name == own)
        for name, worker in workers.items():  # side by side, as nothing is timed
            worker.send(Trace(str(paths[name]), settings.steps))
            worker.send(Finish())
        ended = {}
        for name, worker in workers.items():
            try:
                context.begin(worker)
                with VOICE.during("tracing what the certificate compares"):
                    worker.receive()
                    worker.receive()
            except RunEnded as error:
                ended[name] = error
        if ended:
            raise unfinished(ended, list(workers))
        return _compared(context, settings, paths)


def key(context: Context, settings: Settings) -> str:
    """Of the certificate that these settings, versions and code would make."""
    build = context.build
    return certificate.certificate_key(
        model=build.model,
        problem=asdict(context.problem),
        precision=build.precision,
        optimiser={**settings.optimiser, "clip_norm": settings.clip_norm},
        steps=settings.steps,
        batch_size=settings.batch_size,
        compile={name: framework["compile"] for name, framework in context.frameworks.items()},
        device=build.device,
        code=_code(context),
        versions=_versions(context),
        variables=compared(context.record),
    )


def lacking(context: Context) -> str | None:
    """Which framework cannot be compared, and why; None where all can."""
    for name in context.frameworks:
        if missing := machine.missing_packages(name):
            return f"{name} is not whole here ({', '.join(missing)} not installed)"
    return None


def _compared(context: Context, settings: Settings, paths: Mapping[str, Path]) -> dict[str, Any]:
    first, second = sorted(paths)
    config = {
        "model": {**context.build.model, "dropout": 0.0},
        "dataset": dict(context.build.dataset),
        "task": {**vars(settings), "optimiser": dict(settings.optimiser)},
        "seed": context.build.seed,
        "environment": compared(context.record),
    }
    precision = context.build.precision
    errors = agreement.compare(paths[first], paths[second], precision)
    made = certificate.make(
        errors,
        passed=agreement.passed(errors),
        not_compared=agreement.not_compared(paths[first], paths[second], precision),
        key=key(context, settings),
        model=context.build.model["name"],
        config=config,
        precision=precision,
        code=_code(context),
        versions=_versions(context),
        machine=context.record["machine"],
    )
    write_certificate(made, context.results_dir)
    return made


def unfinished(ended: Mapping[str, RunEnded], sides: Collection[str]) -> RunEnded:
    """The end of a comparison of which some `sides` did not reach their own."""
    said = [f"{name}: {error}" for name, error in ended.items()]
    said += [f"{name} reached its end" for name in sides if name not in ended]
    first = next(iter(ended.values()))
    return RunEnded(first.status, "; ".join(said), first.trace)


def _versions(context: Context) -> dict[str, str]:
    packages = {package for name in context.frameworks for package in FRAMEWORKS[name].packages}
    return {name: str(version) for name, version in machine.package_versions(sorted(packages)).items()}


def _code(context: Context) -> str:
    return machine.code_hash(context.root / name for name in machine.CERTIFIED)


def _work(settings: Settings, sequences: int) -> str:
    return f"{settings.steps} steps, compared with the other framework's"


TASK = Task(Settings, run, work=_work)
