"""BitXor: the reference and a checker of its rows."""

import numpy as np

from references._bits import bits_reference, read
from uprior.sources import BitXor

GOLDEN = (1, "ac91d227849f4721")
SPECS = [
    BitXor(),
    BitXor.preset("fpt"),
    BitXor(strings=5, min_items=1, max_items=7, packed=False),
    BitXor(strings=3, max_items=9, dividers=False, end_token=False, score="all"),
    BitXor(packed=False, holdout="none", max_items=3),
]


def write_rest(source, rng, strings, made):
    made.add_answer([sum(column) % 2 for column in zip(*strings, strict=True)])


reference = bits_reference(write_rest, 2)


def validate(source, block):
    for n, begin, strings in read(source, block, source.strings, 2):
        expected = np.bitwise_xor.reduce(np.array(strings))
        stop = begin + len(expected)
        np.testing.assert_array_equal(block.tokens[n, begin:stop], expected)
        assert block.scored is None or block.scored[n, begin : stop + source.end_token].all()
        assert (block.floor_nats[n, begin : stop + source.end_token] == 0).all()
