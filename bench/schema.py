"""The shape of a record and of a certificate, schema version 2, and the pure checks of it.

results/README.md says what each field means. The check looks at names, kinds and the few rules between
fields; it does not judge whether a figure is plausible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

SCHEMA = 2
STATUSES = ("ok", "out_of_memory", "diverged", "interrupted", "failed")
PHASES = ("train_step", "forward", "recurrent_step")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}")

Check = Callable[[Any], str | None]  # what is wrong with a value, or None


def _number(value: Any) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"


def _integer(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a string"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else "an object"


def _list_of(check: Check) -> Check:
    def of_list(value: Any) -> str | None:
        if isinstance(value, list) and all(item is None or check(item) is None for item in value):
            return None
        return f"a list, each entry {check(None)} or null"

    return of_list


# A section is a mapping of exactly these names; every value in it may be null ("not measured").
Section = dict[str, Any]
_SPREAD: Section = {"median": _number, "iqr": _number, "samples": _list_of(_number)}
_STEP: Section = {**_SPREAD, "single": _SPREAD, "steps_per_round": _integer}

RECORD: Section = {
    "schema": _integer,
    "id": _text,
    "created": _text,
    "status": _text,
    "message": _text,
    "task": _text,
    "model": _text,
    "algorithm": _text,
    "framework": _text,
    "dataset": _text,
    "precision": _text,
    "seed": _integer,
    "config": _mapping,
    "config_hash": _text,
    "code": {"commit": _text, "dirty": _flag, "hash": _text},
    "versions": _mapping,
    "machine": {
        "cpu": _text,
        "cores": _integer,
        "logical_cores": _integer,
        "usable_cores": _integer,
        "memory_bytes": _integer,
        "system": _text,
        "python": _text,
        "gpu": {"name": _text, "memory_bytes": _integer, "driver": _text},
    },
    "environment": {"values": _mapping, "dropped": _list_of(_text), "names": _list_of(_text)},
    "device": _text,
    "threads": _integer,
    "data": {
        **{name: _integer for name in ("length", "channels", "classes", "train", "validation", "test")},
        "protocol": _text,
        "selects_on_test": _flag,
        "generated": _flag,
    },
    "parameters": {"count": _integer, "bytes": _integer},
    "timing": {
        **{f"{phase}_seconds": _STEP for phase in PHASES},
        "compile_seconds": _SPREAD,
        "first_call_seconds": _mapping,
    },
    "throughput": {"samples_per_second": _number, "tokens_per_second": _number},
    "memory": {
        "peak_bytes": _number,
        "steady_peak_bytes": _number,
        "baseline_bytes": _number,
        "source": _text,
        "compiled_bytes": _number,
    },
    "operations": {
        "forward_flops": _number,
        "train_step_flops": _number,
        "forward_bytes": _number,
        "train_step_bytes": _number,
    },
    "accuracy": {"validation": _number, "test": _number},
    "loss": {"train": _number, "validation": _number, "test": _number},
    "curve": {"step_loss": _list_of(_number), "epochs": _list_of(_mapping)},
    "ledger": {
        "import_seconds": _number,
        "build_seconds": _number,
        "compile_seconds": _number,
        "data_seconds": _number,
        "step_seconds": _number,
        "evaluation_seconds": _number,
    },
    "certificate": {"id": _text, "error": _number, "bound": _number, "precision": _text, "passed": _flag},
    "notes": _list_of(_text),
}
ALWAYS = (
    *("schema", "id", "created", "status", "task", "model", "framework", "dataset", "precision", "seed"),
    *("config", "config_hash", "notes"),
)  # these are never null

_ERROR: Section = {"error": _number, "bound": _number, "worst": _text}
CERTIFICATE: Section = {
    "schema": _integer,
    "id": _text,
    "created": _text,
    "passed": _flag,
    "precision": _text,
    "model": _text,
    "config": _mapping,
    "config_hash": _text,
    "code_hash": _text,
    "versions": _mapping,
    "machine": _mapping,
    "errors": {name: _ERROR for name in ("outputs", "logits", "loss", "gradients", "parameters_1", "parameters_10")},
    "error": _number,
}
CERTIFICATE_ALWAYS = ("schema", "id", "created", "passed", "precision", "model", "config_hash", "code_hash")


def upgraded(document: Any) -> Any:
    """A document of schema 1 as one of schema 2, which says of a record which algorithm ran; others as they are.

    A data section from before it said whose split it is gets nulls in those places; a record from before it said what
    the shell had set, null as its environment.
    """
    if not isinstance(document, Mapping):
        return document
    if document.get("schema") == 1:
        document = {**document, "schema": 2, **({"algorithm": None} if "status" in document else {})}
    if "status" in document:
        document = {"environment": None, **document}
    if isinstance(data := document.get("data"), Mapping):
        document = {**document, "data": {**dict.fromkeys(("protocol", "selects_on_test", "generated")), **data}}
    return document


def validate(record: Any) -> list[str]:
    """Everything wrong with a record, as sentences that name the field; empty for a record of this schema."""
    problems = _document(record, RECORD, ALWAYS)
    if problems:
        return problems
    status, message = record["status"], record["message"]
    if status not in STATUSES:
        problems.append(f"status: {status!r} is not one of {', '.join(STATUSES)}")
    elif (status == "ok") != (message is None):
        problems.append(f"message: {message!r} with status {status!r}; ok has none, every other status has one")
    return problems


def validate_certificate(certificate: Any) -> list[str]:
    """Everything wrong with a certificate, as `validate` does for records."""
    return _document(certificate, CERTIFICATE, CERTIFICATE_ALWAYS)


def filled(document: Mapping[str, Any], section: Section) -> dict[str, Any]:
    """A copy in which each name of `section` that a present mapping lacks stands as null."""
    result = {name: document.get(name) for name in section}
    for name, inner in section.items():
        value = result[name]
        if isinstance(inner, dict) and isinstance(value, Mapping):
            result[name] = filled(value, inner)
    return {**result, **{name: value for name, value in document.items() if name not in section}}


def _document(document: Any, section: Section, always: tuple[str, ...]) -> list[str]:
    if not isinstance(document, Mapping):
        return [f"a JSON object was expected, not {type(document).__name__}"]
    if document.get("schema") != SCHEMA:
        return [f"schema: {document.get('schema')!r} is unknown; this version reads schemas 1 to {SCHEMA}"]
    problems = _against(document, section, "")
    problems += [f"{name}: null, but every file states it" for name in always if document.get(name, "") is None]
    name = document.get("id")
    if isinstance(name, str) and not SAFE_NAME.fullmatch(name):
        problems.append(f"id: {name!r} is no plain file name of letters, digits, '.', '_', '+', '-'")
    return problems


def _against(value: Mapping[str, Any], section: Section, path: str) -> list[str]:
    problems = [f"{path}{name}: missing" for name in section if name not in value]
    problems += [f"{path}{name}: unknown name in schema {SCHEMA}" for name in value if name not in section]
    for name, expected in section.items():
        item = value.get(name)
        if item is None:
            continue
        if isinstance(expected, dict):
            if isinstance(item, Mapping):
                problems += _against(item, expected, f"{path}{name}.")
            else:
                problems.append(f"{path}{name}: an object or null was expected, not {item!r}")
        elif wanted := expected(item):
            problems.append(f"{path}{name}: {wanted} was expected, not {item!r}"[:300])
    return problems
