"""The ways to compute a layer over a whole sequence, by the names that both frameworks share.

fft        a convolution with the layer's kernel by Fourier transforms
chunked    matrix products within chunks of CHUNK steps, the states from chunk to chunk
scan       the recurrence of the states, sequential over time, vectorised over all else
recurrent  the step form, one step after the other, as it is deployed; the slowest, and the check of all others

Each gives the same output. Which ones a model offers, and which one ``auto`` takes, stands in ssm.<model>: the fastest
train step of both frameworks, measured on two CPU cores at lengths from 784 to 65,536 (docs/performance.md). DSS: fft,
with chunked 1.1 to 1.9 times as long. S5: scan, with chunked and fft 1.2 to 1.7 times as long. Not measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Collection

from settings.errors import SettingError
from settings.rules import check_choice

CHUNK = 64  # steps in a chunk of ``chunked``: 32 and 128 take as long or up to 1.3 times as long for DSS


def check_algorithm(algorithm: object, offered: Collection[str], bidirectional: bool) -> None:
    """Refuses what the model does not offer, and a step form that would have to see the future."""
    check_choice("algorithm", algorithm, ("auto", *offered))
    if algorithm == "recurrent" and bidirectional:
        raise SettingError(
            "algorithm",
            "recurrent",
            "a step at a time sees no future, and bidirectional=True asks for it",
            "set algorithm=auto or bidirectional=False.",
        )
