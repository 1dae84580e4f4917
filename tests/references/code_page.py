"""Code pages in plain Python: lists of tokens, a set of free codes, over the language's own reference."""

import numpy as np

from references.random_language import Language, Row
from uprior.sources import _language_layout as at
from uprior.sources.code_page import CodePage
from uprior.sources.random_language import NOT_LETTERS, RandomLanguage
from uprior.types import Block

GOLDEN = (1, "be67fb8ebe07aca8")
# Everything a small alphabet has to hold, in machines that use it all.
FULL = {
    "absence": 0.0, "second_form_probability": 1.0, "wide_probability": 1.0, "max_nest_rate": 0.8, "rows_per_machine": 1,
}  # fmt: skip
SPECS = [
    CodePage(),
    CodePage(RandomLanguage(alphabet_size=64, min_letters=7, max_letters=7, records_probability=0.0, **FULL)),
    CodePage(RandomLanguage(alphabet_size=64, min_letters=2, max_letters=8, max_lexicon=30, records_probability=1.0)),
    CodePage(RandomLanguage(alphabet_size=1 << 16, absence=0.0, max_copy_rate=0.5, max_copy_error=1.0)),
]


def power_of_two(symbols):
    size = 1
    while size < symbols:
        size *= 2
    return size


def page_of(code, rng, codes):
    """{token of the language: its code} of a machine whose symbols have the tokens {symbol: token}."""
    ends = (at.SECOND, at.DIGIT, at.SEPARATOR, at.LEAD, at.SYMBOLS)
    kinds = [[] for _ in ends]
    for symbol in sorted(code):
        kind = kinds[next(k for k, end in enumerate(ends) if symbol < end)]
        if code[symbol] not in kind:
            kind.append(code[symbol])
    letters, second, digits, delimiters, leads = kinds
    orders = []
    for kind in (letters, digits, delimiters, leads):
        order, flipped = rng.permutation(len(kind)).tolist(), int(rng.integers(power_of_two(len(kind))))
        orders.append([place ^ flipped for place in order])
    orders.insert(1, orders[0][: len(second)])
    sizes = [power_of_two(sum(power_of_two(len(kind)) for kind in kinds if kind))]
    while sizes[-1] < codes:
        sizes.append(2 * sizes[-1])
    size = sizes[rng.integers(len(sizes))]
    first = size * int(rng.integers(codes // size))
    page, free = {}, set(range(first, first + size))
    for k in sorted(range(5), key=lambda k: (-len(kinds[k]), k)):
        if kinds[k]:
            size = power_of_two(len(kinds[k]))
            begins = [begin for begin in range(0, codes, size) if free.issuperset(range(begin, begin + size))]
            begin = begins[rng.integers(len(begins))]
            page.update((token, begin + place) for token, place in zip(kinds[k], orders[k], strict=True))
            free.difference_update(range(begin, begin + size))
    return page


def reference(source, draw, rows, length):
    language, inner = source.language, draw.child("language")
    count = -(-rows // language.rows_per_machine)
    knobs, rng, pages = language._machines(inner("machines"), count), inner("rows"), draw("pages")
    shuffled, tokens = list(range(language.alphabet_size)), [None] * rows
    for m in range(count):
        machine = Language(knobs[m], rng, shuffled)
        page = page_of(machine.code, pages, language.alphabet_size)
        for n in range(m, rows, count):
            tokens[n] = [page[token] for token in Row(machine, rng, length).tokens]
    return Block(np.array(tokens), draw.machine_ids(np.arange(rows) % count))


def validate(source, block):
    """A machine's codes lie in as many blocks as it has kinds, wherever no kind is larger than a block."""
    for machine in np.unique(block.machine):
        mine = block.machine == machine
        letters, leads = block.info["letters"][mine][0], block.info["wide"][mine][0]
        used = np.unique(block.tokens[mine])
        assert used.max() < source.alphabet_size and len(used) <= 2 * letters + NOT_LETTERS
        assert len(np.unique(used // max(power_of_two(letters), 16))) <= 4 + leads
