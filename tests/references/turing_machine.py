"""Turing machines in plain Python, their tapes dictionaries."""

import math

import numpy as np

from uprior.sources import get
from uprior.types import Block

GOLDEN = (1, "3ae7dd3a3994e3b4")
SPECS = [
    get("turing_machine"),
    get("turing_machine:start=blank,emit=read,halting=0.05"),
    get("turing_machine:emit=read,rows_per_machine=2,halting=0.1,on_halt=stay,max_states=3"),
    get("turing_machine:emit=written,max_symbols=2"),
    get("turing_machine:emit=tape,start=blank,max_period=2"),
    get("turing_machine:emit=tape,halting=0.02"),
]
HALT = "halt"


def draw_table(rng, states, symbols, halting):
    """(state, symbol) -> (symbol to write, -1 or 1, next state)."""
    table = {}
    for state in range(states):
        for symbol in range(symbols):
            drawn = int(rng.random() * (2 * states * symbols))
            drawn, right = drawn // 2, drawn % 2
            after = HALT if halting > 0 and rng.random() < halting else drawn // symbols
            table[state, symbol] = (drawn % symbols, 1 if right else -1, after)
    return table


def run(source, table, symbols, length, rng=None):
    """(row, floor); fresh cells are drawn from ``rng``, 0 without."""
    fresh = lambda: int(rng.random() * symbols) if rng else 0  # noqa: E731
    tape, head, state, row, floor = {}, 0, 0, [], []
    for _ in range(length * (source.steps_per_token if source.emit == "tape" else 1)):
        surprise = 0.0
        if head not in tape:
            tape[head] = fresh()
            surprise = math.log(symbols) if rng else 0.0
        read = tape[head]
        written, move, after = table[state, read]
        tape[head] = written
        row.append(
            {"read": read, "written": written, "trace": state * source.max_symbols + read, "tape": None}[source.emit]
        )
        floor.append(surprise)
        head, state = head + move, after
        if state == HALT:
            if source.emit == "tape" or source.on_halt == "stay":
                break
            tape, head, state = {}, 0, 0
    if source.emit == "tape":
        first = head - length // 2
        return [tape[cell] if cell in tape else fresh() for cell in range(first, first + length)], [0.0] * length
    return row + row[-1:] * (length - len(row)), floor + [0.0] * (length - len(row))


def soon_repeats(half, most):
    return any(half[:-shift] == half[shift:] for shift in range(1, most + 1) if shift < len(half))


def reference(source, draw, rows, length):
    random = source.start == "random"
    machines = -(-rows // source.rows_per_machine)
    sizes = draw("sizes").integers(2, [source.max_states + 1, source.max_symbols + 1], (machines, 2)).tolist()
    machine_rng, tape_rng = draw("machines"), draw("tapes")
    written = [None] * rows
    for m, (states, symbols) in enumerate(sizes):
        for _ in range(33):
            table = draw_table(machine_rng, states, symbols, source.halting)
            written[m] = run(source, table, symbols, length, machine_rng if random else None)
            if not soon_repeats(written[m][0][length // 2 :], source.max_period):
                break
        if random:
            for row in range(m, rows, machines):
                written[row] = run(source, table, symbols, length, tape_rng)
    tokens, floor = zip(*written, strict=True)
    return Block(
        tokens=np.array(tokens, dtype=np.uint16),
        machine=draw.machine_ids(np.arange(rows) % machines),
        floor_nats=None if random and source.emit in ("written", "tape") else np.array(floor, dtype=np.float32),
    )


def validate(source, block):
    """Tokens, floors and facts against each other; traces against some table."""
    info, length = block.info, block.tokens.shape[1]
    for n, row in enumerate(block.tokens.astype(np.int64)):
        symbols, half = info["symbols"][n], row[length // 2 :]
        assert (row % source.max_symbols < symbols).all() and (row // source.max_symbols < info["states"][n]).all()
        if source.start == "blank" and info["redrawn"][n] < 32:
            periods = [p for p in range(1, min(source.max_period, len(half) - 1) + 1) if (half[p:] == half[:-p]).all()]
            assert not periods
        if block.floor_nats is not None:
            fresh = block.floor_nats[n] > 0
            np.testing.assert_allclose(block.floor_nats[n][fresh], np.log(symbols), rtol=1e-6)
            assert source.start == "random" or not fresh.any()
            if source.start == "random" and info["halts"][n] == 0:
                assert fresh.sum() == info["cells"][n] and fresh[0]
        if source.emit == "trace" and source.halting == 0:
            after = {}
            assert row[0] < source.max_symbols  # state 0
            for here, then in zip(row[:-1], row[1:] // source.max_symbols, strict=True):
                assert after.setdefault(int(here), int(then)) == then
    if source.halting == 0:
        steps = length * (source.steps_per_token if source.emit == "tape" else 1)
        assert (info["halts"] == 0).all() and (info["steps"] == steps).all() and (info["cells"] <= steps).all()
