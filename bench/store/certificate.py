"""Parity certificates: the written proof that both frameworks compute the same thing, for one model, at one
precision.

A certificate holds for its key only: the model with its sizes, the precision, the optimiser, the steps and
their batch size, the frameworks' compile modes, the code of ssm/ and models_*/, the versions, and the shell's
variables that can change a figure. Change one of them and the key is another one. The comparing itself is
bench/measure/agreement.py; the file is bench/store/records.py.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.store.records import SCHEMA, new_id, read_certificates


def certificate_key(
    *,
    model: Mapping[str, Any],
    problem: Mapping[str, Any],
    precision: str,
    optimiser: Mapping[str, Any],
    steps: int,
    batch_size: int,
    compile: Mapping[str, str],
    device: str,
    code: str,
    versions: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
) -> str:
    """sha256 of everything that the certificate depends on.

    model: the model's configuration without dropout (parity is taken at dropout 0, which draws no random
    number). problem: what the data asks (settings/problem.py). steps, batch_size: of the comparison. compile: each
    framework's mode. device: "cpu" or "gpu". code: machine.code_hash of machine.CERTIFIED. versions: of both
    frameworks' packages. variables: variables.compared.
    """
    model = {name: value for name, value in model.items() if name not in ("dropout", "dropout_tied")}
    parts: dict[str, Any] = dict(
        model=model,
        problem=dict(problem),
        precision=precision,
        optimiser=dict(optimiser),
        steps=steps,
        batch_size=batch_size,
        compile=dict(compile),
        device=device,
        code=code,
        versions=dict(versions),
        **({"variables": dict(variables)} if variables else {}),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def find(results_dir: str | Path, key: str) -> dict[str, Any] | None:
    """The newest certificate with this key below results_dir/certificates, passed or not; None where there
    is none.

    A damaged file is passed over: it proves nothing, and a new one can be made.
    """
    certificates, _ = read_certificates(results_dir)
    return next((found for found in reversed(certificates) if found["config_hash"] == key), None)


def make(
    errors: Mapping[str, Mapping[str, Any]],
    *,
    passed: bool,
    not_compared: Sequence[str],
    key: str,
    model: str,
    config: Mapping[str, Any],
    precision: str,
    code: str,
    versions: Mapping[str, str],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """The certificate of a comparison, for records.write_certificate.

    errors, passed, not_compared: as bench/measure/agreement.py gives them. key: certificate_key(), which it stores as
    config_hash. model: its name. config: what was compared, resolved; not_compared is added to it. code:
    machine.code_hash of machine.CERTIFIED. "error" is the largest relative error over outputs, logits, loss and
    gradients; "passed" looks at the parameters too.
    """
    return {
        "schema": SCHEMA,
        "id": new_id(model, "parity", precision),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "passed": passed,
        "precision": precision,
        "model": model,
        "config": {**config, "not_compared": list(not_compared)},
        "config_hash": key,
        "code_hash": code,
        "versions": dict(versions),
        "machine": dict(machine),
        "errors": dict(errors),
        "error": max(errors[group]["error"] for group in ("outputs", "logits", "loss", "gradients")),
    }


def for_record(certificate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a record says of its certificate: id, error, the bound of outputs and gradients, precision,
    passed.
    """
    if certificate is None:
        return None
    return {
        "id": certificate["id"],
        "error": certificate["error"],
        "bound": certificate["errors"]["gradients"]["bound"],
        "precision": certificate["precision"],
        "passed": certificate["passed"],
    }


def differences(made: Mapping[str, Any]) -> str:
    """The groups of tensors that are out of bounds, and their worst tensor. In a file, null is not finite."""
    worse = []
    for group, entry in made["errors"].items():
        if entry is None:
            continue
        error = math.inf if entry["error"] is None else entry["error"]
        if not error <= entry["bound"]:
            size = f"{error:.1e} > {entry['bound']:.0e}" if math.isfinite(error) else "not finite"
            worse.append(f"{group} {size} ({entry['worst']})")
    return "the frameworks differ: " + "; ".join(worse)
