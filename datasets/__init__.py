"""Real data as NumPy arrays, one data set a file; no model and no framework is known here.

Modules with the functions `describe`, `prepare` and `load` are the data sets; registry.py finds them by
name. The others are what they share.
"""

from __future__ import annotations

from datasets.data import DataError, Dataset, Description, Split

__all__ = ["DataError", "Dataset", "Description", "Split"]
