"""Lindenmayer systems in plain Python: words as lists, windows counted one by one."""

import math

import numpy as np

from references.pcfg import draw_of
from references.zipf import shuffle_first
from uprior.sources import Lindenmayer
from uprior.types import Block

GOLDEN = (1, "87d86067debad50f")
SPECS = [
    Lindenmayer(),
    Lindenmayer.preset("fibonacci", rows_per_machine=1),
    Lindenmayer.preset("thue-morse"),
    Lindenmayer(variants=3),
    Lindenmayer(alphabet_size=2, max_symbols=2, max_production=2, rows_per_machine=2),
]
FIXED = {"fibonacci": {0: [[0, 1]], 1: [[0]]}, "thue-morse": {0: [[0, 1]], 1: [[1, 0]]}}


def grow(rng, productions, most):
    """(the first ``most`` symbols of the first word that has so many, steps), or None if that takes more than 64 steps."""
    word = [0]
    for step in range(65):
        if len(word) >= most:
            return word[:most], step
        word = word[:most]
        word = [
            b
            for a in word
            for b in productions[a][int(rng.random() * len(productions[a])) if len(productions[a]) > 1 else 0]
        ]
    return None


def trivial(word):
    return any(sum(a != b for a, b in zip(word, word[p:], strict=False)) < 256 // 32 for p in range(1, 17))


def draw_system(rng, symbols, most, variants):
    return {
        a: [[int(rng.random() * symbols) for _ in range(1 + int(rng.random() * most))] for _ in range(variants)]
        for a in range(symbols)
    }


def reference(source, draw, rows, length):
    machines = -(-rows // source.rows_per_machine)
    rng, row_rng = draw("machines"), draw("rows")
    sizes, mosts = [2] * machines, [2] * machines
    if source.system == "random":
        sizes = rng.integers(source.min_symbols, source.max_symbols, machines, endpoint=True).tolist()
        mosts = rng.integers(2, source.max_production, machines, endpoint=True).tolist()
    identities = list(range(source.alphabet_size))
    tokens, floor = [[]] * rows, [[0.0] * length for _ in range(rows)]
    for m in range(machines):
        shuffle_first(rng, identities, sizes[m])
        while True:
            system = FIXED.get(source.system) or draw_system(rng, sizes[m], mosts[m], source.variants)
            grown = grow(rng, system, max(2 * length, 256))
            if source.system != "random" or (grown and not trivial(grown[0][:256])):
                break
        word = grown[0]
        for row in range(m, rows, machines):
            first = int(row_rng.random() * length)
            if source.variants > 1:
                first, grown = 0, None
                while not grown:
                    grown = grow(row_rng, system, length)
                word = grown[0]
            else:
                floor[row] = window_nats(word, first, length)
            tokens[row] = [identities[a] for a in word[first : first + length]]
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows) % machines),
        floor_nats=np.array(floor) if source.variants == 1 else None,
    )


def window_nats(word, first, length):
    fits, nats = range(length), []
    for t in range(length):
        before, fits = len(fits), [i for i in fits if word[i + t] == word[first + t]]
        nats.append(math.log(before / len(fits)))
    return nats


def canonical(row):
    """The row with symbols numbered in the order of their first appearance."""
    number = {}
    return [number.setdefault(token, len(number)) for token in row]


def validate(source, block):
    """Each row is a factor of the word that str.translate grows from the system."""
    rows, length = block.tokens.shape
    _, size, body = source._write(draw_of(source, block), rows, length)
    for n, row in enumerate(block.tokens.tolist()):
        m, symbols = n % len(size), int(block.info["symbols"][n])
        assert len(set(row)) == block.info["used"][n] <= symbols
        if source.variants > 1:
            continue
        table = {
            ord("a") + a: "".join(chr(ord("a") + b) for b in body[m, a, 0, : size[m, a, 0]]) for a in range(symbols)
        }
        word = "a"
        while len(word) < max(2 * length, 256):
            word = word.translate(table)
        places = [i for i in range(length) if canonical(word[i : i + length]) == canonical(row)]
        assert places
        if length > 40:  # long enough to tell the symbols' places, too
            same = [i for i in range(length) if word[i : i + length] == word[places[0] : places[0] + length]]
            assert abs(block.floor_nats[n].sum() - math.log(length / len(same))) < 1e-3
