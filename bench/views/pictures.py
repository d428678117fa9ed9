"""Pictures of sequences as the network sees them: an image beside its steps, a waveform, tokens as text.

One training example of each class, ten classes at most. matplotlib is imported in the function that draws, and without
a display; what is drawn are the very numbers of a batch.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import registry
from datasets.data import Dataset
from settings.problem import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.views.facts import Values

EXAMPLES = 10
COLUMNS, POINTS, INCHES = 190, 7, 0.117  # of text: characters a line, their size, a line's height
LINES = 100  # of text in all
COLOURS = {1: ("black",), 3: ("red", "green", "blue")}


def draw(dataset: Dataset, settings: Mapping[str, Any], inputs: Any, found: Values, form: str) -> bytes:
    """The picture file's bytes. inputs: the training inputs at the length that is shown; form: png, pdf or svg."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    description, problem = dataset.description, dataset.description.problem
    rows, titles = examples(dataset.train.targets, registry.class_names(settings))
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    generated = ", generated" if description.generated else ""
    figure.suptitle(f"{description.name} as the network sees it (protocol {description.protocol}{generated})")
    shown = [np.asarray(inputs[row]) for row in rows]
    with matplotlib.rc_context({"axes.titlesize": "small", "axes.titlelocation": "left"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a sign that the font lacks is drawn as a box
        if problem.tokens:
            blocks = [
                as_text(title, tokens, settings, problem, LINES // len(rows))
                for title, tokens in zip(titles, shown, strict=True)
            ]
            _write(figure, "\n\n".join(blocks))
        elif is_image(problem, shown[0].shape[0]):
            figure.set_size_inches(12, 1.5 * len(rows))
            grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(1, 6))
            for (left, right), title, sequence in zip(grid, titles, shown, strict=True):
                left.imshow(as_image(sequence, found), cmap="gray", vmin=0, vmax=1)
                left.set_axis_off()
                _line(right, title, sequence)
        else:
            figure.set_size_inches(12, 1.5 * len(rows))
            column = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
            for axes, title, sequence in zip(column, titles, shown, strict=True):
                _line(axes, title, sequence)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, bbox_inches="tight")
    return buffer.getvalue()


def examples(targets: np.ndarray, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The first sequence of each class that there is, of the first EXAMPLES classes, and what each is called; with a
    target a step the first EXAMPLES sequences.
    """
    if targets.ndim > 1:
        rows = list(range(min(EXAMPLES, len(targets))))
        return rows, [f"training sequence {row}" for row in rows]
    _, first = np.unique(targets, return_index=True)
    rows = [int(row) for row in first[:EXAMPLES]]
    return rows, [f"class {names[targets[row]]}, training sequence {row}" for row in rows]


def is_image(problem: Problem, length: int) -> bool:
    """Whether the steps are the pixels of a square image, and all of them are shown."""
    square = math.isqrt(problem.length) ** 2 == problem.length and problem.channels in COLOURS
    return square and length == problem.length


def as_image(sequence: np.ndarray, found: Values) -> np.ndarray:
    """(L, C) -> (side, side, C), each channel from its lowest value in train, 0, to its highest, 1."""
    assert found.low is not None
    assert found.high is not None
    side = math.isqrt(len(sequence))
    span = np.where(found.high > found.low, found.high - found.low, 1.0)
    return np.clip((sequence - found.low) / span, 0.0, 1.0).reshape(side, side, -1)


def as_text(title: str, tokens: np.ndarray, settings: Mapping[str, Any], problem: Problem, lines: int) -> str:
    """Tokens (L,) or (documents, L) under a title, in about so many lines; padding is counted and left out."""
    documents = tokens.reshape(-1, tokens.shape[-1])
    own = [document if problem.padding is None else document[document != problem.padding] for document in documents]
    sizes = " and ".join(f"{len(document):,} of {tokens.shape[-1]:,} tokens" for document in own)
    share = max(1, lines // len(own) - 2)
    texts = [as_lines(registry.text_of(settings, document), share) for document in own]
    return "\n".join([f"--- {title}: {sizes}", "\n\n".join(texts)])


def as_lines(text: str, lines: int) -> str:
    """Text in lines of COLUMNS. Dots stand for signs that cannot be printed, "..." for further lines."""
    printable = "".join(sign if sign.isprintable() else "·" for sign in text)
    wrapped = textwrap.wrap(printable, COLUMNS, break_on_hyphens=False)
    return "\n".join([*wrapped[:lines], "..."] if len(wrapped) > lines else wrapped)


def _line(axes: Axes, title: str, sequence: np.ndarray) -> None:
    colours = COLOURS.get(sequence.shape[1], (None,) * sequence.shape[1])
    for channel, colour in enumerate(colours):
        axes.plot(sequence[:, channel], color=colour, linewidth=0.6)
    axes.set_xlim(0, len(sequence) - 1)
    axes.set_title(title)


def _write(figure: Figure, text: str) -> None:
    figure.set_size_inches(12, INCHES * text.count("\n") + 1.0)
    axes = figure.subplots()
    axes.set_axis_off()
    # parse_math: a text with two dollar signs is no formula
    axes.text(0, 1, text, family="monospace", fontsize=POINTS, va="top", parse_math=False, transform=axes.transAxes)
