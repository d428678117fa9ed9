"""What a protocol says of texts and expressions: how long they are, and whether padding counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets.data import PADDING
from datasets.settings import LONGEST_TEXT, required, whole_number


@dataclass(frozen=True)
class Text:
    """length: tokens of a text, its END among them. free: whether dataset.length may choose another.

    masked: the network leaves the padding out; else it is a symbol like others.
    """

    length: int
    free: bool = False
    masked: bool = True

    @property
    def padding(self) -> int | None:
        """The token that is none of the sequence's; None where padding is a symbol like others."""
        return PADDING if self.masked else None

    def chosen_length(self, name: str, settings: Mapping[str, Any], protocol: str) -> int:
        """The setting `length` of data set `name`: null is this length, another is refused where it is not free."""
        if required(name, settings, "length") is None:
            return self.length
        value = whole_number(name, settings, "length", least=2, most=LONGEST_TEXT)
        if value != self.length and not self.free:
            raise ValueError(
                f"dataset {name}: length={value} contradicts protocol={protocol}, which has {self.length}; leave it "
                "null, or choose protocol=default"
            )
        return value
