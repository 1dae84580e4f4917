"""BitMemory: the reference and a checker of its rows."""

import math

import numpy as np

from references._bits import bits_reference, read
from uprior.sources import BitMemory

GOLDEN = (1, "35f0c94259e1c889")
SPECS = [
    BitMemory(),
    BitMemory(min_items=1, max_items=3, strings=2),
    BitMemory(min_items=3, max_items=9, packed=False, end_token=False),
    BitMemory(strings=1, min_items=3, packed=False, dividers=False, scored_bits="every"),
    BitMemory(strings=3, max_items=12, dividers=False, end_token=False, score="all"),
    BitMemory(**{**BitMemory.presets["fpt"], "min_items": 50, "max_items": 50}),
]


def write_rest(source, rng, strings, made):
    chosen = strings[int(rng.random() * len(strings))]
    candidates, shown = strings, []
    for i in range(len(chosen)):
        # Masks are independent but not all absent.
        p_mask = 0.5 if 2 in shown else 0.5 / (1 - 0.5 ** (len(chosen) - i))
        if rng.random() < p_mask:
            shown.append(2)
            made.add(2, -math.log(p_mask))
        else:
            left = [s for s in candidates if s[i] == chosen[i]]
            shown.append(chosen[i])
            made.add(chosen[i], -math.log((1 - p_mask) * len(left) / len(candidates)))
            candidates = left
    if source.dividers:
        made.add(3)
    for i, bit in enumerate(chosen):
        left = [s for s in candidates if s[i] == bit]
        made.add(bit, -math.log(len(left) / len(candidates)), answer=shown[i] == 2 or source.scored_bits == "every")
        candidates = left


reference = bits_reference(write_rest, 3)


def validate(source, block):
    for n, begin, (*strings, shown) in read(source, block, source.strings + 1, 3):
        stop = begin + len(shown)
        answer = block.tokens[n, begin:stop].tolist()
        masked = np.array(shown) == 2
        assert answer in strings and masked.any() and set(shown) <= {0, 1, 2}
        np.testing.assert_array_equal(np.array(shown)[~masked], np.array(answer)[~masked])
        if block.scored is not None:
            scored = np.ones(len(shown), dtype=bool) if source.scored_bits == "every" else masked
            np.testing.assert_array_equal(block.scored[n, begin:stop], scored)
            assert not source.end_token or block.scored[n, stop]
        # The whole answer costs ln(strings that agree / those of them that are the answer).
        agree = [s for s in strings if all(a == b for a, b in zip(s, shown, strict=True) if b != 2)]
        cost = block.floor_nats[n, begin:stop].sum()
        np.testing.assert_allclose(cost, math.log(len(agree) / agree.count(answer)), atol=1e-5)
