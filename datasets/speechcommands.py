"""Speech Commands v0.02, all 35 words: a second of raw sound, 16,000 steps of one value.

Parts by the official lists, in the protocols official and s5 too. See parts/speech.py for values and protocols.
"""

from __future__ import annotations

from datasets.files.speech_commands import WORDS_35
from datasets.parts import speech
from datasets.parts.clips import Listed
from datasets.parts.speech import SpeechSet

PROTOCOLS = speech.protocols(official=Listed())
SET = SpeechSet("speechcommands", WORDS_35, PROTOCOLS)
describe, prepare, load, class_names = SET.describe, SET.prepare, SET.load, SET.class_names
