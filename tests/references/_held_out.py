"""The split of a problem by its hash, in plain Python."""


def hashed(symbols):
    state = 0
    for symbol in symbols:
        state = ((state ^ symbol) * 1000003 + 12345) % 2**31
        state ^= state >> 15
    return state


def split_of(symbols, value):
    """Of the question that has ``symbols`` before its last drawn one, ``value``."""
    return {0: "validation", 1: "test"}.get((value + (hashed(symbols) >> 7)) % 10, "train")
