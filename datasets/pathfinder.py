"""Pathfinder of the Long Range Arena, 32 x 32: do both discs lie on one dashed path? 1,024 steps of one value.

The rows of an image one after another. Read from the published folders, or generated in their style (see
generators/pathfinder.py). 80 % train, 10 % validation, 10 % test. Protocols:

- default: values in [-1, 1]; the official loader's test part, and validation cut from the rest with the run's seed;
- official (state-spaces/s4): values in [0, 1], as its configuration has them since its version 4 (before, and in its
  loader where no configuration says otherwise, [-1, 1]); split by torch's random_split with seed 42;
- s5 (lindermanlab/S5): values in [-1, 1], the same split.
"""

from __future__ import annotations

from datasets.parts.pathfinder import PROTOCOLS, PathfinderSet

SET = PathfinderSet("pathfinder", 32, PROTOCOLS)
describe, prepare, load, class_names = SET.describe, SET.prepare, SET.load, SET.class_names
