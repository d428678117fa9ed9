"""What every state-space layer offers, and how a module takes its initial values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models_torch.dtypes import as_real, check_dtypes, common_dtype, without_autocast
from models_torch.operators import made_anew
from settings.errors import SettingError
from settings.rules import check_input
from ssm.exponential import FARTHEST, LOG_HIGH, LOG_LOW, PARTS, ROOTS
from ssm.lengths import chunk_length

Constants = dict[str, Tensor]
State = Tensor | tuple[Tensor, Tensor]


def hold(module: nn.Module, values: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
    """Registers each value as a parameter of ``module`` under its name."""
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(torch.tensor(value, dtype=dtype)))


def under(values: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The values whose dotted name starts with ``prefix``, that part taken off."""
    return {name[len(prefix) + 1 :]: value for name, value in values.items() if name.startswith(prefix + ".")}


def complex_of(x: Tensor) -> torch.dtype:
    """The complex type of a tensor's precision (dtype.to_complex() is what torch.compile cannot trace)."""
    return torch.complex128 if x.dtype == torch.float64 else torch.complex64


def real_of(x: Tensor) -> torch.dtype:
    """The real type of a tensor's precision."""
    return torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32


class Layer(nn.Module, ABC):
    """A linear map of sequences, in two forms that agree: over a whole sequence, and one step at a time.

    ``options``: ``ssm.<model>.Options``. ``values``: initial parameters by name (``ssm.<model>.initial``), which the
    class declares. Inputs of any real type are taken, and the output is of the parameters' type: float32 or float64,
    also under autocast; ValueError for another one.
    """

    D: nn.Parameter  # (H,), of the skip connection
    log_dt: nn.Parameter  # (H,) unless the layer says otherwise

    def __init__(self, options: Any, values: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        check_dtypes(dtype)
        self.options = options
        hold(self, values, dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type, now. ValueError where it is not one of float32 and float64."""
        return common_dtype(dict(self.named_parameters(recurse=False)))

    @property
    def complex_dtype(self) -> torch.dtype:
        """The state's type."""
        return torch.complex128 if self.dtype == torch.float64 else torch.complex64

    def forward(self, u: Tensor) -> Tensor:
        """u (B, L, H) -> y (B, L, H), any length L, by the algorithm that the options choose."""
        u = as_real("u", u, self.dtype)
        check_input(u.shape)
        with without_autocast(u):
            return self.recurrent(u) if self.options.chosen == "recurrent" else self.over_sequence(u)

    @abstractmethod
    def over_sequence(self, u: Tensor) -> Tensor:
        """The forward pass by any algorithm but the step form; u in the parameters' type."""

    def recurrent(self, u: Tensor) -> Tensor:
        """The forward pass by the step form; for the derivative, the steps of a chunk are taken anew."""
        constants, state, outputs = self.discretised(), self.initial_state(len(u)), []
        for chunk in u.split(chunk_length(u.shape[1]), 1):
            y, state = made_anew(self.steps, chunk, state, constants)
            outputs.append(y)
        return torch.cat(outputs, 1)

    def steps(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """One step after the other over all of u (B, L, H)."""
        outputs = []
        for index in range(u.shape[1]):
            y, state = self.one_step(u[:, index], state, constants)
            outputs.append(y)
        return torch.stack(outputs, 1), state

    def discretised(self) -> Constants:
        """What the step form needs, computed once. Raises ValueError for a bidirectional layer."""
        if self.options.bidirectional:
            raise SettingError(
                "bidirectional", True, "a step at a time sees no future", "build the layer with bidirectional=False."
            )
        check_dtypes(self.dtype)
        with without_autocast(self.log_dt):
            return self.step_form()

    @abstractmethod
    def step_form(self) -> Constants:
        """``discretised`` of a causal layer."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The zero state of ``batch`` sequences, complex (with a count of steps where a layer needs one)."""

    def step(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """One step: u (B, H) and the state before -> y (B, H) and the state after.

        ValueError where constants or state are of another precision than the parameters are now.
        """
        dtype = self.dtype
        for made in (*constants.values(), *(state if isinstance(state, tuple) else (state,))):
            if real_of(made) != dtype:
                raise ValueError(
                    f"constants or state of {made.dtype}: the parameters are {dtype} by now; call discretised() and "
                    "initial_state() again after converting the layer."
                )
        u = as_real("u", u, dtype)
        with without_autocast(u):
            return self.one_step(u, state, constants)

    @abstractmethod
    def one_step(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """``step``, all in the parameters' type."""


def step_sizes(log_dt: Tensor) -> Tensor:
    """exp(log_dt), the nearest number but for one in seventy; NaN of NaN.

    The frameworks' own float32 exponentials differ in the last bit for one in ten, which a phase Im(lambda) dt of a
    hundred makes 1e-4 of log_dt's gradient. How: ``ssm.exponential``.
    """
    count = torch.round((log_dt.detach() * (PARTS / math.log(2.0))).clamp(-FARTHEST, FARTHEST))
    rest = (log_dt - count * LOG_HIGH) - count * LOG_LOW
    count = count.nan_to_num()  # an index; the rest keeps the NaN
    whole = torch.floor(count / PARTS)
    roots = torch.tensor(ROOTS[log_dt.itemsize], dtype=log_dt.dtype, device=log_dt.device)
    high, low = roots[:, (count - whole * PARTS).long()]
    # in two steps, as 2^128 is infinite and 0.99 2^128 is not; torch.ldexp, which computes the same, crashes the
    # interpreter in torch.func.linearize
    half = torch.floor(0.5 * whole)
    return (high + (low + high * torch.expm1(rest))) * torch.pow(2.0, half) * torch.pow(2.0, whole - half)
