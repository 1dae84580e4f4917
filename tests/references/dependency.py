"""Sentences of pairs, with lists; the floor with a dict of how many pairs a sentence may have."""

import math

import numpy as np

from references._laws import Law, zipf_laws
from uprior.sources._base import machine_of_row
from uprior.sources._formal import laws_of
from uprior.sources.dependency import Dependency
from uprior.sources.log_linear import log_linear_weights
from uprior.types import Block

GOLDEN = (1, "09314a7e0e10c996")
SPECS = [
    Dependency(),
    Dependency.preset("ri"),
    Dependency(structure="flat", types=3, exponent=0.0, min_sentence=3, max_sentence=9),
    Dependency(ends="same", types=5, exponent=0.5, min_sentence=2, max_sentence=5, p_open=0.7),
    Dependency(ends="same", structure="flat", types=50, rows_per_machine=2),
    Dependency(law="log_linear", types=9, min_sentence=7, max_sentence=7),
]


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    count = int(machine.max()) + 1
    if source.law == "zipf":
        laws, which = zipf_laws(source, draw, source.types, count)
    else:
        found = laws_of(log_linear_weights(draw("machines"), count, 1, source.types, 10))
        laws, which = [Law(found, m) for m in range(count)], np.arange(count)
    rng = draw("rows")
    written = [write_row(source, rng, laws[m], length) for m in machine]
    return Block(
        tokens=np.array([tokens for tokens, _ in written], dtype=source.token_dtype),
        machine=draw.machine_ids(which[machine]),
        floor_nats=np.array([floor for _, floor in written], dtype=np.float32),
    )


def write_row(source, rng, law, length):
    tokens, floor = [], []
    while len(tokens) < length:
        sentence, costs = write_sentence(source, rng, law, length - len(tokens))
        tokens += sentence
        floor += costs
    return tokens, floor


def write_sentence(source, rng, law, room):
    nesting, same = source.structure == "nesting", source.ends == "same"
    size = source.min_sentence + int(rng.random() * (source.max_sentence - source.min_sentence + 1))
    pairs = (size + int(rng.random() * 2)) // 2
    tokens, floor, opened, done = [], [], [], 0
    belief = dict(enumerate(source.pairs_law()))  # number of pairs -> probability

    def opening(n):
        """The chance that a sentence of n pairs opens one now."""
        if n == done or not opened:
            return int(n > done)
        return source.p_open if nesting else (n - done) / (n - done + len(opened))

    while opened or done < pairs:
        if len(tokens) == room:
            return tokens, floor
        if not opened or (done < pairs and rng.random() < opening(pairs)):
            forbidden = (opened[-1:] if nesting else opened) if same else []
            kind = law.draw(rng, forbidden)
            share = law.chance[kind] / (1 - sum(law.chance[i] for i in forbidden))
            belief = {n: p * opening(n) for n, p in belief.items() if n > done}
            opened.append(kind)
            tokens.append(kind)
            done += 1
        else:
            place = -1 if nesting else int(rng.random() * len(opened))
            kind = opened[place]
            share = 1 if nesting else opened.count(kind) / len(opened)
            belief = {n: p * (1 - opening(n)) for n, p in belief.items() if n >= done}
            opened[place] = opened[-1]
            opened.pop()
            tokens.append(kind if same else kind + source.types)
        total = sum(belief.values())
        belief = {n: p / total for n, p in belief.items()}
        floor.append(-math.log(share * total))
    if len(tokens) < room:
        tokens.append(source.alphabet_size - 1)
        floor.append(-math.log(belief[done]))
    return tokens, floor


def validate(source, block):
    separator = source.alphabet_size - 1
    for row, sentences in zip(block.tokens.tolist(), block.info["sentences"], strict=True):
        parts = [[]]
        for token in row:
            if token == separator:
                parts.append([])
            else:
                parts[-1].append(token)
        assert sentences == len(parts) - (not parts[-1])
        for i, part in enumerate(parts):
            left = rest(source, part)
            assert len(part) + left <= source.max_sentence + 1
            assert i == len(parts) - 1 or (left == 0 and len(part) >= source.min_sentence - 1)


def rest(source, sentence):
    """How many pairs are open after this part of a sentence; raises where it is none."""
    opened = []
    for token in sentence:
        kind = token % source.types
        tail = token >= source.types
        if source.ends == "same":
            tail = opened[-1:] == [kind] if source.structure == "nesting" else kind in opened
        if not tail:
            opened.append(kind)
        elif source.structure == "nesting":
            assert opened.pop() == kind
        else:
            opened.remove(kind)
    return len(opened)
