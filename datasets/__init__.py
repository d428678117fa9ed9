"""Real data as NumPy arrays, a catalogue of one data set a file; no model and no framework is known here.

At the top stand the data sets, and what the rest of the project calls:

- a data set (digits.py, smnist.py, ...) has the functions `describe`, `prepare` and `load`, by which registry.py finds
  it, and states its protocols;
- registry.py calls them by name; data.py says what they give; batches.py what a run takes of it.

The rooms, whose arrows run one way, catalogue -> parts -> files -> generators, store:

- files/ finds, fetches, verifies and reads what was published; it knows no split and no protocol;
- generators/ makes data in the style of published sets from a seed; it reads no file and imports nothing of ours;
- parts/ is what several data sets are put together from: protocols, splits, orders, kinds of sets as values;
- store/ keeps arrays that are made once and makes them the network's numbers; it knows no data set.
"""

from __future__ import annotations

from datasets.data import DataError, Dataset, Description, Split

__all__ = ["DataError", "Dataset", "Description", "Split"]
