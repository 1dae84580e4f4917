"""Packed: episodes appended to a list until the row is full."""

import numpy as np

from references._inner import written
from uprior.sources import ContextTree, Iterated, Pointwise, RandomLanguage, RandomLSTM, Uniform
from uprior.sources.packed import Packed
from uprior.types import Block

GOLDEN = (1, "95047d6bb59efd21")
SPECS = [
    Packed(),
    Packed(source=Pointwise(), episode_length=13, shortest_episode=4, separator=True, same_machine=True),
    Packed(source=Uniform(alphabet_size=1 << 16), episode_length=2, separator=True),
    Packed(source=RandomLanguage(), episode_length=20, shortest_episode=19),
    Packed(source=ContextTree(rows_per_machine=1), episode_length=16, shortest_episode=1),
    Packed(source=Iterated(RandomLSTM(hidden=8)), episode_length=24),
]


def lengths_of(source, draw, rows, length):
    """Lists of the lengths of the episodes of each row, more than enough of them."""
    shortest = source.shortest_episode or source.episode_length
    most = -(-length // (shortest + source.separator))
    if shortest == source.episode_length:
        return [[shortest] * most for _ in range(rows)]
    return draw("lengths").integers(shortest, source.episode_length + 1, (rows, most)).tolist()


def episodes_in(lengths, gap, length):
    """How many episodes begin before the row ends."""
    end = count = 0
    while end < length:
        end += lengths[count] + gap
        count += 1
    return count


def reference(source, draw, rows, length):
    sizes, gap = lengths_of(source, draw, rows, length), int(source.separator)
    most = max(episodes_in(row, gap, length) for row in sizes)
    here, inner = draw.child("source"), source.source
    if source.same_machine:
        block = written(inner.replace(rows_per_machine=most), here, rows * most, source.episode_length)
        block = block.take(np.argsort(block.machine, kind="stable"))
    else:
        block = written(inner, here, rows * most, source.episode_length)
    out, marks, nats = [], [], []
    for n in range(rows):
        if block.scored is not None and source.shortest_episode:
            sizes[n][0] = source.episode_length
        row, scored, floor = [], [], []
        for e in range(episodes_in(sizes[n], gap, length)):
            i, size = n * most + e, sizes[n][e]
            row += block.tokens[i, :size].tolist() + [inner.alphabet_size] * gap
            scored += (([True] * size) if block.scored is None else block.scored[i, :size].tolist()) + [False] * gap
            if block.floor_nats is not None:
                floor += block.floor_nats[i, :size].tolist() + [0.0] * gap
        out.append(row[:length])
        marks.append(scored[:length])
        nats.append(floor[:length])
    return Block(
        tokens=np.array(out),
        machine=draw.machine_ids(np.arange(rows)),
        scored=np.array(marks) if gap or block.scored is not None else None,
        floor_nats=None if block.floor_nats is None else np.array(nats),
    )


def validate(source, block):
    assert len(np.unique(block.machine)) == len(block.machine)
    shortest = source.shortest_episode or source.episode_length
    gap = int(source.separator)
    length = block.tokens.shape[1]
    assert (block.info["episodes"] >= -(-length // (source.episode_length + gap))).all()
    assert (block.info["episodes"] <= -(-length // (shortest + gap))).all()
    if gap:
        for row, scored in zip(block.tokens, block.scored, strict=True):
            marks = np.flatnonzero(row == source.source.alphabet_size)
            assert not scored[marks].any()
            spans = np.diff(marks, prepend=-1) - 1
            assert (spans >= shortest).all() and (spans <= source.episode_length).all()
