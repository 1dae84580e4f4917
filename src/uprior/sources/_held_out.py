"""Which split a problem belongs to, decided by the problem itself, so that no split ever sees another's.

Streams that are drawn apart may still draw the same problem: there are 10^10 additions of 5-digit numbers, so one test problem in
a hundred is among 10^8 training rows, and of 2-digit ones all are. Here the last symbol of a question that is drawn may only
take values that a hash of all others gives to the split: eight of ten for training, one each for validation and test.

Questions are taken as they are written: 12 + 34 and 34 + 12 are two problems, which may belong to two splits, so a test of sums
or products also asks whether a model has learnt that the order of the operands does not matter.
"""

from __future__ import annotations

from uprior.sources._exact import inlined

# Classes of a hash: the split that a value belongs to when its class is ...
VALIDATION, TEST, CLASSES = 0, 1, 10
SPLIT_CLASS = {"train": -1, "validation": VALIDATION, "test": TEST}


@inlined
def mixed(state: int, symbol: int) -> int:
    """The hash of a sequence, one symbol further: 31 bits, the same in Python and in kernels."""
    state = ((state ^ symbol) * 1000003 + 12345) & 0x7FFFFFFF
    return state ^ (state >> 15)


@inlined
def allowed(state: int, value: int, split_class: int) -> bool:
    """Whether the split may put ``value`` after a prefix of this hash; training (-1) takes every class that is nobody else's."""
    kind = (value + (state >> 7)) % 10
    return kind == split_class if split_class >= 0 else kind > 1
