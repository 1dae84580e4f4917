"""Random languages: what each ingredient promises, checked on machines that have it alone."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import Counter

import numpy as np
import pytest

from uprior.errors import SpecError
from uprior.sources import _language_layout as layout
from uprior.sources import get
from uprior.sources._base import Draw
from uprior.sources.random_language import RandomLanguage

# Words and nothing else: one separator or a line end between words.
BARE = {
    "max_reuse": 0.0, "max_suffixes": 0, "max_mark_rate": 0.0, "max_number_rate": 0.0, "max_nest_rate": 0.0,
    "max_copy_rate": 0.0, "max_copy_error": 0.0, "max_wrap": 0, "second_form_probability": 0.0,
    "no_separator_probability": 0.0, "wide_probability": 0.0, "records_probability": 0.0,
}  # fmt: skip


def write(rows=8, length=4000, seed=0, **fields):
    """Rows as local symbols, and their machines."""
    spec = RandomLanguage(**{"rows_per_machine": rows, **fields})
    draw = Draw((spec.fingerprint, seed, "train", 0), "train", 0)
    tokens, machine, machines = spec.write(draw, rows, length)
    symbols = np.empty(tokens.shape, dtype=int)
    for m, one in enumerate(machines):
        local = np.full(spec.alphabet_size, -1)
        used = np.flatnonzero(one["code"] >= 0)[::-1]  # of a mirrored pair the opening symbol wins
        local[one["code"][used]] = used
        symbols[machine == m] = local[tokens[machine == m]]
    assert (symbols >= 0).all()  # a machine writes its own symbols only
    return symbols, machine, machines


def words_of(row):
    """The runs of letters of a row, as tuples; the last, cut off by the row's end, is left out."""
    words, current = [], []
    for symbol in row:
        if symbol < layout.DIGIT:
            current.append(int(symbol) % layout.SECOND)
        elif current:
            words.append(tuple(current))
            current = []
    return words


def between(first, count):
    return range(first, first + count)


def test_every_word_comes_from_the_lexicon():
    for seed in range(3):
        symbols, _, machines = write(seed=seed, min_lexicon=30, max_lexicon=30, **BARE)
        words = {word for row in symbols for word in words_of(row)}
        # Rounding gives each class at least one word; two words may be spelled alike.
        assert len(words) <= max(30, machines["class_first"][0, machines["classes"][0]])
        assert len(words) >= 10
        delimiters = {*between(layout.SEPARATOR, 3), *between(layout.END, 2), layout.LINE}
        assert set(np.unique(symbols[symbols >= layout.DIGIT]).tolist()) <= delimiters


def test_the_second_row_of_a_machine_speaks_the_same_language():
    shared = []
    for rows_per_machine in (1, 2):
        symbols, _, _ = write(rows=2, rows_per_machine=rows_per_machine, min_lexicon=50, max_lexicon=50, **BARE)
        one, two = (set(words_of(row)) - {(i,) for i in range(64)} for row in symbols)
        shared.append(len(one & two) / len(two))
    assert shared[0] < 0.5 < shared[1]


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.3])
def test_word_ranks_follow_zipfs_law(exponent):
    """One class, no shift: the word of rank r is drawn with the integral of x^-exponent over [r, r+1)."""
    fixed = {"min_word_exponent": exponent, "max_word_exponent": exponent, "max_word_shift": 0.0, "max_classes": 1}
    # Kinship 0 and many letters keep spellings apart, so that counts by spelling are counts by word.
    symbols, _, _ = write(rows=40, min_lexicon=1000, max_lexicon=1000, min_letters=60, max_kinship=0.0, **fixed, **BARE)
    counts = np.array(sorted(Counter(word for row in symbols for word in words_of(row)).values(), reverse=True))
    ranks = np.arange(1, 1002)
    power = 1 - exponent
    ends = np.log(ranks) if power == 0 else ranks**power / power
    expected = np.diff(ends) / (ends[-1] - ends[0])
    slope = np.polyfit(np.log(ranks[2:60]), np.log(counts[2:60]), 1)[0]
    assert abs(slope + exponent) < 0.25
    assert 0.5 < counts[0] / counts.sum() / expected[0] < 2


