"""Random automata as dictionaries of edges, walked one step at a time."""

from references import _walks
from uprior.sources.ndfa import NDFA

GOLDEN = (1, "0e8aa88f5c90bb31")
SPECS = [
    NDFA(),
    NDFA.preset("bloem"),
    NDFA(alphabet_size=2, max_symbols=2, min_states=5, max_states=5, rows_per_machine=2),
    NDFA(min_states=3, max_states=3, more_states=0.0, min_symbols=1, more_symbols=1.0, max_symbols=4),
]


def machines(source, draw, rows):
    """The machines of a block, as their edges."""
    rng, names, made = draw("machines"), list(range(source.alphabet_size)), []
    for _ in range(-(-rows // source.rows_per_machine)):
        states = geometric(rng, source.min_states, source.max_states, source.more_states)
        symbols = geometric(rng, source.min_symbols, source.max_symbols, source.more_symbols)
        chosen = _walks.shuffle_first(rng, names, symbols)
        p = rng.random()
        edges = []
        for _ in range(states):
            out = [(int(rng.random() * symbols), to) for to in range(states) if rng.random() < p] or [(0, 0)]
            edges.append([(symbol, to, 1 / len(out)) for symbol, to in out])
        made.append({"edges": edges, "names": chosen, "starts": 1, "even": True, "edge_probability": p})
    return made


def geometric(rng, least, most, more):
    size = least
    while size < most and rng.random() < more:
        size += 1
    return size


def reference(source, draw, rows, length):
    return _walks.write(source, draw, rows, length, machines(source, draw, rows))


def validate(source, block):
    _walks.check(source, block)
    assert (block.info["edges"] >= block.info["states"]).all()  # no state is a dead end
    assert (block.info["edges"] <= block.info["states"] ** 2).all()
