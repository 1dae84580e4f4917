"""Rows of random networks token by token and row by row; sums in float32, in the order k = 0, 1, 2, ..."""

import numpy as np

from uprior.sources._base import machine_of_row
from uprior.sources._exact import exp, sigmoid, tanh
from uprior.sources._machines import share_of, start_tokens
from uprior.types import Block


def write(source, draw, rows, length, network):
    """The block that ``source`` writes when used alone.

    ``network(source, rng, multiplier, length)`` draws a machine and returns (start, info); ``start()`` returns a row's
    ``step(tokens so far, conditioning token)``, which returns the logits of the next.
    """
    given = min(source.seed_length, length)
    constants = share_of(draw("constant conditions"), rows, source.constant_fraction)
    condition = start_tokens(draw("conditions"), constants, length, source.alphabet_size, source.token_dtype)
    constants = share_of(draw("constant seeds"), rows, source.constant_fraction)
    seeds = start_tokens(draw("seeds"), constants, given, source.alphabet_size, source.token_dtype)
    draw = draw.child("write")
    machine = machine_of_row(rows, source.rows_per_machine)
    multipliers = draw("multipliers").uniform(source.multiplier_low, source.multiplier_high, machine.max() + 1)
    uniform = draw("tokens").random((rows, length))
    rng = draw("weights")
    machines = [network(source, rng, float(m), length) for m in multipliers]
    tokens, floor = [], []
    for row in range(rows):
        step = machines[machine[row]][0]()
        line, nats = [int(seeds[row, 0])], [0.0]
        for t in range(1, length):
            logits = step(line, int(condition[row, t]))
            if t < given:
                token, chance = int(seeds[row, t]), 1.0
            else:
                token, chance = pick(logits, source.temperature, uniform[row, t])
            line.append(token)
            nats.append(-np.log(chance))
        tokens.append(line)
        floor.append(nats)
    return Block(
        tokens=np.array(tokens, dtype=source.token_dtype),
        machine=draw.machine_ids(machine),
        floor_nats=np.array(floor, dtype=np.float32) + np.float32(0),
        info={"multiplier": multipliers[machine]},
    )


def pick(logits, temperature, uniform):
    """(token, probability): softmax(logits / temperature), cut where a token is 17 temperatures below the likeliest."""
    temperature, top = np.float32(temperature), logits.max()
    near = [k for k in range(len(logits)) if logits[k] >= top - np.float32(17) * temperature]
    if temperature == 0 or len(near) == 1:
        return near[0], 1.0
    weights = [float(exp((logits[k] - top) / temperature)) for k in near]
    edges = np.cumsum(weights)
    i = min(int(np.searchsorted(edges, uniform * edges[-1], side="right")), len(near) - 1)
    return near[i], weights[i] / edges[-1]


def product(start, left, right):
    """start [J] + left [K] @ right [K, J]."""
    total = start
    for k in range(len(left)):
        total = total + left[k] * right[k]
    return total


def each(function):
    return lambda values: np.array([function(v) for v in values], dtype=np.float32)


tanh_of, sigmoid_of, exp_of = each(tanh), each(sigmoid), each(exp)


def flush(values):
    """Numbers too small to matter are zero."""
    return np.where(np.abs(values) > np.float32(1e-20), values, np.float32(0))


def validate(source, block):
    """What holds of every network's rows: the seed is given, likely tokens are written, floors are those of an alphabet."""
    given = min(source.seed_length, block.tokens.shape[1])
    assert np.all(block.floor_nats[:, :given] == 0)
    if source.temperature == 0:
        assert not block.floor_nats.any()
    assert block.floor_nats.mean() <= np.log(source.alphabet_size) + 0.5
    multiplier = block.info["multiplier"]
    assert source.multiplier_low <= multiplier.min() <= multiplier.max() <= source.multiplier_high
    assert len(np.unique(block.machine)) == -(-len(block.machine) // source.rows_per_machine)
