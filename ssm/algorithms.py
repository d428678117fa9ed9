"""The ways to compute a layer over a whole sequence, by the names that both frameworks share.

fft        a convolution with the layer's kernel by Fourier transforms
chunked    matrix products within chunks of CHUNK steps, the states from chunk to chunk
scan       the recurrence of the states, sequential over time, vectorised over all else
recurrent  the step form, one step after the other, as it is deployed; the slowest, and the check of all others

Each gives the same output. Which ones a model offers, and which one ``auto`` takes, stands in ssm.<model>.
"""

from __future__ import annotations

from collections.abc import Collection

from ssm.checks import check_choice

CHUNK = 64  # steps in a chunk of ``chunked``: TODO measured


def check_algorithm(algorithm: object, offered: Collection[str], bidirectional: bool) -> None:
    """Refuses what the model does not offer, and a step form that would have to see the future."""
    check_choice("algorithm", algorithm, ("auto", *offered))
    if algorithm == "recurrent" and bidirectional:
        raise ValueError(
            "algorithm='recurrent': a step at a time sees no future, and bidirectional=True asks for it; "
            "set algorithm=auto or bidirectional=False."
        )
