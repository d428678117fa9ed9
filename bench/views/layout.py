"""A table of text on a page: what is the same in each row stands once above it, and it keeps to a width.

A table that is too wide loses columns, the fewest that are enough, and says which. Not here: what the cells say.
"""

from __future__ import annotations

import itertools
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from settings.progress import WIDTH

LEFT_OUT = "`python -m bench.table` shows all with `--width 0` or `--format csv`."


@dataclass(frozen=True)
class Layout:
    """How a table's columns are treated.

    rows: columns that say what a row is of, and may go above the table; the last one stays where all would go.
    right: columns of numbers. spare: what a table that is too wide loses, the least used first. spoken: how a value is
    put in the line above, such as {"batch": "batch {}"}; without: the value alone.
    """

    rows: Sequence[str]
    right: Sequence[str]
    spare: Sequence[str] = ()
    spoken: Mapping[str, str] = field(default_factory=dict)
    whole: str = ""  # how to see what was left out


def laid_out(frame: pd.DataFrame, layout: Layout, width: int | None = WIDTH) -> str:
    """A frame of texts as Markdown: a line with what all rows share, the table, a line with what was left out.

    width: of the table in columns; None is any.
    """
    shared, left = _shared(frame, layout)
    chosen, lost = _fitting(left, layout, width)
    blocks = [_table(chosen, layout)]
    if shared:
        blocks.insert(0, filled(f"All rows: {'; '.join(shared)}.", width))
    if lost:
        said = f"Left out, as the table would be wider than {width} columns: {', '.join(lost)}."
        blocks.append(filled(f"{said} {layout.whole}".strip(), width))
    return "\n\n".join(blocks)


def fits(frame: pd.DataFrame, layout: Layout, width: int | None) -> bool:
    """Whether laid_out would leave nothing out."""
    return not _fitting(_shared(frame, layout)[1], layout, width)[1]


def filled(text: str, width: int | None = WIDTH, indent: str = "") -> str:
    """Prose in lines of at most `width` columns; later ones indented."""
    if width is None:
        return text
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def screen_width() -> int:
    """Columns of the terminal that stdout is, or WIDTH."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH
    except (OSError, ValueError, AttributeError):  # a file, a pipe, none
        return WIDTH


def _shared(frame: pd.DataFrame, layout: Layout) -> tuple[list[str], pd.DataFrame]:
    """What all rows share, in words, and the frame without it."""
    rows = [name for name in layout.rows if name in frame.columns]
    same = [name for name in rows if frame[name].nunique() == 1]
    if len(same) == len(rows):  # a row has to say what it is of
        same = same[:-1]
    values = {name: frame[name].iloc[0] for name in same}
    shared = [layout.spoken.get(name, "{}").format(value) for name, value in values.items() if value]
    return shared, frame.drop(columns=same)


def _fitting(frame: pd.DataFrame, layout: Layout, width: int | None) -> tuple[pd.DataFrame, list[str]]:
    """The frame without the fewest columns that make it fit, of as few the least used; and their names."""
    spare = [name for name in layout.spare if name in frame.columns]
    for count in range(len(spare) + 1):
        for lost in itertools.combinations(spare, count):
            chosen = frame.drop(columns=list(lost))
            if width is None or len(_table(chosen, layout).partition("\n")[0]) <= width:
                return chosen, list(lost)
    return frame.drop(columns=spare), spare  # as narrow as it gets


def _table(frame: pd.DataFrame, layout: Layout) -> str:
    columns = [[str(name), *frame[name]] for name in frame.columns]
    widths = [max(3, *map(len, column)) for column in columns]
    right = [name in layout.right for name in frame.columns]
    rule = [
        f"{'-' * (width + 1)}:" if end else f":{'-' * (width + 1)}" for width, end in zip(widths, right, strict=True)
    ]
    lines = [
        " | ".join(
            cell.rjust(width) if end else cell.ljust(width) for cell, width, end in zip(row, widths, right, strict=True)
        )
        for row in zip(*columns, strict=True)
    ]
    head, *body = [f"| {line} |" for line in lines]
    return "\n".join([head, f"|{'|'.join(rule)}|", *body])
