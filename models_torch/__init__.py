"""S4, DSS and S5 in PyTorch; models_jax holds the same names. (B, L, features) in and out."""

from models_torch.dss import DSSBlock, DSSLayer, DSSModel
from models_torch.s4 import S4Block, S4Layer, S4Model
from models_torch.s5 import S5Block, S5Layer, S5Model

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
