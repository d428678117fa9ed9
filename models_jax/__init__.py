"""S4, DSS and S5 in JAX (flax nnx); models_torch holds the same names. (B, L, features) in and out."""

from models_jax.dss import DSSBlock, DSSLayer, DSSModel
from models_jax.s4 import S4Block, S4Layer, S4Model
from models_jax.s5 import S5Block, S5Layer, S5Model

__all__ = [
    "DSSBlock",
    "DSSLayer",
    "DSSModel",
    "S4Block",
    "S4Layer",
    "S4Model",
    "S5Block",
    "S5Layer",
    "S5Model",
]
