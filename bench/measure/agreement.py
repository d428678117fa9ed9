"""Do two traces of what a network computed agree, within the bounds of their precision?

A trace is an .npz of one framework (bench/workers/traces.py). Compared: the output of encoder and blocks, logits, loss,
the gradient of every parameter, the parameters after the first and the last optimiser step. Not compared: speed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from settings.errors import SettingError

# Bounds of the error relative to a tensor's norm. fp64 and the first figures of fp32 are the project's
# promise. Parameters are looser than gradients: Adam divides by the root of the second moment, so that the
# relative error of a small entry becomes the same relative error of a step of full size. Ten steps in fp32
# compound that: another factor of 10. tf32 rounds products' factors to 11 bits (5e-4), bf16 to 8 bits
# (4e-3), in an order of summation that differs; a network of several layers multiplies that by about ten in
# outputs, more in gradients, and entries whose sign is noise step either way.
BOUNDS: dict[str, dict[str, float]] = {
    "fp64": dict(outputs=1e-9, logits=1e-9, loss=1e-9, gradients=1e-9, parameters_1=1e-9, parameters_10=1e-9),
    "fp32": dict(outputs=1e-4, logits=1e-4, loss=1e-4, gradients=1e-4, parameters_1=1e-3, parameters_10=1e-2),
    "tf32": dict(outputs=1e-2, logits=1e-2, loss=1e-2, gradients=5e-2, parameters_1=5e-2, parameters_10=1e-1),
    "bf16": dict(outputs=5e-2, logits=5e-2, loss=5e-2, gradients=2e-1, parameters_1=1e-1, parameters_10=2e-1),
}
ROUND_OFF = {
    "fp64": 2.3e-16,
    "fp32": 1.2e-7,
    "tf32": 1.2e-7,
    "bf16": 1.2e-7,
}  # of the sums, which are never below fp32
# A gradient that is zero in exact arithmetic (a bias before a batch norm) comes out as round-off of the sums
# it is made of. Below this many round-offs of the norm of all gradients, on both sides, there is nothing to
# compare.
ZERO_ROUND_OFFS = 64
PARAMETERS = ("parameters_1", "parameters_10")
GROUPS = ("outputs", "logits", "loss", "gradients", *PARAMETERS)


def compare(
    a_path: str | os.PathLike[str], b_path: str | os.PathLike[str], precision: str
) -> dict[str, dict[str, Any]]:
    """Errors of two traces, by group: {"error", "bound", "worst"}; worst names the group's
    worst tensor.

    Groups: outputs, logits, loss, gradients, parameters_1 and parameters_10 (after the last step: 10 as
    task=parity is set). The error of a tensor is |a - b| / max(|a|, |b|) in the Euclidean norm; NaN or
    infinity on either side is an infinite error. Batch norm's statistics are among parameters_1 only: a bias
    before a batch norm has no gradient but round-off, walks by it, and takes the running mean along.
    Parameters whose gradient is round-off on both sides (ZERO_ROUND_OFFS) are left out, there and among the
    parameters, since Adam turns round-off into steps of full size; not_compared lists them. What is left out must be
    finite all the same.
    ValueError where the two files do not hold the same tensors of the same shapes.
    """
    if precision not in BOUNDS:
        raise SettingError("precision", precision, "unknown", f"choose one of {', '.join(BOUNDS)}")
    a, b = _load(a_path), _load(b_path)
    if a.keys() != b.keys():
        raise ValueError(f"the two sides hold different tensors: {sorted(a.keys() ^ b.keys())} are on one side only")
    for name in a:
        if a[name].shape != b[name].shape:
            raise ValueError(f"{name}: shapes {a[name].shape} and {b[name].shape} differ between the two sides")
    zero = not_compared(a_path, b_path, precision)
    skipped = {f"{prefix}.{name}" for prefix in ("gradient", *PARAMETERS) for name in zero}
    prefix = PARAMETERS[1] + "."
    skipped |= {name for name in a if name.startswith(prefix) and f"gradient.{name.removeprefix(prefix)}" not in a}
    errors: dict[str, dict[str, Any]] = {}
    for group in GROUPS:
        members = {
            name: relative_error(a[name], b[name])
            for name in a
            if _group(name) == group and (name not in skipped or not _finite(a[name], b[name]))
        }
        worst = max(members, key=lambda name: members[name]) if members else None
        errors[group] = {
            "error": members[worst] if worst else 0.0,
            "bound": BOUNDS[precision][group],
            "worst": worst,
        }
    return errors


def passed(errors: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every group's error is within its bound."""
    return all(entry["error"] <= entry["bound"] for entry in errors.values())


def not_compared(a_path: str | os.PathLike[str], b_path: str | os.PathLike[str], precision: str) -> list[str]:
    """Names of the parameters whose gradient is nothing but round-off on both sides (ZERO_ROUND_OFFS),
    sorted.
    """
    sides = []
    for path in (a_path, b_path):
        norms = {
            name.split(".", 1)[1]: float(np.linalg.norm(np.asarray(value, np.float64)))
            for name, value in _load(path).items()
            if name.startswith("gradient.")
        }
        floor = ZERO_ROUND_OFFS * ROUND_OFF[precision] * float(np.linalg.norm(list(norms.values())))
        # Beside an infinite gradient every other one would look like round-off.
        sides.append({name for name, norm in norms.items() if norm <= floor and math.isfinite(floor)})
    return sorted(sides[0] & sides[1])


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """|a - b| / max(|a|, |b|), Euclidean, in float64; 0 where both are exactly zero, infinite where one
    is not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not _finite(a, b):
        return float("inf")
    scale = max(np.linalg.norm(a), np.linalg.norm(b))
    return float(np.linalg.norm(a - b) / scale) if scale > 0 else 0.0


def _finite(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.isfinite(a).all() and np.isfinite(b).all())


def _group(name: str) -> str:
    prefix = name.split(".", 1)[0]
    return {"output": "outputs", "gradient": "gradients"}.get(prefix, prefix)


def _load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)
