"""The Pathfinder generator: labels traced from the geometry, images that show it, and what must not tell the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datasets.generators.pathfinder import Drawing, draw, style

STYLES = [(32, 14, 1), (32, 6, 1), (128, 14, 2), (128, 9, 3)]  # pixels, dashes, margin


def drawn(size: int, dashes: int, margin: int, count: int = 80) -> tuple[float, Drawing]:
    """The gap between the dashes of a path, and images."""
    return 2.0 * margin, draw(replace(style(size, dashes), margins=(margin,)), seed=1, chunk=0, count=count)


def traced(dashes: np.ndarray, gap: float) -> list[set[int]]:
    """Paths as sets of dashes (D, 2, 2), found by their ends alone: no further apart than a gap is together."""
    present = [index for index in range(len(dashes)) if not np.isnan(dashes[index]).any()]
    paths = [{index} for index in present]
    for index in present:
        between = np.linalg.norm(dashes[index][:, None, None] - dashes[present][None], axis=-1).min(axis=(0, 2))
        near = {other for other, distance in zip(present, between, strict=True) if distance <= gap + 1e-6}
        joined = set().union(*(path for path in paths if path & near))
        paths = [path for path in paths if not path & near] + [joined]
    return paths


@pytest.mark.parametrize("size, dashes, margin", STYLES)
def test_labels_are_those_of_the_traced_paths(size: int, dashes: int, margin: int) -> None:
    gap, drawing = drawn(size, dashes, margin)
    for lines, discs, label in zip(drawing.dashes, drawing.discs, drawing.labels, strict=True):
        paths = traced(lines, gap)
        ends = [int(np.flatnonzero((lines == disc).all(axis=2).any(axis=1))[0]) for disc in discs]
        together = any(set(ends) <= path for path in paths)
        assert together == bool(label)
        sizes = sorted(map(len, paths))
        assert sizes[-2:] == [dashes, dashes]
        assert set(sizes[:-2]) <= {dashes // 3}


@pytest.mark.parametrize("size, dashes, margin", STYLES)
def test_images_show_their_geometry(size: int, dashes: int, margin: int) -> None:
    """Bright at the discs, lit at the middle of every dash, dark away from all of them."""
    _, drawing = drawn(size, dashes, margin, count=6)
    own = style(size, dashes)
    grid = np.stack(np.mgrid[:size, :size], axis=-1).astype(float)
    for image, lines, discs in zip(drawing.images, drawing.dashes, drawing.discs, strict=True):
        lines = lines[~np.isnan(lines).any(axis=(1, 2))]
        points = np.rint(np.concatenate([lines[:, 0], lines.mean(axis=1), lines[:, 1]])).astype(int)
        assert image[points[:, 0], points[:, 1]].min() > 0
        for disc in discs:
            inside = np.linalg.norm(grid - disc, axis=-1) <= own.disc_radius - 0.5
            assert inside.any()
            assert (image[inside] == 255).all()
        along = np.concatenate([lines[:, 0] + part * (lines[:, 1] - lines[:, 0]) for part in np.linspace(0, 1, 9)])
        distance = np.min([np.linalg.norm(grid - point, axis=-1) for point in along], axis=0)
        to_discs = np.min([np.linalg.norm(grid - disc, axis=-1) for disc in discs], axis=0)
        dark = (distance > own.thickness / 2 + 0.8) & (to_discs > own.disc_radius + 0.5)
        assert dark.mean() > 0.5
        assert not image[dark].any()


def features(images: np.ndarray) -> np.ndarray:
    """What an image tells without being looked at: brightness, lit pixels, where they lie, levels, sums of a grid."""
    values = images.astype(np.float64) / 255
    size = images.shape[1]
    place = np.arange(size)
    total = values.sum(axis=(1, 2)) + 1e-9
    columns = [values.mean(axis=(1, 2)), values.std(axis=(1, 2)), (values > 0).mean(axis=(1, 2))]
    columns += [(values > level).mean(axis=(1, 2)) for level in (0.25, 0.5, 0.75, 0.99)]
    for axis in (1, 2):
        centre = (values.sum(axis=3 - axis) * place).sum(axis=1) / total
        columns += [centre, (values.sum(axis=3 - axis) * place**2).sum(axis=1) / total - centre**2]
    blocks = values.reshape(len(values), 4, size // 4, 4, size // 4).mean(axis=(2, 4)).reshape(len(values), -1)
    found = np.concatenate([np.stack(columns, axis=1), blocks], axis=1)
    return (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-9)


def test_labels_are_balanced_and_simple_statistics_do_not_tell_them() -> None:
    """On 1,024 images of which the other 1,024 say nothing: within four deviations of guessing."""
    drawings = [draw(style(32, 14), seed=2, chunk=chunk, count=512) for chunk in range(4)]
    images = np.concatenate([drawing.images for drawing in drawings])
    labels = np.concatenate([drawing.labels for drawing in drawings]).astype(int)
    assert labels.mean() == 0.5
    known = features(images)
    inputs = np.concatenate([known, np.ones((len(known), 1))], axis=1)
    half = len(labels) // 2
    weights = np.linalg.solve(
        inputs[:half].T @ inputs[:half] + np.eye(inputs.shape[1]), inputs[:half].T @ (2 * labels[:half] - 1)
    )
    accuracy = ((inputs[half:] @ weights > 0) == labels[half:]).mean()
    assert abs(accuracy - 0.5) < 4 * 0.5 / np.sqrt(half)


def test_images_depend_on_seed_and_chunk_alone() -> None:
    def images(seed: int, chunk: int) -> np.ndarray:
        return draw(style(32, 6), seed, chunk, count=16).images

    np.testing.assert_array_equal(images(0, 0), images(0, 0))
    assert not np.array_equal(images(0, 0), images(1, 0))
    assert not np.array_equal(images(0, 0), images(0, 1))
