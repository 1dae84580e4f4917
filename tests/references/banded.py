"""Banded: machines judged one by one, with a Lempel-Ziv parser of substrings and a Counter's entropy."""

import math
import zlib
from collections import Counter

import numpy as np

from references._inner import written
from uprior.sources import ContextTree, Iterated, Pointwise, RandomLanguage, RandomLSTM, Uniform
from uprior.sources.banded import Banded
from uprior.types import Block

GOLDEN = (1, "05ef78916396ff15")
SPECS = [
    Banded(),
    Banded(source=Pointwise(), measure="entropy", low=0.5, high=2.0, probe_rows=3),
    Banded(source=ContextTree(rows_per_machine=2), measure="floor", low=0.0, high=2.5),
    Banded(source=RandomLanguage(alphabet_size=300, max_letters=20), measure="deflate", low=1.0, high=14.0),
    Banded(source=Uniform(alphabet_size=1 << 17), low=1.0, high=17.0),
    Banded(source=Iterated(RandomLSTM(hidden=8)), measure="entropy", low=0.0, high=3.0),
]


def phrases(row):
    """Lempel and Ziv 1976: each phrase is the shortest substring from here that does not begin earlier."""
    text = "".join(map(chr, row))
    count = first = 0
    while first < len(text):
        size = 1
        while first + size <= len(text) and text.find(text[first : first + size], 0, first + size - 1) >= 0:
            size += 1
        first += size
        count += 1
    return count


def bits(source, block, i):
    row = block.tokens[i].tolist()
    if source.measure == "lempel-ziv":
        return phrases(row) * math.log2(len(row)) / len(row)
    if source.measure == "entropy":
        return -sum(c / len(row) * math.log2(c / len(row)) for c in Counter(row).values())
    if source.measure == "floor":
        return float(np.mean(block.floor_nats[i], dtype=float)) / math.log(2)
    wide = 1 if source.alphabet_size <= 256 else 2 if source.alphabet_size <= 65536 else 4
    raw = b"".join(token.to_bytes(wide, "little") for token in row)
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    return 8 * len(squeezed.compress(raw) + squeezed.flush()) / len(row)


def reference(source, draw, rows, length):
    inner = source.source
    each = getattr(inner, "rows_per_machine", None)
    wanted, kept, tried, found, round_ = -(-rows // (each or 1)), [], 0, 0, 0
    while found < wanted:
        asked = min(wanted, (wanted - found) * max(tried, 1) // max(found, 1) + 1)
        here = draw.child("candidates", round_)
        if each is None:
            block = written(inner, here, asked, length)
        else:
            size = each + source.probe_rows
            block = written(inner.replace(rows_per_machine=size), here, asked * size, length)
        writers = {}
        for i, machine in enumerate(block.machine.tolist()):
            writers.setdefault(machine, []).append(i)
        good = set()
        for machine, theirs in writers.items():
            judged = theirs if each is None else theirs[each:]
            if source.low <= sum(bits(source, block, i) for i in judged) / len(judged) <= source.high:
                good.add(machine)
        if each is None:
            accepted = [[i] for i, machine in enumerate(block.machine.tolist()) if machine in good]
        else:
            accepted = [writers[machine][:each] for machine in sorted(writers) if machine in good]
        kept += [[(block, i) for i in theirs] for theirs in accepted]
        found, tried, round_ = found + len(accepted), tried + asked, round_ + 1
    order = [kept[n % wanted][n // wanted] for n in range(rows)]
    known = each is not None and all(block.floor_nats is not None for block, _ in order)
    return Block(
        tokens=np.array([block.tokens[i] for block, i in order]),
        machine=np.array([block.machine[i] for block, i in order]),
        floor_nats=np.array([block.floor_nats[i] for block, i in order]) if known else None,
        scored=None if order[0][0].scored is None else np.array([block.scored[i] for block, i in order]),
    )


def validate(source, block):
    assert (block.info["complexity"] >= source.low).all() and (block.info["complexity"] <= source.high).all()
    for machine in np.unique(block.machine):
        assert len(np.unique(block.info["complexity"][block.machine == machine])) == 1
