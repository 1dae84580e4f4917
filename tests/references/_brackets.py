"""Shared by the references of the formal languages."""

import numpy as np

from uprior.types import Block


def size(rng, low, high):
    """One whole number low..high with probability proportional to 1/n."""
    edges, total = [], 0.0
    for n in range(low, high + 1):
        total += 1.0 / n
        edges.append(total)
    target = rng.random() * total
    return next((low + i for i, edge in enumerate(edges) if target < edge), high)


def sizes(rng, low, high, count):
    return [size(rng, low, high) for _ in range(count)]


def dyck_reference(write_row):
    """The reference of a language whose rows write_row(source, rng, types in use, length) writes, with their floors."""

    def reference(source, draw, rows, length):
        most = source.max_types or source.k
        types = sizes(draw("machines"), min(source.min_types, most), most, rows)
        rng = draw("rows")
        written = [write_row(source, rng, n, length) for n in types]
        return Block(
            tokens=np.array([tokens for tokens, _ in written], dtype=source.token_dtype),
            machine=draw.machine_ids(np.array(types)),
            floor_nats=np.array([floor for _, floor in written], dtype=np.float32),
        )

    return reference
