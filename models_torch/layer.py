"""What every state-space layer offers, and how a module takes its initial values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from models_torch.operators import made_anew
from ssm.checks import check_input, generator, split_settings
from ssm.exponential import LOG_HIGH, LOG_LOW, PARTS, ROOTS
from ssm.lengths import chunk_length
from ssm.network import mathematics

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


class Layer(nn.Module, ABC):
    """A linear map of sequences, in two forms that agree: over a whole sequence, and one step at a time.

    Settings, checked: ``ssm.<name>.Options``. ``values`` are initial parameters by name (``ssm.<name>.initial``), drawn
    from ``seed`` when absent.
    """

    name: ClassVar[str]

    def __init__(
        self,
        d_model: int,
        n: int = 64,
        l_max: int = 784,
        *,
        seed: int = 0,
        values: Mapping[str, np.ndarray] | None = None,
        dtype: torch.dtype = torch.float32,
        **options,  # the other fields of Options, declared once in ssm/ for both frameworks
    ) -> None:
        super().__init__()
        module = mathematics(self.name)
        (settings,) = split_settings(options, module.Options)
        self.options = module.Options(d_model, n, l_max, **settings)
        hold(self, module.initial(self.options, generator(seed)) if values is None else values, dtype)

    def forward(self, u: Tensor) -> Tensor:
        """u (B, L, H) -> y (B, L, H), any length L, by the algorithm that the options choose."""
        check_input(u.shape)
        return self.recurrent(u) if self.options.chosen == "recurrent" else self.over_sequence(u)

    @abstractmethod
    def over_sequence(self, u: Tensor) -> Tensor:
        """The forward pass by any algorithm but the step form."""

    def recurrent(self, u: Tensor) -> Tensor:
        """The forward pass by the step form; for the derivative, the steps of a chunk are taken anew."""
        constants, state, outputs = self.discretised(), self.initial_state(len(u)), []
        for chunk in u.split(chunk_length(u.shape[1]), 1):
            y, state = made_anew(self.steps, chunk, state, constants)
            outputs.append(y)
        return torch.cat(outputs, 1)

    def steps(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """``step`` over all steps of u (B, L, H)."""
        outputs = []
        for index in range(u.shape[1]):
            y, state = self.step(u[:, index], state, constants)
            outputs.append(y)
        return torch.stack(outputs, 1), state

    @abstractmethod
    def discretised(self) -> Constants:
        """What the step form needs, computed once. Raises ValueError for a bidirectional layer."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The zero state of ``batch`` sequences, complex (with a count of steps where a layer needs one)."""

    @abstractmethod
    def step(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """One step: u (B, H) and the state before -> y (B, H) and the state after."""


def step_sizes(log_dt: Tensor) -> Tensor:
    """exp(log_dt), the nearest number but for one in seventy.

    The frameworks' own float32 exponentials differ in the last bit for one in ten, which a phase Im(lambda) dt of a
    hundred makes 1e-4 of log_dt's gradient. How: ``ssm.exponential``.
    """
    count = torch.round(log_dt.detach() * (PARTS / math.log(2.0)))
    rest = (log_dt - count * LOG_HIGH) - count * LOG_LOW
    whole = torch.floor(count / PARTS)
    roots = torch.tensor(ROOTS[log_dt.itemsize], dtype=log_dt.dtype, device=log_dt.device)
    high, low = roots[:, (count - whole * PARTS).long()]
    # as torch.ldexp computes it, in which torch.func.linearize crashes the interpreter
    return (high + (low + high * torch.expm1(rest))) * torch.pow(2.0, whole)


def refuse_bidirectional(bidirectional: bool) -> None:
    if bidirectional:
        raise ValueError(
            "bidirectional=True: a step at a time sees no future; build the layer with bidirectional=False."
        )
