"""A reservoir one row at a time, unit by unit."""

import numpy as np

from references._autoregressive import flush, pick, product, tanh_of
from uprior.sources import EchoState
from uprior.sources._base import machine_of_row
from uprior.types import Block

GOLDEN = (1, "9365d691e484a2cf")
SPECS = [
    EchoState(),
    EchoState.preset("bloem", units=128),
    EchoState(units=30, connections=6, temperature=0.5, rows_per_machine=2, lyapunov=True, alphabet_size=16),
    EchoState(units=9, connections=3, temperature=0.0, min_symbols=3, max_symbols=3, start_tokens=1),
]


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    uniform, rng = draw("rows").random((rows, length)), draw("machines")
    machines = [source._machine(rng) for _ in range(machine.max() + 1)]
    tokens, floor = [], []
    for row in range(rows):
        alphabet, _, sources, weights, inputs, readout = machines[machine[row]]
        state = np.zeros(source.units, dtype=np.float32)
        line, nats = [], []
        for t in range(length):
            if t < source.start_tokens:
                symbol, chance = int(uniform[row, t] * len(alphabet)), 1 / len(alphabet)
            else:
                logits = product(np.zeros(len(alphabet), dtype=np.float32), state, readout.T)
                symbol, chance = pick(logits, source.temperature, uniform[row, t])
            total = inputs[:, symbol]
            for c in range(source.connections):
                total = total + weights[:, c] * state[sources[:, c]]
            state = flush(tanh_of(total))
            line.append(alphabet[symbol])
            nats.append(-np.log(chance) + 0.0)
        tokens.append(line)
        floor.append(nats)
    return Block(
        tokens=np.array(tokens, dtype=source.token_dtype),
        machine=draw.machine_ids(machine),
        floor_nats=np.array(floor, dtype=np.float32),
    )


def validate(source, block):
    symbols = block.info["symbols"]
    assert source.min_symbols <= symbols.min() <= symbols.max() <= source.max_symbols
    for machine in np.unique(block.machine):
        mine = block.machine == machine
        assert len(np.unique(block.tokens[mine])) <= symbols[mine][0]
        start = block.floor_nats[mine, : source.start_tokens]
        assert np.allclose(start, np.log(symbols[mine][0]))
    if source.temperature == 0:
        assert not block.floor_nats[:, source.start_tokens :].any()
    assert ("lyapunov" in block.info) == source.lyapunov
