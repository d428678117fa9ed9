"""Pathfinder images of our own in the published style: dashed paths, short ones between them, and two discs.

Two long paths start near each other and grow dash by dash, each dash turned a little against the last and kept clear of
all others; short paths fill the rest. One disc lies on the start of one long path, the other on the end of the same one
(class 1) or of the other one (class 0). Everything but the second disc is drawn before the class, so that neither the
dashes nor their number tell it; the distance of the discs alone guesses it for 55 % of the images of 32 pixels. Sizes,
distances and turns are those of the published sets (Linsley et al. 2018; the Long Range Arena's parameters for 32 and
128 pixels); the drawing is ours: these are not the published images.

Images are grown and drawn many at a time, in whole arrays. Those that find no room are given up. A chunk of images has
its own random numbers (streams frozen by NEP 19), so that it depends on the seed and its number alone.

Legend: B images grown together, K candidates of a next dash, D dashes of an image. Coordinates are (y, x) in pixels,
whole numbers at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STREAM = 4  # sets these random numbers apart from others under the same seed
_CANDIDATES = 12
_FORESIGHT = (1.5, 2.5)  # steps from a next dash that should be free too, so that fewer paths end blocked
_BLOCKED = 0.01  # the weight of a dash where it is not
_LEAST_WEIGHT = 1e-4
_BACK = 12  # dashes, at most, that a blocked image loses
_GIVEN_UP = 0.2  # of the images, which take longest
_TRIALS = 5  # of a short path, before the image goes without it
_EDGE = 1.0  # pixels: nothing is nearer to the border


@dataclass(frozen=True)
class Style:
    """One published set of parameters; lengths in pixels.

    margins: half of the gap between dashes, one of them an image. turn: the next dash turns by d with a weight of
    cos(turn * d)^2 while turn * d < 90 degrees. cells: of the grid that keeps dashes apart, in one pixel.
    """

    size: int
    dashes: int
    length: int
    thickness: float
    margins: tuple[int, ...]
    turn: float
    start_distance: float
    short_dashes: int
    short_paths: int
    brightness: float
    disc_radius: float
    cells: int

    def clearance(self, margin: int) -> float:
        """Between ends of dashes that do not follow each other: still more than a gap after rounding to cells."""
        return 2 * margin + self.thickness


def style(size: int, dashes: int) -> Style:
    """The published parameters for 32 or 128 pixels and 6, 9 or 14 dashes a path."""
    short = dashes // 3
    if size == 32:
        return Style(32, dashes, 2, 0.5, (1,), 1.0, 7.0, short, 20 // short, 0.75, 1.5, cells=3)
    assert size == 128, size
    return Style(128, dashes, 5, 1.5, (2, 3), 1.8, 20.0, short, 35 // short, 0.9, 3.0, cells=1)


@dataclass(frozen=True)
class Drawing:
    """images uint8 (B, size, size), labels uint8 (B,), and the geometry that they show.

    dashes (B, D, 2, 2): their two ends, path after path, the two long ones first; NaN where a short path found no room.
    discs (B, 2, 2): their centres.
    """

    images: np.ndarray
    labels: np.ndarray
    dashes: np.ndarray
    discs: np.ndarray


def draw(style: Style, seed: int, chunk: int, count: int) -> Drawing:
    """`count` images, half of them (rounded down) of class 1, in random order."""
    random = np.random.RandomState(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAM, chunk))))
    grown, missing = [], count
    while missing > 0:
        margin = style.margins[random.randint(0, len(style.margins), dtype=np.int64)]
        dashes = _grown(random, style, margin, missing + missing // 4 + 8)[:missing]
        grown.append(dashes)
        missing -= len(dashes)
    dashes = np.concatenate(grown)
    labels = random.permutation(np.arange(count) % 2).astype(np.uint8)
    first = random.randint(0, 2, count, np.int64)
    second = np.where(labels == 1, first, 1 - first)
    each = np.arange(count)
    discs = np.stack([dashes[each, first * style.dashes, 0], dashes[each, (second + 1) * style.dashes - 1, 1]], axis=1)
    return Drawing(_rendered(style, dashes, discs), labels, dashes, discs)


class _Growth:
    """Images that grow together.

    dashes (B, D, 2, 2): their two ends in the order of growth: a dash of each long path by turns, then the short paths.
    taken (B, 2, cells): a grid with a border, row by row: 0 free, else one more than the number of the dash nearby, the
    first one where there are more. The second long path has a layer of its own: a dash may come near the one before it,
    and must not thereby come near a later one of the other path. Methods work on the images `rows` (R,), each at a dash
    of its own.
    """

    def __init__(self, random: np.random.RandomState, style: Style, margin: int, count: int) -> None:
        self.random, self.style, self.margin = random, style, margin
        total = 2 * style.dashes + style.short_paths * style.short_dashes
        self.dashes = np.full((count, total, 2, 2), np.nan)
        radius = style.clearance(margin) * style.cells
        self.border = int(radius) + 2 * style.cells
        self.side = style.size * style.cells + 2 * self.border
        self.taken = np.zeros((count, 2, self.side**2), np.uint8)
        y, x = np.mgrid[-self.border : self.border + 1, -self.border : self.border + 1]
        self.disc = (y * self.side + x)[np.hypot(y, x) <= radius]

    def keep(self, images: np.ndarray) -> None:
        """These images (B,) bool alone."""
        self.dashes, self.taken = self.dashes[images], self.taken[images]

    def begin(self, number: int, tails: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Dash `number` from one of tails (R, K, 2), in any direction; (R,) whether there was room."""
        ends = _dash(tails, self.directions(tails.shape[:2]), self.style.length)
        room = self._room(ends, np.zeros(len(rows), np.int64), rows)
        found = np.asarray(room.any(axis=1))
        self._put(np.full(len(rows), number), ends, room.argmax(axis=1), found, rows)
        return found

    def extend(self, number: np.ndarray, back: int, rows: np.ndarray) -> np.ndarray:
        """Dash number (R,) after the one that is `back` before it; (R,) whether there was room."""
        tail, head = self.dashes[rows, number - back, 0], self.dashes[rows, number - back, 1]
        ahead = (head - tail) / self.style.length
        widest = np.pi / 2 / self.style.turn
        turns = self.random.uniform(-widest, widest, (len(rows), _CANDIDATES))
        directions = _direction(np.arctan2(ahead[:, 0], ahead[:, 1])[:, None] + turns)
        near = (head + self.margin * ahead)[:, None] + self.margin * directions
        ends = _dash(near, directions, self.style.length)
        own = number - back + 1
        weights = np.where(self._room(ends, own, rows), np.cos(self.style.turn * turns) ** 2, 0.0)
        step = self.style.length + 2 * self.margin
        for steps in _FORESIGHT:
            weights *= np.where(self._free(near + steps * step * directions, own, rows), 1.0, _BLOCKED)
        reached = np.cumsum(weights, axis=1)
        chosen = (reached > self.random.random_sample((len(rows), 1)) * reached[:, -1:]).argmax(axis=1)
        found = reached[:, -1] > _LEAST_WEIGHT
        self._put(number, ends, chosen, found, rows)
        return found

    def clear(self, number: np.ndarray, rows: np.ndarray) -> None:
        """Takes the dashes number (R,) and after away; `taken` is right again as these came last."""
        for row, last in zip(rows.tolist(), number.tolist(), strict=True):  # ten times as fast as all rows at once
            self.taken[row] *= self.taken[row] <= last

    def directions(self, shape: tuple[int, ...]) -> np.ndarray:
        return _direction(self.random.uniform(-np.pi, np.pi, shape))

    def _put(
        self, number: np.ndarray, ends: np.ndarray, chosen: np.ndarray, found: np.ndarray, rows: np.ndarray
    ) -> None:
        rows, number, ends = rows[found], number[found], ends[found, chosen[found]]
        self.dashes[rows, number] = ends
        flat, owner = self.taken.reshape(-1), (number + 1).astype(np.uint8)[:, None]
        layer = np.where(number < 2 * self.style.dashes, number % 2, 0)
        for points in (ends[:, 0], ends[:, 1]):  # discs around both reach around the middle
            index = ((2 * rows + layer) * self.side**2 + self._cells(points))[:, None] + self.disc
            there = flat[index]
            flat[index] = np.where(there == 0, owner, there)

    def _room(self, ends: np.ndarray, own: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether dashes (R, K, 2, 2) are free, (R, K)."""
        start, end = ends[..., 0, :], ends[..., 1, :]
        return self._free(end, own, rows) & self._free(start, own, rows) & self._free((start + end) / 2, own, rows)

    def _free(self, points: np.ndarray, own: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether points (R, K, 2) are inside and not taken, (R, K); what is taken by own (R,) is free."""
        low, high = _EDGE, self.style.size - 1 - _EDGE
        y, x = points[..., 0], points[..., 1]
        inside = (np.minimum(y, x) >= low) & (np.maximum(y, x) <= high)
        flat, index = self.taken.reshape(-1), self._cells(np.clip(points, low, high))
        for layer in (0, 1):
            there = flat[((2 * rows + layer) * self.side**2)[:, None] + index]
            inside &= (there == 0) | (there == own[:, None])
        return inside

    def _cells(self, points: np.ndarray) -> np.ndarray:
        cells = np.rint(points * self.style.cells).astype(np.int64) + self.border
        return cells[..., 0] * self.side + cells[..., 1]


def _grown(random: np.random.RandomState, style: Style, margin: int, count: int) -> np.ndarray:
    """Dashes (B, D, 2, 2) of the images, among `count` tried, whose long paths found room."""
    growth = _Growth(random, style, margin, count)
    _long_paths(growth)
    for path in range(style.short_paths):
        _short_path(growth, 2 * style.dashes + path * style.short_dashes)
    by_turns = np.arange(2 * style.dashes).reshape(style.dashes, 2)
    return growth.dashes[:, np.concatenate([by_turns.T.reshape(-1), np.arange(by_turns.size, growth.dashes.shape[1])])]


def _long_paths(growth: _Growth) -> None:
    """Both at once; a blocked path makes its image go back some dashes and try again."""
    random, style, count = growth.random, growth.style, len(growth.dashes)
    middle = min(2 * style.start_distance, style.size / 2 - 1)
    start = random.uniform(middle, style.size - 1 - middle, (count, 1, 2))
    growth.begin(0, start, np.arange(count))
    beside = start + style.start_distance * growth.directions((count, _CANDIDATES))
    growth.keep(growth.begin(1, beside, np.arange(count)))
    number = np.full(len(growth.dashes), 2)  # of the next dash
    rows = np.arange(len(number))
    while len(rows) > len(number) * _GIVEN_UP:
        found = growth.extend(number[rows], 2, rows)
        number[rows[found]] += 1
        blocked = rows[~found]
        number[blocked] = np.maximum(2, number[blocked] - random.randint(2, 1 + _BACK, len(blocked), np.int64))
        growth.clear(number[blocked], blocked)
        rows = np.flatnonzero(number < 2 * style.dashes)
    tails, heads = growth.dashes[:, :2, 0], growth.dashes[:, 2 * style.dashes - 2 : 2 * style.dashes, 1]
    apart = np.linalg.norm(tails[:, :, None] - heads[:, None], axis=-1).min(axis=(1, 2))
    # whichever two carry the discs, they do not touch
    growth.keep((number == 2 * style.dashes) & (apart > 2 * style.disc_radius + 1))


def _short_path(growth: _Growth, first: int) -> None:
    """The dashes from `first` on, in the images that have room for all of them."""
    style, rows = growth.style, np.arange(len(growth.dashes))
    for _ in range(_TRIALS):
        tails = growth.random.uniform(_EDGE, style.size - 1 - _EDGE, (len(rows), _CANDIDATES, 2))
        found = rows[growth.begin(first, tails, rows)]
        for number in range(first + 1, first + style.short_dashes):
            found = found[growth.extend(np.full(len(found), number), 1, found)]
        rows = np.setdiff1d(rows, found)
        growth.clear(np.full(len(rows), first), rows)
        growth.dashes[rows, first : first + style.short_dashes] = np.nan


def _dash(tails: np.ndarray, directions: np.ndarray, length: float) -> np.ndarray:
    """Both ends (..., 2, 2)."""
    return np.stack([tails, tails + length * directions], axis=-2)


def _direction(angle: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 2)."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _rendered(style: Style, dashes: np.ndarray, discs: np.ndarray) -> np.ndarray:
    """uint8 (B, size, size): brightness falls over one pixel at an edge, as where the edge crosses the pixel."""
    around = int(np.ceil(max(style.length / 2 + style.thickness, style.disc_radius))) + 1
    canvas = np.zeros((len(dashes), style.size + 2 * around, style.size + 2 * around), np.float32)
    steps = np.arange(-around, around + 1)
    y, x = (part.reshape(-1) for part in np.meshgrid(steps, steps, indexing="ij"))

    def put(start: np.ndarray, end: np.ndarray, radius: float, brightness: float) -> None:
        there = np.flatnonzero(~np.isnan(start[:, 0]))
        start, end = start[there], end[there]
        corner = np.rint((start + end) / 2).astype(np.int64)
        pixels = corner[:, None] + np.stack([y, x], axis=-1)  # (B, n, 2)
        along = end - start
        squared = np.maximum((along**2).sum(axis=-1), 1e-12)
        part = np.clip(((pixels - start[:, None]) * along[:, None]).sum(axis=-1) / squared[:, None], 0, 1)
        distance = np.linalg.norm(pixels - start[:, None] - part[..., None] * along[:, None], axis=-1)
        light = (brightness * np.clip(radius + 0.5 - distance, 0, 1)).astype(np.float32)
        index = (there[:, None], pixels[..., 0] + around, pixels[..., 1] + around)
        canvas[index] = np.maximum(canvas[index], light)

    for place in range(dashes.shape[1]):
        put(dashes[:, place, 0], dashes[:, place, 1], style.thickness / 2, style.brightness)
    for place in range(2):
        put(discs[:, place], discs[:, place], style.disc_radius, 1.0)
    shown = canvas[:, around:-around, around:-around]
    return np.rint(255 * shown).astype(np.uint8)
