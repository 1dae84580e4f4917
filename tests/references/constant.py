"""One token, repeated."""

import numpy as np

from uprior.sources import Constant
from uprior.types import Block

GOLDEN = (1, "0cb4a1c216d8684f")
SPECS = [Constant(), Constant(alphabet_size=8), Constant(alphabet_size=3000)]


def reference(source, draw, rows, length):
    own = draw.own_machines(f"constant/{source.alphabet_size}", source.alphabet_size).tolist()
    symbols = [own[i] for i in draw("rows").integers(0, len(own), rows).tolist()]
    return Block(
        tokens=np.array([[symbol for _ in range(length)] for symbol in symbols]),
        machine=np.array(symbols),
        floor_nats=np.array([[0.0] * length for _ in range(rows)]),
    )


def validate(source, block):
    assert (block.tokens == block.machine[:, None]).all()
    assert not block.floor_nats.any()
