"""What the data asks of a network: the only thing about the data that a model, a loss, a table or a certificate sees.

Legend: L length, C channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from settings.errors import SettingError
from settings.rules import check_flag, check_whole


@dataclass(frozen=True)
class Figure:
    """The figure that selects the best epoch, by its name in the curve, and which way is better."""

    name: str
    higher_is_better: bool

    def better(self, value: float, than: float) -> bool:
        return value > than if self.higher_is_better else value < than

    @property
    def worst(self) -> float:
        """What every finite value is better than."""
        return float("-inf") if self.higher_is_better else float("inf")


NO_TARGET = -1  # of a step that has none, where there is a target for each step: it counts in no loss and no accuracy

ACCURACY = Figure("accuracy", higher_is_better=True)
LOSS = Figure("loss", higher_is_better=False)


@dataclass(frozen=True)
class Problem:
    """Inputs, targets, and the figure that counts.

    length: steps of a sequence. classes: K. Inputs are real numbers with `channels` features a step, or tokens of a
    `vocabulary`: one of the two is given. padding: the token that fills an array behind a sequence's end, and is no
    symbol; None where every sequence fills its length (a set whose symbols include 0 loses none). documents: token
    sequences that belong to one target, 1 or 2. per_step: a target for each step of a sequence instead of one for all.
    selects: the figure that selects the best epoch. SettingError for what cannot be.
    """

    length: int
    classes: int
    channels: int | None = None
    vocabulary: int | None = None
    padding: int | None = None
    documents: int = 1
    per_step: bool = False
    selects: Figure = ACCURACY

    def __post_init__(self) -> None:
        check_whole("length", self.length)
        check_whole("classes", self.classes)
        check_flag("per_step", self.per_step)
        if (self.channels is None) == (self.vocabulary is None):
            rule = f"must be given where vocabulary={self.vocabulary!r} is not, and only there"
            raise SettingError("channels", self.channels, rule, "give one of the two.")
        check_whole("channels" if self.vocabulary is None else "vocabulary", self.features)
        if self.padding is not None:
            self._check_padding(self.padding)
        check_whole("documents", self.documents)
        if self.documents > 2:
            raise SettingError("documents", self.documents, "must be 1, or 2 that are compared", "set documents=2.")
        if self.documents > 1 and self.per_step:
            rule = f"a target a step has no meaning for documents={self.documents}, which are compared as wholes"
            raise SettingError("per_step", True, rule, "set per_step=false.")

    def _check_padding(self, padding: int) -> None:
        if self.vocabulary is None:
            rule = f"the end of a sequence shows in its tokens, and channels={self.channels} are real numbers"
            raise SettingError("padding", padding, rule, "set padding=null, or give a vocabulary.")
        check_whole("padding", padding, least=0)
        if padding >= self.vocabulary:
            rule = f"must be one of the {self.vocabulary} tokens of the vocabulary"
            raise SettingError("padding", padding, rule, f"set it below {self.vocabulary}.")

    @property
    def tokens(self) -> bool:
        """Whether the inputs are whole numbers (..., L), not real ones (..., L, C)."""
        return self.vocabulary is not None

    @property
    def features(self) -> int:
        """What the encoder takes: channels, or the vocabulary's size."""
        features = self.channels if self.vocabulary is None else self.vocabulary
        assert features is not None
        return features

    def at(self, length: int) -> Problem:
        """The same problem with sequences of another length."""
        return replace(self, length=length)
