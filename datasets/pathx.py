"""Path-X of the Long Range Arena: Pathfinder with 128 x 128 images, 16,384 steps of one value. See pathfinder.py."""

from __future__ import annotations

from datasets.parts.pathfinder import PROTOCOLS, PathfinderSet

SET = PathfinderSet("pathx", 128, PROTOCOLS)
describe, prepare, load, class_names = SET.describe, SET.prepare, SET.load, SET.class_names
