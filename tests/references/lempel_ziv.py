"""A Lempel-Ziv decoder fed random codes, in plain Python."""

import numpy as np

from references.zipf import alias_table, shuffle_first, take
from uprior.sources import LempelZiv
from uprior.sources._exact import exp
from uprior.types import Block

GOLDEN = (1, "3b74261aed4a8261")
SPECS = [
    LempelZiv(),
    LempelZiv(alphabet_size=4, max_symbols=4, lag_share=1.0, max_copy=1000.0),
    LempelZiv(alphabet_size=60_000, min_symbols=2, max_symbols=500, lag_share=0.0, max_error=1.0, max_copy=1.0),
]


def reference(source, draw, rows, length):
    machine_rng, rng = draw("machines"), draw("rows")
    settings = source._settings(machine_rng, rows, length)
    log_rank = np.log(np.arange(1, source.max_symbols + 1)).astype(np.float32)
    identities = list(range(source.alphabet_size))
    tokens, floor = [], []
    for symbols, exponent, literal, stop, error, lag in zip(*settings, strict=True):
        shuffle_first(machine_rng, identities, symbols)
        weight = [float(exp(-np.float32(exponent) * log_rank[i])) for i in range(symbols)]
        total = 0.0
        for w in weight:
            total += w
        law = [w / total for w in weight]
        table = alias_table(law)
        written, nats, pointer = [], [], None
        for t in range(length):
            before = pointer
            if pointer is not None and rng.random() < stop:
                pointer = None
            if pointer is None and t >= max(lag, 1) and rng.random() >= literal:
                pointer = t - lag if lag else int(rng.random() * t)
            literally = pointer is None or (error > 0 and rng.random() < error)
            symbol = take(rng.random(), *table) if literally else written[pointer]

            def copied(probability, symbol=symbol, error=error, law=law):
                return error * law[symbol] + (1 - error) * probability

            afresh = law[symbol]
            if t >= max(lag, 1):
                places = [t - lag] if lag else range(t)
                afresh *= literal
                afresh += (1 - literal) * copied(sum(written[at] == symbol for at in places) / len(places))
            p = afresh if before is None else stop * afresh + (1 - stop) * copied(float(written[before] == symbol))
            pointer = None if pointer is None else pointer + 1
            written.append(symbol)
            nats.append(-np.log(p))
        tokens.append([identities[s] for s in written])
        floor.append(nats)
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows)),
        floor_nats=np.array(floor),
    )


def validate(source, block):
    """A token that is new to its row was a literal, and costs more than all literals that come first could share; a machine
    that copies from one distance without errors or literals repeats itself."""
    for row, floor, symbols, lag, error, literal in zip(
        block.tokens,
        block.floor_nats,
        *(block.info[name] for name in ("symbols", "lag", "error", "literal_share")),
        strict=True,
    ):
        _, first = np.unique(row, return_index=True)
        assert len(first) <= symbols
        # The tokens that came first are different symbols of one law, so their probabilities add up to 1 at most.
        assert np.exp(-floor[first]).sum() < 1 + 1e-5
        if lag and not error:
            # Where the token differs from the one a lag before, it was a literal, or a copy would have cost less.
            differs = row[lag:] != row[:-lag]
            assert (np.exp(-floor[lag:][differs]) <= literal + 1e-6).all()
