"""What a protocol is, for every data set that has several: whose way to train on it and to judge what was trained.

A data set states its PROTOCOLS, "default" among them, and `chosen` finds the one that dataset.protocol= names.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from settings.rules import chosen_of

SOURCES = {
    "default": "this project",
    "official": "state-spaces/s4",
    "s5": "lindermanlab/S5",
    "s4torch": "TariqAHassan/S4Torch",
    "annotated": "srush/annotated-s4",
}


class AnySplit(typing.Protocol):
    """How sequences become train, validation and test; selects_on_test: validation is the test part."""

    @property
    def selects_on_test(self) -> bool: ...


SplitT = TypeVar("SplitT", bound=AnySplit)
ValuesT = TypeVar("ValuesT")


@dataclass(frozen=True)
class Protocol(Generic[SplitT, ValuesT]):
    """name: what dataset.protocol= calls it, one of SOURCES. split: who is trained on, who chooses the best epoch, who
    is tested. values: which numbers a network sees of a sequence, in the data set's own terms.
    """

    name: str
    split: SplitT
    values: ValuesT

    def __post_init__(self) -> None:
        assert self.name in SOURCES, self.name

    @property
    def source(self) -> str:
        """The repository whose way it is."""
        return SOURCES[self.name]

    @property
    def selects_on_test(self) -> bool:
        """Whether the best epoch is chosen on the test part."""
        return self.split.selects_on_test


def chosen(settings: Mapping[str, Any], protocols: Sequence[Protocol[SplitT, ValuesT]]) -> Protocol[SplitT, ValuesT]:
    """The protocol that dataset.protocol= names; SettingError if the data set has none of that name."""
    known = {protocol.name: protocol for protocol in protocols}
    return known[chosen_of("dataset", settings, "protocol", known)]