def test_used_words_return():
    """Burstiness: with reuse, the same word stands among the next ten far more often than by frequency alone."""
    returns = []
    for reuse in (0.0, 1.0):
        symbols, _, machines = write(
            rows=80, rows_per_machine=1, length=1000, min_lexicon=2000, absence=0.0, **BARE | {"max_reuse": reuse}
        )
        if reuse:
            assert machines["reuse"].mean() > 0.3
        words = [words_of(row) for row in symbols]
        returns.append(np.mean([row[i] in row[i + 1 : i + 11] for row in words for i in range(len(row) - 10)]))
    assert returns[1] > returns[0] + 0.1


def test_brackets_match():
    nests = BARE | {"max_nest_rate": 0.8, "records_probability": 0.0}
    symbols, machine, machines = write(rows=60, rows_per_machine=1, length=1500, absence=0.0, **nests)
    opened = deepest = 0
    for row, m in zip(symbols, machine, strict=True):
        mirrored = min(machines["mirrored"][m], machines["pairs"][m])
        stack = []
        for symbol in row:
            kind = symbol - layout.OPEN
            if 0 <= kind < mirrored and stack == [kind]:
                stack.pop()
            elif symbol in between(layout.OPEN, layout.MAX_PAIRS):
                stack.append(kind)
                opened += 1
            elif symbol in between(layout.CLOSE, layout.MAX_PAIRS):
                assert stack.pop() == symbol - layout.CLOSE
            elif symbol in between(layout.END, layout.MAX_ENDS):
                assert not stack  # all are closed before a sentence ends
            deepest = max(deepest, len(stack))
        assert deepest <= layout.MAX_DEPTH
    assert opened > 1000 and deepest >= 3


def longest_repeat(row):
    """Length of the longest span that occurs twice, by a search on its length (a repeat holds all shorter ones)."""
    low, high, text = 0, len(row), np.ascontiguousarray(row, dtype=np.uint8).tobytes()
    while low < high - 1:
        middle = (low + high) // 2
        spans = [text[i : i + middle] for i in range(len(text) - middle + 1)]
        low, high = (middle, high) if len(set(spans)) < len(spans) else (low, middle)
    return low


def test_earlier_spans_are_repeated_and_errors_break_them():
    lengths = []
    for rate, error in ((0.0, 0.0), (0.15, 0.0), (0.15, 1.0)):
        copies = BARE | {"max_copy_rate": rate, "max_copy_error": error, "min_lexicon": 3000, "min_letters": 30}
        symbols, _, _ = write(rows=40, rows_per_machine=1, length=1000, absence=0.0, **copies)
        lengths.append(np.median([longest_repeat(row) for row in symbols]))
    assert lengths[1] > 2 * lengths[0]
    assert lengths[1] > lengths[2]


def test_second_forms_follow_sentence_ends():
    cased = BARE | {"second_form_probability": 1.0}
    symbols, machine, machines = write(rows=120, rows_per_machine=1, length=1000, **cased)
    checked = 0
    for row, m in zip(symbols, machine, strict=True):
        if machines["ends"][m] == 0 or machines["marked_class"][m] >= 0:
            continue
        starts = [i + 2 for i in range(len(row) - 2) if row[i] in between(layout.END, 2)]
        assert all(row[i] in between(layout.SECOND, layout.MAX_LETTERS) for i in starts)
        assert sum(row[i] in between(layout.SECOND, layout.MAX_LETTERS) for i in range(len(row))) <= len(
            starts
        ) + 2 + sum(symbol == layout.LINE for symbol in row)
        checked += len(starts)
    assert checked > 100


def test_wide_letters_are_a_lead_and_a_second_token():
    symbols, machine, machines = write(rows=30, rows_per_machine=1, length=600, **BARE | {"wide_probability": 1.0})
    for row, m in zip(symbols, machine, strict=True):
        leads = np.isin(row, between(layout.LEAD, layout.MAX_LEADS))[:-1]
        follows = row[1:]
        is_wide = (follows >= machines["first_wide"][m]) & (follows < layout.SECOND)
        assert np.array_equal(leads, is_wide)
    assert (symbols >= layout.LEAD).mean() > 0.05


