"""Which types parameters, inputs and computations may have. Mirrored in models_torch/dtypes.py.

Types are read from the parameters at each call, never remembered, so that a converted module computes in its new type.
Without autocast, which JAX does not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from settings.errors import SettingError

PARAMETERS = (jnp.dtype("float32"), jnp.dtype("float64"))
COMPUTE = (jnp.dtype("float16"), jnp.dtype("bfloat16"), *PARAMETERS)
FIX = (
    "must be float32 or float64, as complex numbers and Fourier transforms need; keep the parameters in float32 (or "
    "convert them back), and for half precision give compute_dtype=jnp.bfloat16 (the command: precision=bf16), which "
    "takes the dense layers alone"
)


def named(dtype: object) -> object:
    """The dtype that ``dtype`` means, or what was given where it means none."""
    try:
        return jnp.dtype(dtype)
    except TypeError:
        return dtype


def check_dtypes(dtype: object, compute_dtype: object = None) -> None:
    """Refuses, with a ValueError, what a module cannot hold (``dtype``) or compute in (``compute_dtype``)."""
    if named(dtype) not in PARAMETERS:
        raise ValueError(f"dtype={named(dtype)}: the parameters {FIX}.")
    if compute_dtype is not None and named(compute_dtype) not in COMPUTE:
        listed = ", ".join(map(str, COMPUTE))
        raise SettingError(
            "compute_dtype", named(compute_dtype), f"must be one of {listed}", "leave it out for the parameters' own."
        )
    for name, given in (("dtype", dtype), ("compute_dtype", compute_dtype)):
        if given is not None and named(given) == jnp.float64 and not jax.config.jax_enable_x64:
            raise SettingError(
                name,
                "float64",
                "JAX would cut it to float32 silently",
                'first call jax.config.update("jax_enable_x64", True), or take float32.',
            )


def common_dtype(parameters: Mapping[str, Array]) -> jnp.dtype:
    """The one type of a state-space layer's parameters. ValueError where they have several, or one that cannot be."""
    found = {value.dtype: name for name, value in parameters.items()}
    if len(found) > 1:
        listed = ", ".join(f"{name} {dtype}" for dtype, name in found.items())
        raise ValueError(f"dtype: a layer's parameters must have one type, not {listed}; convert all of them (astype).")
    (dtype,) = found
    if dtype not in PARAMETERS:
        raise ValueError(f"dtype={dtype}: the parameters of a state-space layer {FIX}.")
    return dtype


def as_real(name: str, x: ArrayLike, dtype: DTypeLike) -> Array:
    """x, of JAX or NumPy and of any real type, in ``dtype``. ValueError for what is not real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"{name} of {x.dtype}: must be real; give its real and imaginary parts as features.")
    return jnp.asarray(x, dtype)


def as_tokens(x: ArrayLike) -> Array:
    """x, whole numbers of any size, as indices. ValueError for another type."""
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"x of {x.dtype}: tokens must be whole numbers; give x.astype(jnp.int32), or encoder=linear.")
    return jnp.asarray(x, jnp.int32 if x.dtype.itemsize < 4 else None)
