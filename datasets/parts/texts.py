"""What a protocol says of texts and expressions: how long they are, and whether padding counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets.data import PADDING
from settings.errors import SettingError
from settings.rules import required, whole_of

LONGEST_TEXT = 1_000_000  # characters; no text of these sets has a tenth of that


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

    def chosen_length(self, settings: Mapping[str, Any], protocol: str) -> int:
        """The setting `length`: null is this length, another is refused where it is not free."""
        if required("dataset", settings, "length") is None:
            return self.length
        value = whole_of("dataset", settings, "length", least=2, most=LONGEST_TEXT)
        if value != self.length and not self.free:
            rule = f"contradicts protocol={protocol}, which has {self.length}"
            raise SettingError("dataset.length", value, rule, "leave it null, or choose protocol=default.")
        return value
