"""Records of runs and parity certificates: one JSON file each, written whole or not at all, and read back.

results_dir/<id>.json is a record, results_dir/certificates/<id>.json a certificate, results_dir/*.sitting.jsonl many of
both, a line each (bench/store/sittings.py makes it); results/README.md explains every field. Files are strict JSON: NaN
and infinities become null, and a record says in `notes` where that happened. The files of many processes live side by
side: ids carry the second and a random number of the system, so no two runs share a name, and writing an id again
replaces that run's own file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure.variables import compared
from bench.store import schema
from bench.store.files import RecordError, read_json, read_lines, write_text
from bench.store.files import check_writable as check_writable  # part of what this module offers
from bench.store.schema import (
    CERTIFICATE,
    RECORD,
    SAFE_NAME,
    SCHEMA,
    STATUSES,
    filled,
    upgraded,
    validate_certificate,
)
from settings.hidden import is_foreign

CERTIFICATES = "certificates"
SITTING = ".sitting.jsonl"  # how the name of a file of many ends
# Where files lie and how the run is watched changes no figure: left out of the hash.
NOT_HASHED = frozenset({"results_dir", "data_dir", "wandb", "debug", "resume", "certificate", "sweep", "lease"})
UNFINISHED = "the run did not reach its end"


def plain(value: Any) -> Any:
    """`value` as dict, list, str, int, float, bool and None only (NumPy and OmegaConf values included)."""
    if value is None or isinstance(value, str | bool | int | float):
        return value.item() if isinstance(value, np.generic) else value  # np.float64 is a float
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        items = value if isinstance(value, Sequence) else sorted(value, key=str)
        return [plain(item) for item in items]
    raise RecordError(f"{value!r} ({type(value).__name__}) has no place in a record; give numbers or text")


def config_hash(config: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> str:
    """sha256 (hex) of the configuration's canonical JSON, without the keys in NOT_HASHED; as it is stored: what is not
    finite is null. variables: those of the shell that can change a figure (variables.compared); without any, the hash
    is that of the configuration alone.
    """
    stored = _finite(plain(config), "", [])
    hashed = {name: value for name, value in stored.items() if name not in NOT_HASHED}
    if variables:
        hashed["environment"] = dict(variables)
    return hashlib.sha256(json.dumps(hashed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def new_id(*names: str, now: datetime | None = None) -> str:
    """'<UTC yyyymmddThhmmss>-<names joined>-<8 hex digits>', a plain file name whatever the names hold."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%S")
    safe = [re.sub(r"[^A-Za-z0-9_.+]+", "_", name)[:40] or "_" for name in names]
    return "-".join([moment, *safe, secrets.token_hex(4)])


