"""What cellular automata on a ring share: rows in plain Python, and their check by NumPy's roll."""

import itertools
import math

import numpy as np

from uprior.types import Block


def write(source, draw, rows, length, colours, info, advance):
    """The block, cell by cell; advance(m, cells) is the list of cells one time step later under the rule of machine m."""
    count = -(-rows // source.rows_per_machine)
    rng = draw("starts")
    skipped = rng.integers(0, source.burn_in, count, endpoint=True).tolist()
    live = [source.density] * count
    if source.initial == "random_density":
        live = rng.random(count).tolist()
    elif source.initial == "uniform":
        live = [(k - 1) / k for k in colours]
    tokens, floor = [], []
    starts = first_cells(source, draw("cells"), [live[n % count] for n in range(rows)], colours)
    for n, cells in enumerate(starts):
        m = n % count
        for _ in range(skipped[m]):
            cells = advance(m, cells)
        row = cells[: source.width]
        nats = [surprise(source, colour, live[m], colours[m]) for colour in row]
        while len(row) < length:
            for _ in range(source.steps_ahead):
                cells = advance(m, cells)
            row = row + cells[: source.width]
        tokens.append(row[:length])
        floor.append((nats + [0.0] * length)[:length])
    machine = np.arange(rows) % count
    if source.initial != "single":
        info = info | {"density": live}
    if source.burn_in:
        info = info | {"burn_in": skipped}
    return Block(
        tokens=np.array(tokens, dtype=np.uint16),
        machine=draw.machine_ids(machine),
        scored=None if source.score == "all" else np.array([[counts(source, t) for t in range(length)]] * rows),
        floor_nats=np.array(floor, dtype=np.float32) if exact(source) else None,
        info={name: np.array([values[m] for m in machine]) for name, values in info.items()},
    )


def size(source):
    return source.cells or source.width


def first_cells(source, rng, live, colours):
    """A ring of cells for each row, whose chance of another colour than 0 is live[n]."""
    ring, rows = size(source), len(live)
    if source.initial == "single":
        return [[int(i == source.width // 2) for i in range(ring)] for _ in range(rows)]
    if source.initial == "uniform" and source.name == "elementary_ca":
        drawn = rng.integers(0, 256, (rows, -(-ring // 8)), dtype=np.uint8).tolist()
        return [[byte[i // 8] >> i % 8 & 1 for i in range(ring)] for byte in drawn]
    starts = []
    for n, p in enumerate(live):
        others = colours[n % len(colours)] - 1
        drawn = rng.random(ring).tolist()
        starts.append([1 + min(int(u * (others / p)), others - 1) if u < p else 0 for u in drawn])
    return starts


def surprise(source, colour, live, colours):
    if source.score != "all" or source.initial == "single":
        return 0.0
    return -math.log(1 - live if colour == 0 else live / (colours - 1))


def exact(source):
    whole = size(source) == source.width
    if source.initial == "single" or source.score == "predictable":
        return True
    return whole and (source.score == "later" or source.burn_in == 0)


def counts(source, t):
    step, cell = divmod(t, source.width)
    if source.score == "predictable" and size(source) > source.width:
        reach = source.steps_ahead * getattr(source, "max_radius", 1)
        return step > 0 and cell - reach >= 0 and cell + reach < source.width
    return step > 0


def follows(source, row, step, radius):
    """Assert that every step of a row is the ``steps_ahead``-th image of the one before; step maps arrays of cells.

    On a ring of which a part is hidden only cells are compared that no hidden cell can have reached.
    """
    whole = size(source) == source.width
    pages = [row[i : i + source.width] for i in range(0, len(row), source.width)]
    compared = 0
    for now, then in itertools.pairwise(pages):
        cells, known = now, np.ones(source.width, dtype=bool)
        for _ in range(source.steps_ahead):
            cells = step(cells)
            if not whole:
                known[:radius] = known[-radius:] = False
                known = np.all([np.roll(known, s) for s in range(-radius, radius + 1)], axis=0)
                known[:radius] = known[-radius:] = False
        known = known[: len(then)]
        np.testing.assert_array_equal(then[known], cells[: len(then)][known])
        compared += int(known.sum())
    return compared
