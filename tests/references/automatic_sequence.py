"""Automatic sequences in plain Python: every number's digits are read from the first one on."""

import numpy as np

from references.turing_machine import soon_repeats
from references.zipf import shuffle_first
from uprior.sources import AutomaticSequence
from uprior.types import Block

GOLDEN = (1, "88cd0bb399fc3c9b")
SPECS = [
    AutomaticSequence(),
    AutomaticSequence(alphabet_size=2, max_base=2, max_states=2, max_symbols=2, max_bits=0),
    AutomaticSequence(max_base=3, max_states=4, max_bits=48, max_period=64),
    AutomaticSequence(alphabet_size=65_000, max_base=64, max_states=256, max_symbols=256, max_period=0),
]


def digits_of(number, base):
    """Most significant first; none for 0."""
    return [*digits_of(number // base, base), number % base] if number else []


def reference(source, draw, rows, length):
    sizes, rng = draw("sizes"), draw("machines")
    bases = sizes.integers(2, source.max_base, rows, endpoint=True).tolist()
    states = sizes.integers(2, source.max_states, rows, endpoint=True).tolist()
    symbols = sizes.integers(2, [min(s, source.max_symbols) for s in states], endpoint=True).tolist()
    bits = sizes.integers(0, source.max_bits, rows, endpoint=True).tolist()
    identities, tokens = list(range(source.alphabet_size)), []
    for n in range(rows):
        shuffle_first(rng, identities, symbols[n])
        for _ in range(33):
            after = {(s, d): 0 for s in range(states[n]) for d in range(bases[n])}
            for place in list(after)[1:]:
                after[place] = int(rng.random() * states[n])
            output = [identities[int(rng.random() * symbols[n])] for _ in range(states[n])]
            start = int(rng.random() * 2 ** bits[n])
            row = []
            for number in range(start, start + length):
                state = 0
                for digit in digits_of(number, bases[n]):
                    state = after[state, digit]
                row.append(output[state])
            if not soon_repeats(row[length // 2 :], source.max_period):
                break
        tokens.append(row)
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows)),
        floor_nats=np.zeros((rows, length)),
    )


def validate(source, block):
    """All numbers that share their first digits find one state: at every scale there are no more different blocks than states."""
    length = block.tokens.shape[1]
    assert not block.floor_nats.any()
    assert len(set(block.machine.tolist())) == len(block.machine)
    for row, base, states, symbols, start, redrawn in zip(
        block.tokens,
        *(block.info[name].tolist() for name in ("base", "states", "symbols", "start", "redrawn")),
        strict=True,
    ):
        assert base <= source.max_base and symbols <= states <= source.max_states and start < 2**source.max_bits
        assert len(set(row.tolist())) <= symbols
        width = base
        while width <= length:
            whole = row[-start % width :]
            whole = whole[: len(whole) // width * width].reshape(-1, width)
            assert len({line.tobytes() for line in whole}) <= states
            width *= base
        half = row[length // 2 :]
        if redrawn < 32:
            assert not any((half[p:] == half[:-p]).all() for p in range(1, min(source.max_period, len(half) - 1) + 1))
