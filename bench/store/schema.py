"""The shape of a record and of a certificate, schema version 2, and the pure checks of it.

results/README.md says what each field means. A field has its kind and its range (bench/store/kinds.py), and fields
agree with each other (bench/store/consistency.py); whether a figure is plausible is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.store import consistency, kinds
from bench.store.kinds import SAFE_NAME as SAFE_NAME  # part of what this module offers

SCHEMA = 2
STATUSES = ("ok", "out_of_memory", "diverged", "interrupted", "stopped", "failed", "refused")
PHASES = ("train_step", "forward", "recurrent_step")
PRECISIONS = ("fp32", "fp64", "tf32", "bf16")
DEVICES = ("cpu", "gpu")

# A section is a mapping of exactly these names; every value in it may be null ("not measured").
Section = dict[str, Any]


@dataclass(frozen=True)
class Each:
    """A list of sections."""

    section: Section


_HASH = kinds.digits_of_hash(64)
_COMMIT = kinds.digits_of_hash(40, 64)  # git's two kinds
_VERSIONS = kinds.mapping_of(kinds.name, kinds.name, nulls=True)
_PRECISION = kinds.one_of(*PRECISIONS)
_SPREAD: Section = {"median": kinds.amount, "iqr": kinds.amount, "samples": kinds.list_of(kinds.amount)}
_STEP: Section = {
    **_SPREAD,
    "by_process": kinds.list_of(kinds.list_of(kinds.amount)),
    "single": _SPREAD,
    "steps_per_round": kinds.count,
}
_EPOCH: Section = {
    "epoch": kinds.count,
    "step": kinds.count,
    "train_loss": kinds.cross_entropy,
    "train_accuracy": kinds.share,
    "validation_loss": kinds.cross_entropy,
    "validation_accuracy": kinds.share,
    "rate_scale": kinds.amount,
    "seconds": kinds.amount,
}
_MACHINE: Section = {
    "cpu": kinds.text,
    "cores": kinds.count,
    "logical_cores": kinds.count,
    "usable_cores": kinds.count,
    "memory_bytes": kinds.count,
    "system": kinds.text,
    "python": kinds.text,
    "gpu": {"name": kinds.text, "memory_bytes": kinds.count, "driver": kinds.text},
}

RECORD: Section = {
    "schema": kinds.count,
    "id": kinds.file_name,
    "created": kinds.moment,
    "status": kinds.one_of(*STATUSES),
    "message": kinds.name,
    "task": kinds.name,
    "model": kinds.name,
    "algorithm": kinds.name,
    "framework": kinds.name,
    "dataset": kinds.name,
    "precision": _PRECISION,
    "seed": kinds.whole,
    "config": kinds.mapping,
    "config_hash": _HASH,
    "code": {"commit": _COMMIT, "dirty": kinds.flag, "hash": _HASH},
    "versions": _VERSIONS,
    "machine": _MACHINE,
    "environment": {
        "values": kinds.mapping_of(kinds.name, kinds.text),
        "dropped": kinds.list_of(kinds.name),
        "names": kinds.list_of(kinds.name),
    },
    "device": kinds.one_of(*DEVICES),
    "threads": kinds.count,
    "data": {
        **{name: kinds.count for name in ("length", "channels", "classes")},
        **{name: kinds.whole for name in ("train", "validation", "test")},
        "protocol": kinds.name,
        "selects_on_test": kinds.flag,
        "generated": kinds.flag,
    },
    "parameters": {"count": kinds.whole, "bytes": kinds.whole},
    "timing": {
        **{f"{phase}_seconds": _STEP for phase in PHASES},
        "compile_seconds": _SPREAD,
        "first_call_seconds": kinds.mapping_of(kinds.one_of(*PHASES, "evaluate"), kinds.amount, nulls=True),
    },
    "throughput": {"samples_per_second": kinds.amount, "tokens_per_second": kinds.amount},
    "memory": {
        "peak_bytes": kinds.whole,
        "steady_peak_bytes": kinds.whole,
        "baseline_bytes": kinds.whole,
        "source": kinds.name,
        "compiled_bytes": kinds.whole,
    },
    "operations": {
        "forward_flops": kinds.amount,
        "train_step_flops": kinds.amount,
        "forward_bytes": kinds.amount,
        "train_step_bytes": kinds.amount,
    },
    "accuracy": {"validation": kinds.share, "test": kinds.share},
    "loss": {name: kinds.cross_entropy for name in ("train", "validation", "test")},
    # a loss that is not finite is null
    "curve": {"step_loss": kinds.list_of(kinds.cross_entropy, nulls=True), "epochs": Each(_EPOCH)},
    "ledger": {
        "import_seconds": kinds.amount,
        "build_seconds": kinds.amount,
        "compile_seconds": kinds.amount,
        "data_seconds": kinds.amount,
        "step_seconds": kinds.amount,
        "evaluation_seconds": kinds.amount,
    },
    "certificate": {
        "id": kinds.file_name,
        "error": kinds.amount,
        "bound": kinds.bound,
        "precision": _PRECISION,
        "passed": kinds.flag,
    },
    "notes": kinds.list_of(kinds.text),
}
OWN = "own"  # beside them, in records of tasks that have sections of their own and in no others
ALWAYS = (
    *("schema", "id", "created", "status", "task", "model", "framework", "dataset", "precision", "seed"),
    *("config", "config_hash", "notes"),
)  # these are never null
COPIED = ("task", "model", "framework", "dataset", "precision", "seed")  # from config; of a refused one, what can be

_ERROR: Section = {"error": kinds.amount, "bound": kinds.bound, "worst": kinds.name}
CERTIFICATE: Section = {
    "schema": kinds.count,
    "id": kinds.file_name,
    "created": kinds.moment,
    "passed": kinds.flag,
    "precision": _PRECISION,
    "model": kinds.name,
    "config": kinds.mapping,
    "config_hash": _HASH,
    "code_hash": _HASH,
    "versions": _VERSIONS,
    "machine": _MACHINE,
    "errors": {name: _ERROR for name in ("outputs", "logits", "loss", "gradients", "parameters_1", "parameters_10")},
    "error": kinds.amount,
}
CERTIFICATE_ALWAYS = ("schema", "id", "created", "passed", "precision", "model", "config_hash", "code_hash")


def upgraded(document: Any) -> Any:
    """A document of schema 1 as one of schema 2, which says of a record which algorithm ran; others as they are.

    A data section from before it said whose split it is gets nulls in those places, a step's section from before it had
    its samples by process, and a record from before it said what the shell had set.
    """
    if not isinstance(document, Mapping):
        return document
    if kinds.is_whole(schema := document.get("schema")) and schema == 1:
        document = {**document, "schema": 2, **({"algorithm": None} if "status" in document else {})}
    if "status" in document:
        document = {"environment": None, **document}
    if isinstance(data := document.get("data"), Mapping):
        document = {**document, "data": {**dict.fromkeys(("protocol", "selects_on_test", "generated")), **data}}
    if isinstance(timing := document.get("timing"), Mapping):
        document = {**document, "timing": {name: _by_process(value) for name, value in timing.items()}}
    return document


def _by_process(section: Any) -> Any:
    """A step's section from before it said which process its samples are of: null there, one process it was."""
    if isinstance(section, Mapping) and "steps_per_round" in section:
        return {"by_process": None, **section}
    return section


