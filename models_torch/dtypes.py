"""Which types parameters, inputs and computations may have. Mirrored in models_jax/dtypes.py.

Types are read from the parameters at each call, never remembered, so that a converted module computes in its new type.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import torch
from torch import Tensor

from settings.errors import SettingError

PARAMETERS = (torch.float32, torch.float64)
COMPUTE = (torch.float16, torch.bfloat16, *PARAMETERS)
FIX = (
    "must be float32 or float64, as complex numbers and Fourier transforms need; keep the parameters in float32 (or "
    "convert them back: .float()), and for half precision give compute_dtype=torch.bfloat16 (the command: "
    "precision=bf16) or run under torch.autocast, which take the dense layers alone"
)


def check_dtypes(dtype: object, compute_dtype: object = None) -> None:
    """Refuses, with a ValueError, what a module cannot hold (``dtype``) or compute in (``compute_dtype``)."""
    if dtype not in PARAMETERS:
        raise ValueError(f"dtype={dtype}: the parameters {FIX}.")
    if compute_dtype is not None and compute_dtype not in COMPUTE:
        listed = ", ".join(map(str, COMPUTE))
        raise SettingError(
            "compute_dtype", compute_dtype, f"must be one of {listed}", "leave it out for the parameters' own."
        )


def common_dtype(parameters: Mapping[str, Tensor]) -> torch.dtype:
    """The one type of a state-space layer's parameters. ValueError where they have several, or one that cannot be."""
    found = {value.dtype: name for name, value in parameters.items()}
    if len(found) > 1:
        listed = ", ".join(f"{name} {dtype}" for dtype, name in found.items())
        raise ValueError(f"dtype: a layer's parameters must have one type, not {listed}; convert it by .to(dtype).")
    (dtype,) = found
    if dtype not in PARAMETERS:
        raise ValueError(f"dtype={dtype}: the parameters of a state-space layer {FIX}.")
    return dtype


def as_real(name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
    """x, of any real type, in ``dtype``. ValueError for what is no real tensor."""
    if not isinstance(x, Tensor):
        raise SettingError(name, type(x).__name__, "must be a tensor", f"give torch.as_tensor({name}).")
    if x.dtype == dtype:
        return x
    if x.is_complex():
        raise ValueError(f"{name} of {x.dtype}: must be real; give its real and imaginary parts as features.")
    return x.to(dtype)


def as_tokens(x: Tensor) -> Tensor:
    """x, whole numbers of any size, as indices. ValueError for another type."""
    if not isinstance(x, Tensor) or x.dtype == torch.bool or x.is_floating_point() or x.is_complex():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x of {given}: tokens must be a tensor of whole numbers; give x.long(), or encoder=linear.")
    return x.long()


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The type that torch.autocast asks of x's device now; None outside of it."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


def working_dtype(parameter: Tensor, compute_dtype: torch.dtype | None) -> torch.dtype:
    """What dense layers compute in: autocast's type, else ``compute_dtype``, else the parameter's own.

    Autocast leaves float64 alone, as it does everywhere in PyTorch.
    """
    cast = autocast_dtype(parameter)
    if cast is not None and parameter.dtype != torch.float64:
        return cast
    return compute_dtype or parameter.dtype


def without_autocast(x: Tensor) -> contextlib.AbstractContextManager:
    """A context in which x's device computes in the types that it is given."""
    if autocast_dtype(x) is None:
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)