def test_records_keep_their_template_and_counters_count():
    records = BARE | {"records_probability": 1.0}
    symbols, machine, machines = write(rows=300, rows_per_machine=1, length=600, **records)
    counted = 0
    for row, m in zip(symbols, machine, strict=True):
        one = machines[m]
        if one["templates"] != 1 or one["labels"]:
            continue
        count = one["fields"][0]
        delimiters = one["field"][0, : count - 1, 4].tolist()
        lines = "".join(chr(s) for s in row).split(chr(layout.LINE))[:-1]
        for line in lines:
            assert [ord(char) for char in line if layout.SEPARATOR <= ord(char) < layout.END] == delimiters
        if one["field"][0, 0, 0] == layout.COUNTER:
            first = [line.split(chr(delimiters[0]))[0] for line in lines]
            values = [
                sum((ord(d) - layout.DIGIT) * int(one["base"]) ** i for i, d in enumerate(text[::-1])) for text in first
            ]
            assert values == list(range(values[0], values[0] + len(values)))
            counted += 1
    assert counted >= 3


def test_rows_differ_widely_in_compressibility():
    block = RandomLanguage(rows_per_machine=1).block(0, 0, rows=300, length=512)
    ratios = np.array([len(zlib.compress(row.astype(np.uint8).tobytes(), 9)) / 512 for row in block.tokens])
    low, high = np.quantile(ratios, [0.05, 0.95])
    assert low < 0.3 and high > 0.5
    assert high > 2 * low


def test_nothing_is_fixed_across_machines():
    """Token identities are fresh: over machines every token is used about equally often."""
    block = RandomLanguage(rows_per_machine=1).block(0, 0, rows=2000, length=64)
    used = np.array([np.bincount(row, minlength=256) > 0 for row in block.tokens]).mean(0)
    assert abs(used - used.mean()).max() < 6 * math.sqrt(used.mean() / 2000)


def test_pure_disjoint_and_golden():
    spec = RandomLanguage()
    block = spec.block(0, 0, rows=32, length=128)
    assert block.tokens.tobytes() == spec.block(0, 0, rows=32, length=128).tokens.tobytes()
    assert block.tokens.dtype == np.uint16 and block.floor_nats is None
    rows = {row.tobytes() for row in block.tokens}
    assert rows.isdisjoint(row.tobytes() for row in spec.block(1, 0, rows=32, length=128).tokens)
    assert rows.isdisjoint(row.tobytes() for row in spec.block(0, 1, rows=32, length=128).tokens)
    assert rows.isdisjoint(row.tobytes() for row in spec.block(0, 0, rows=32, length=128, split="test").tokens)
    assert len(np.unique(block.machine)) == 8
    assert set(block.info) == {"lexicon", "letters", "records", "separators", "wide", "reuse", "copy_rate"}
    # A changed hash is a changed stream: it needs a new version.
    assert (spec.version, hashlib.sha256(block.tokens.tobytes()).hexdigest()[:16]) == (1, "f07f45226144b179")


def test_rows_do_not_depend_on_what_was_written_before():
    """The tables are used again for the next machine: nothing of the last one may show."""
    spec = RandomLanguage(alphabet_size=300, max_lexicon=60, rows_per_machine=1)
    draw = Draw((spec.fingerprint, 0, "train", 0), "train", 0)
    first = spec.write(draw, 5, 200)[0]
    spec.write(Draw((spec.fingerprint, 1, "train", 0), "train", 0), 50, 200)
    assert np.array_equal(first, spec.write(draw, 5, 200)[0])


@pytest.mark.parametrize(
    "text",
    [
        "random_language:alphabet_size=100",
        "random_language:min_letters=50,max_letters=20",
        "random_language:min_lexicon=6000",
        "random_language:min_word_exponent=3",
        "random_language:absence=1.5",
    ],
)
def test_impossible_specs_are_refused(text):
    with pytest.raises(SpecError, match="is not allowed; allowed:"):
        get(text)


def test_small_alphabets_do():
    block = RandomLanguage(alphabet_size=64, max_letters=12).block(0, 0, rows=16, length=100)
    assert block.tokens.max() < 64
