"""Prepared arrays of an earlier version that are found again: by the name that they would have now, the one they had.

A recipe's name holds a checksum of the code that makes its arrays, so that other code never finds them. Where code was
changed and makes the same arrays of every source, as when it moved to another file, an entry here says so. An entry
lapses by itself when that code changes once more; a test then asks for it to be renewed or taken out. Settings that
nobody has by default, and sets whose files are held to more rules than before, are made anew.
"""

from __future__ import annotations

EARLIER = {
    "cifar10-fa072bc0e899": "cifar10-d8a0a9330134",
    "cifar10-5b35b2e449a4": "cifar10-70cfd8f4052b",
    "mnist-13ab0bf1c122": "mnist-819f2b079b45",
    "retrieval-3694ac70ac92": "retrieval-c659ac0728a0",
}