def new_record(
    config: Mapping[str, Any],
    *,
    code: Mapping[str, Any] | None = None,
    versions: Mapping[str, str | None] | None = None,
    machine: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    device: str | None = None,
    threads: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A record of the resolved `config` with every name of the schema; what is not measured yet is null.

    environment: variables.stated of the shell's variables.
    Its status is 'failed' until `set_status` says otherwise: a run that forgets to finish never counts as ok.
    """
    config = plain(config)
    names = {group: _group_name(config, group) for group in ("model", "framework", "dataset", "task")}
    now = datetime.now(UTC)
    known: dict[str, Any] = {
        "schema": SCHEMA,
        "id": new_id(*names.values(), now=now),
        "created": now.isoformat(timespec="seconds"),
        "status": "failed",
        "message": UNFINISHED,
        **names,
        "precision": config.get("precision"),
        "seed": config.get("seed"),
        "config": config,
        "config_hash": config_hash(config, compared({"environment": environment})),
        "code": code,
        "versions": versions,
        "machine": machine,
        "environment": environment,
        "device": device,
        "threads": threads,
        "data": data,
        "notes": [],
    }
    return filled(plain(known), RECORD)


def refused_record(config: Mapping[str, Any], message: str) -> dict[str, Any]:
    """A record of a configuration that was not run, with the reason; null where what it copies cannot be."""
    config = plain(config)
    groups = {name: _name_of(config.get(name)) for name in ("model", "framework", "dataset", "task")}
    copies = {**groups, **{name: config.get(name) for name in ("precision", "seed")}}
    kept = {name: value for name, value in copies.items() if value is not None and RECORD[name](value) is None}
    now = datetime.now(UTC)
    known: dict[str, Any] = {
        "schema": SCHEMA,
        "id": new_id(*(str(kept.get(name, "unknown")) for name in groups), now=now),
        "created": now.isoformat(timespec="seconds"),
        "status": "refused",
        "message": message,
        **kept,
        "config": config,
        "config_hash": config_hash(config),
        "notes": [],
    }
    return filled(known, RECORD)


def set_status(record: dict[str, Any], status: str, message: str | None = None) -> None:
    """Say how the run ended. ok carries no message; every other status carries one."""
    if status not in STATUSES:
        raise RecordError(f"status: {status!r} is not one of {', '.join(STATUSES)}")
    if (status == "ok") != (message is None) or (message is not None and not message.strip()):
        raise RecordError(f"message: {message!r} with status {status!r}; give one unless ok")
    record["status"], record["message"] = status, message


def validate(record: Any) -> list[str]:
    """Everything wrong with a record, as sentences that name the field; empty for a record of this schema."""
    if problems := schema.validate(record):
        return problems
    expected = config_hash(record["config"], compared(record))
    if record["config_hash"] != expected:
        return [f"config_hash: {record['config_hash']}, but that of its configuration is {expected}"]
    return []


def write_record(record: Mapping[str, Any], results_dir: str | Path) -> Path:
    """Write results_dir/<id>.json, whole or not at all, and return its path. `record` itself stays as it is.

    Inner names that a section lacks are written as null, NumPy values as numbers, NaN and infinities as null
    with a note. Raises RecordError when a field is not as schema 2 has it or the folder refuses.
    """
    where: list[str] = []
    document = filled(_finite(plain(record), "", where), RECORD)
    places = [place for place in dict.fromkeys(where) if not place.startswith("notes")]
    note = f"not finite, stored as null: {', '.join(places)}"
    if places and isinstance(document["notes"], list) and note not in document["notes"]:
        document["notes"] = [*document["notes"], note]
    return _write(document, validate(document), Path(results_dir))


def read_record(path: str | Path) -> dict[str, Any]:
    """The record in a file. Raises RecordError, naming it, when it is damaged or of an unknown schema."""
    return _read(Path(path), validate)


def read_records(results_dir: str | Path, recursive: bool = False) -> tuple[list[dict[str, Any]], list[str]]:
    """All records of a folder, or of one sitting's file, oldest first, and a warning naming each that is not one.

    Certificates, hidden files and W&B's own folder are passed over. Raises RecordError if the folder is
    absent.
    """
    folder = Path(results_dir)
    if folder.name.endswith(SITTING):
        return _read_all([], [folder], certificates=False)
    if not folder.is_dir():
        raise RecordError(f"results folder {folder}: no such folder; run something first or name another")
    look = folder.rglob if recursive else folder.glob
    return _read_all(
        _record_paths(folder, look("*.json")), _record_paths(folder, look(f"*{SITTING}")), certificates=False
    )


def find_done(results_dir: str | Path, wanted: Mapping[str, Any]) -> Path | None:
    """The newest record with status ok of the run that `wanted`, a fresh record, is about; None without one.

    For `resume`. The same run: configuration, the shell's variables that can change a figure, code, the versions that
    `wanted` names, processor, device and threads.
    """
    folder = Path(results_dir)
    if not folder.is_dir():
        return None
    names = tuple(wanted["versions"] or ())
    records, _ = _read_all(_record_paths(folder, folder.glob("*.json")), [], certificates=False)
    for record in reversed(records):
        if record["status"] == "ok" and circumstances(record, names) == circumstances(wanted, names):
            return folder / f"{record['id']}.json"
    return None


def circumstances(record: Mapping[str, Any], packages: Sequence[str]) -> list[Any]:
    """What two records agree in that are of the same run, done again."""
    code, machine, versions = (record[name] or {} for name in ("code", "machine", "versions"))
    where = [record["device"], record["threads"], machine.get("cpu")]
    return [record["config_hash"], code.get("hash"), *where, *(versions.get(name) for name in packages)]


def write_certificate(certificate: Mapping[str, Any], results_dir: str | Path) -> Path:
    """Write results_dir/certificates/<id>.json like a record. An error that is not finite becomes null."""
    document = filled(_finite(plain(certificate), "", []), CERTIFICATE)
    return _write(document, validate_certificate(document), Path(results_dir) / CERTIFICATES)


def read_certificate(results_dir: str | Path, id: str) -> dict[str, Any] | None:
    """The certificate of this id, or None when there is none. Raises RecordError when the file is damaged."""
    if not SAFE_NAME.fullmatch(id):
        raise RecordError(f"certificate id: {id!r} is no plain file name; give an id as records state it")
    path = Path(results_dir) / CERTIFICATES / f"{id}.json"
    return _read(path, validate_certificate) if path.exists() else None


def read_certificates(results_dir: str | Path) -> tuple[list[dict[str, Any]], list[str]]:
    """All certificates of a results folder, oldest first, and a warning for each file that is not one."""
    folder = Path(results_dir)
    paths = [path for path in (folder / CERTIFICATES).glob("*.json") if not is_foreign(path.name)]
    return _read_all(sorted(paths), _record_paths(folder, folder.glob(f"*{SITTING}")), certificates=True)


def _group_name(config: Mapping[str, Any], group: str) -> str:
    name = _name_of(config.get(group))
    if not isinstance(name, str):
        raise RecordError(f"config.{group}: {config.get(group)!r} has no name; every group file states `name:`")
    return name


def _name_of(section: Any) -> Any:
    return section.get("name") if isinstance(section, Mapping) else None


def _finite(value: Any, path: str, where: list[str]) -> Any:
    """`value` with null for each number JSON cannot hold; their places go to `where`."""
    if isinstance(value, dict):
        return {name: _finite(item, f"{path}.{name}" if path else name, where) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item, path, where) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        where.append(path)
        return None
    return value


def _write(document: dict[str, Any], problems: list[str], folder: Path) -> Path:
    if problems:
        raise RecordError(f"record {document.get('id')!r} is not of schema {SCHEMA}: " + "; ".join(problems))
    path = folder / f"{document['id']}.json"
    write_text(path, json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    return path


def _read(path: Path, check: Callable[[Any], list[str]]) -> dict[str, Any]:
    document = _checked(read_json(path), str(path), check)
    if document["id"] != path.stem:
        raise RecordError(f"{path}: its id is {document['id']}; rename the file to {document['id']}.json")
    return document


def _checked(value: Any, place: str, check: Callable[[Any], list[str]]) -> dict[str, Any]:
    document: dict[str, Any] = upgraded(value)
    try:
        problems = check(document)
    except RecursionError as error:
        raise RecordError(f"{place}: its lists or objects lie too deep in each other; restore it") from error
    if problems:
        raise RecordError(f"{place}: {'; '.join(problems)}"[:2000])
    return document


Found = tuple[list[dict[str, Any]], list[str]]


def _read_all(paths: Sequence[Path], sittings: Sequence[Path], certificates: bool) -> Found:
    """The records, or the certificates, of files and of sittings, oldest first, and the warnings."""
    check = validate_certificate if certificates else validate
    attempts = [(str(path), partial(_read, path, check)) for path in paths]
    warnings: list[str] = []
    for sitting in sittings:
        try:
            lines = read_lines(sitting)
        except RecordError as error:
            warnings.append(str(error))
            continue
        for place, value in lines:
            if is_certificate(value) == certificates:
                attempts.append((place, partial(_checked, value, place, check)))
    found: dict[str, dict[str, Any]] = {}
    for place, attempt in attempts:
        try:
            document = attempt()
        except RecordError as error:
            warnings.append(str(error))
            continue
        if document["id"] in found:
            warnings.append(f"{place}: a second copy of {document['id']}; read once")
        found[document["id"]] = document
    return sorted(found.values(), key=lambda one: (one["created"], one["id"])), warnings


def is_certificate(value: Any) -> bool:
    """Whether a line of a sitting is a certificate, which says whether it passed; every other line is a record."""
    return isinstance(value, Mapping) and "passed" in value


def _record_paths(folder: Path, paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if _is_record_path(path.relative_to(folder)))


def _is_record_path(relative: Path) -> bool:
    hidden = any(is_foreign(part) for part in relative.parts)
    return not hidden and not {CERTIFICATES, "wandb"}.intersection(relative.parts[:-1])
