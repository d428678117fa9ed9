"""The library\'s doors: flat keywords in, options and initial values made of them once.

Each class stands before the class that is built of options, in S5Layer(LayerKeywords, S5) say. What the keywords may be
and their defaults stand in the options' dataclasses, once for both frameworks; SettingError for what they refuse.
``values`` are initial values by dotted name, drawn from ``seed`` when absent. Mirrored in models_jax/keywords.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch

from settings.checkpoint import of_model, weights
from ssm.draws import generator
from ssm.network import block_options, block_values, initial, layer_options, mathematics, network_options

Values = Mapping[str, np.ndarray]


class LayerKeywords:
    """A layer by its settings: the fields of ``ssm.<model>.Options``."""

    model: ClassVar[str]

    def __init__(
        self,
        d_model: int,
        n: int = 64,
        l_max: int = 784,
        *,
        seed: int = 0,
        values: Values | None = None,
        dtype: torch.dtype = torch.float32,
        **settings: Any,
    ) -> None:
        options = layer_options(self.model, {"d_model": d_model, "n": n, "l_max": l_max, **settings})
        if values is None:
            values = mathematics(self.model).initial(options, generator(seed))
        super().__init__(options, values, dtype)


class BlockKeywords:
    """A block by its settings: the fields of ``ssm.network.BlockOptions`` and of ``ssm.<model>.Options``."""

    model: ClassVar[str]

    def __init__(
        self,
        d_model: int,
        n: int = 64,
        l_max: int = 784,
        *,
        seed: int = 0,
        values: Values | None = None,
        dtype: torch.dtype = torch.float32,
        compute_dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        options, of_layer = block_options(self.model, {"d_model": d_model, "n": n, "l_max": l_max, **settings})
        values = block_values(options, of_layer, generator(seed)) if values is None else values
        super().__init__(options, of_layer, values, dtype, compute_dtype)


class ModelKeywords:
    """A network by its settings: those of ``ssm.network.network_options``.

    ``collapse`` is short for readout="mean" (true) or "none" (false).
    """

    model: ClassVar[str]

    def __init__(
        self,
        d_input: int,
        d_model: int,
        d_output: int,
        n_blocks: int,
        n: int,
        l_max: int,
        collapse: bool | None = None,
        *,
        seed: int = 0,
        values: Values | None = None,
        dtype: torch.dtype = torch.float32,
        compute_dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        settings = {"d_model": d_model, "n_blocks": n_blocks, "n": n, "collapse": collapse, **settings}
        options = network_options(self.model, d_input, d_output, l_max, settings)
        super().__init__(options, initial(options, seed) if values is None else values, dtype, compute_dtype)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Self:
        """The network of a checkpoint of ``task=train``, made in either framework, with the weights of its best epoch.

        SettingError where the file is damaged, or is of another model.
        """
        network, values = weights(path)
        return cls(**of_model(network, cls.model, path), values=values, dtype=dtype)