def validate(record: Any) -> list[str]:
    """Everything wrong with a record, as sentences that name the field; empty for a record of this schema.

    What a task's own sections hold is the task's to say: see validate_own.
    """
    if not isinstance(record, Mapping):
        return _document(record, RECORD, ALWAYS)
    shared = {name: value for name, value in record.items() if name != OWN}
    refused = record.get("status") == "refused"
    problems = _document(shared, RECORD, tuple(name for name in ALWAYS if not (refused and name in COPIED)))
    if OWN in record and not isinstance(record[OWN], Mapping):
        problems.append(f"{OWN}: an object was expected, not {record[OWN]!r}"[:300])
    return problems or consistency.of_record(shared)


def validate_own(own: Mapping[str, Any], sections: Section) -> list[str]:
    """Everything wrong with what a task has written below `own`, of which it has said the `sections`."""
    return _against(own, sections, f"{OWN}.")


def validate_certificate(certificate: Any) -> list[str]:
    """Everything wrong with a certificate, as `validate` does for records."""
    return _document(certificate, CERTIFICATE, CERTIFICATE_ALWAYS) or consistency.of_certificate(certificate)


def filled(document: Mapping[str, Any], section: Section) -> dict[str, Any]:
    """A copy in which each name of `section` that a present mapping lacks stands as null."""
    result = {name: document.get(name) for name in section}
    for name, inner in section.items():
        value = result[name]
        if isinstance(inner, dict) and isinstance(value, Mapping):
            result[name] = filled(value, inner)
        elif isinstance(inner, Each) and isinstance(value, list):
            result[name] = [filled(item, inner.section) if isinstance(item, Mapping) else item for item in value]
    return {**result, **{name: value for name, value in document.items() if name not in section}}


def _document(document: Any, section: Section, always: tuple[str, ...]) -> list[str]:
    if not isinstance(document, Mapping):
        return [f"a JSON object was expected, not {type(document).__name__}"]
    if document.get("schema") != SCHEMA:
        return [f"schema: {document.get('schema')!r} is unknown; this version reads schemas 1 to {SCHEMA}"]
    problems = _against(document, section, "")
    return problems + [f"{name}: null, but every file states it" for name in always if document.get(name, "") is None]


def _against(value: Mapping[str, Any], section: Section, path: str) -> list[str]:
    problems = [f"{path}{name}: missing" for name in section if name not in value]
    problems += [f"{path}{name}: unknown name in schema {SCHEMA}"[:300] for name in value if name not in section]
    for name, expected in section.items():
        if (item := value.get(name)) is not None:
            problems += _field(item, expected, path + name)
    return problems


def _field(item: Any, expected: Any, path: str) -> list[str]:
    if isinstance(expected, Each) and isinstance(item, list):
        entries = enumerate(item, start=1)
        return [problem for at, own in entries for problem in _field(own, expected.section, f"{path}, entry {at}")]
    if isinstance(expected, dict) and isinstance(item, Mapping):
        return _against(item, expected, f"{path}.")
    if isinstance(expected, dict):
        wanted: str | None = "an object"
    else:
        wanted = "a list" if isinstance(expected, Each) else expected(item)
    return [] if wanted is None else [f"{path}: {wanted} was expected, not {item!r}"[:300]]
