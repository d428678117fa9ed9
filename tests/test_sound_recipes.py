"""What the prepared arrays of sound depend on: the code that reads the clips, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sound_files import ALL, REPEATED, TEN, made_speech

from datasets import registry
from datasets.files import speech_commands, wav
from datasets.files.speech_commands import WORDS_10, WORDS_35
from datasets.store import cache


@pytest.mark.parametrize("settings", [{**TEN, "protocol": "official"}, {**ALL, "protocol": "s5"}, REPEATED])
def test_what_is_made_of_clips_is_made_anew_when_their_reading_changes(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_speech(tmp_path, WORDS_35 if settings["name"] == "speechcommands" else WORDS_10)
    recipes = []
    prepared = cache.prepared

    def seen(recipe: cache.Recipe, *rest: Any) -> cache.Prepared:
        recipes.append(recipe)
        return prepared(recipe, *rest)

    monkeypatch.setattr(cache, "prepared", seen)
    registry.load(settings, tmp_path, seed=0)
    assert len(recipes) == 2  # the clips, and what is made of them
    for recipe in recipes:
        assert {speech_commands.__file__, wav.__file__} <= set(recipe.code)
