"""The tasks of the Chomsky hierarchy and of LIME: published facts, and floors against enumeration."""

import math
from collections import defaultdict
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import chomsky as chomsky_reference
from references import lime as lime_reference

from uprior.errors import SpecError
from uprior.sources.chomsky import SYMBOLS, TASKS, Chomsky
from uprior.sources.lime import TASKS as LIME_TASKS
from uprior.sources.lime import Lime


def questions(source, rows, length, seed=0):
    """(question as a tuple of tokens, its floors with that of the '.' after it) of every episode that is whole."""
    block = source.block(seed, 0, rows=rows, length=length)
    stop = SYMBOLS.index(".")
    for tokens, scored, floor in zip(block.tokens, block.scored, block.floor_nats, strict=True):
        stops = np.flatnonzero(tokens == stop)
        starts = [0, *(np.flatnonzero(scored[:-1] & ~scored[1:]) + 1)]
        for first, last in zip(starts, stops, strict=False):
            yield tuple(tokens[first:last].tolist()), floor[first : last + 1].astype(float)


CASES = [(task, n) for task in TASKS for n in (1, 2, 4, 6) if task != "bucket_sort" or n < 5] + [
    ("modular_arithmetic_brackets", 7),
    ("solve_equation", 7),
]


@pytest.mark.parametrize(("task", "items"), CASES)
def test_floors_of_questions_are_their_probabilities(task, items):
    """All questions of a small size: probabilities add up to one after every prefix, and are those of the draws."""
    source = Chomsky(task=task, min_items=items, max_items=items, announce=False)
    count, nats = defaultdict(int), {}
    for question, floor in questions(source, 400, 1200):
        count[question] += 1
        nats[question] = floor
    total = sum(count.values())
    chance = {question: math.exp(-floor.sum()) for question, floor in nats.items()}
    assert sum(chance.values()) == pytest.approx(1.0, abs=2e-3 if len(chance) > 200 else 1e-5)
    after = defaultdict(float)
    for question, p in chance.items():
        for i in range(len(question) + 1):
            after[question[:i]] += p
    for question, floor in nats.items():
        for i in range(len(question)):
            assert math.exp(-floor[: i + 1].sum()) == pytest.approx(after[question[: i + 1]], rel=2e-3, abs=1e-6)
    deviation = [(count[q] - total * p) / math.sqrt(total * p) for q, p in chance.items() if total * p > 5]
    assert np.mean(np.square(deviation)) < 1.0 + 6 * math.sqrt(2 / len(deviation))


@cache
def nestings(length, operators):
    """Every way to nest an expression of this length, d for a digit and o for an operator, with its probability."""
    if length <= 4:
        return {("", "d", "-d", "(d)", "(-d)")[length]: Fraction(1)}
    found = defaultdict(Fraction)
    for left in range(1, length - 3):
        for a, p in nestings(left, operators).items():
            for b, q in nestings(length - 3 - left, operators).items():
                found[f"({a}o{b})"] += p * q / (length - 4)
    return found


@pytest.mark.parametrize("length", [8, 13, 19])
def test_floor_of_brackets_by_enumeration(length):
    source = Chomsky(task="modular_arithmetic_brackets", min_items=length, max_items=length, announce=False)
    prefixes = defaultdict(float)
    for shape, p in nestings(length, 3).items():
        for i in range(length + 1):
            prefixes[shape[:i]] += float(p)
    for question, floor in questions(source, 20, 400):
        shape = ""
        choices = 0.0
        for i, token in enumerate(question):
            symbol = SYMBOLS[token]
            operator = symbol in "+*-" and shape != "" and shape[-1] in "d)"
            shape += "d" if symbol.isdigit() else "o" if operator else symbol
            choices += math.log(5) if symbol.isdigit() else math.log(3) if operator else 0.0
            assert floor[: i + 1].sum() == pytest.approx(choices - math.log(prefixes[shape]), abs=1e-4)


def test_floors_with_a_length_per_episode():
    """The floor of a whole question then holds its length: questions of all lengths add up to one."""
    for task in ("parity_check", "modular_arithmetic", "bucket_sort"):
        source = Chomsky(task=task, min_items=2, max_items=4, lengths="episode", announce=False)
        nats = {question: floor.sum() for question, floor in questions(source, 200, 1000)}
        assert sum(math.exp(-n) for n in nats.values()) == pytest.approx(1.0, abs=1e-4)


def test_lengths_and_tasks_are_uniform():
    """Published: lengths 1 to 40; all tasks alike."""
    block = Chomsky().block(3, 0, rows=6000, length=128)
    assert np.unique(block.info["items"]).tolist() == list(range(1, 41))
    assert block.info["items"].mean() == pytest.approx(20.5, abs=4 * 11.54 / math.sqrt(6000))
    share = np.bincount(block.info["task"], minlength=15) / 6000
    assert np.abs(share - 1 / 15).max() < 4 * math.sqrt(1 / 15 / 6000)


def test_longer_tests_need_only_another_range():
    """Published test lengths reach 500; rows grow with them."""
    source = Chomsky.preset("chomsky", min_items=500, max_items=500)
    assert source.shortest_row == 1501
    block = source.block(0, 0, rows=60, length=1501)
    assert set(block.info["task"]) == set(range(15))
    assert np.isfinite(block.floor_nats).all()


def test_published_answer_lengths():
    """n + 1 for stacks and sums, n for products, half of n (rounded up) for roots, 2 n for duplicates, n for the rest or 1."""
    expected = {"stack_manipulation": 8, "binary_addition": 8, "binary_multiplication": 7, "compute_sqrt": 4}
    expected |= {"duplicate_string": 14, "reverse_string": 7, "odds_first": 7, "bucket_sort": 7}
    block = Chomsky.preset("chomsky", min_items=7, max_items=7).block(0, 0, rows=300, length=40)
    for task, scored in zip(block.info["task"], block.scored, strict=True):
        assert scored.sum() == expected.get(TASKS[task], 1)


@pytest.mark.parametrize(
    ("task", "question", "answer"),
    [
        ("stack_manipulation", "0 1 1 0 PUSH1 POP POP", "1 1 0 :"),
        ("stack_manipulation", "1 1 0 POP POP POP", ":"),
        ("binary_addition", "0 0 1 + 0 1 1 0 1", "0 1 0 1 1 :"),
        ("binary_multiplication", "0 0 1 * 0 1 1 0 1", "0 0 0 1 1 0 1 :"),
        ("missing_duplicate_string", "0 1 1 0 0 x 1 0", "1 :"),
        ("compute_sqrt", "1 0 0 1 0 1", "1 1 0 :"),
        ("modular_arithmetic", "1 - 1 - 1", "4 :"),
        ("modular_arithmetic", "0 * 1 + 4 * 3 - 2", "0 :"),
        ("cycle_navigation", "+ - 0 - -", "3 :"),
        ("odds_first", "0 0 1 1 0 1 0 1", "0 1 1 1 0 1 0 0 :"),
        ("even_pairs", "0 1 0 1 0 0 1", "1 :"),
    ],
)
def test_published_examples(task, question, answer):
    """Examples of the paper's code (sums: 4 + 22 = 26 and 4 * 22 = 88), found among the rows of their length."""
    ids = {symbol.replace(" ", ""): i for i, symbol in enumerate(SYMBOLS)}
    asked, expected = ([ids[s] for s in text.split()] for text in (question, answer))
    n = len(asked)
    wanted = np.array([*asked, ids["."], *expected])
    source = Chomsky(task=task, min_items=n, max_items=n, packed=False, announce=False)
    for index in range(40):
        tokens = source.block(0, index, rows=4000, length=source.shortest_row).tokens
        found = tokens[(tokens[:, : n + 1] == wanted[: n + 1]).all(axis=1)]
        if len(found):
            assert found[0, : len(wanted)].tolist() == wanted.tolist()
            return
    pytest.fail("this question did not come up")


def test_square_roots_of_squares_and_their_neighbours():
    """Whole rows of short numbers, so that squares and numbers one below them come up often."""
    source = Chomsky(task="compute_sqrt", min_items=6, max_items=6, announce=False)
    seen = {}
    for tokens in source.block(0, 0, rows=50, length=200).tokens:
        for at in range(0, 190, 11):
            bits = tokens[at : at + 10].tolist()
            seen[int("".join(map(str, bits[:6])), 2)] = int("".join(map(str, bits[7:10])), 2)
    assert seen == {number: math.isqrt(number) for number in range(1, 64)}


def test_errors():
    with pytest.raises(SpecError, match="task"):
        Chomsky(task="sorting")
    with pytest.raises(SpecError, match="max_items"):
        Chomsky(max_items=5000)


def test_lime_has_the_published_lengths():
    """Measured on the published generator: source 124 tokens in the mean (75 to 203), target 36."""
    info = Lime.preset("lime").block(0, 0, rows=6000, length=256).info
    assert info["question_tokens"].mean() == pytest.approx(124, abs=1.5)
    assert info["answer_tokens"].mean() == pytest.approx(36, abs=1.0)
    assert 70 <= info["question_tokens"].min() <= 80
    assert 195 <= info["question_tokens"].max() <= 215


def test_lime_sizes_are_the_published_ones():
    """Pattern: 6 to 10 slots and 5 to 19 math symbols; strings of 25 to 50 symbols, of 13 to 25 in several steps."""
    source = Lime.preset("lime", task="abduct", score="all")
    block = source.block(0, 0, rows=3000, length=256)
    mark = source.vocabulary
    spaces = [np.flatnonzero(row == mark + 3) for row in block.tokens]
    extra = np.array([second - first - 1 for first, second in spaces]) - 2 * block.info["items"]
    assert np.unique(block.info["items"]).tolist() == [3, 4, 5]
    assert np.unique(extra).tolist() == list(range(5, 20))
    assert extra.mean() == pytest.approx(12, abs=4 * 4.32 / math.sqrt(3000))
    for task, least, most in (("rewrite", 25, 50), ("multi_step_hard", 13, 25)):
        block = Lime.preset("lime", task=task).block(0, 0, rows=3000, length=512)
        questions_end = block.info["question_tokens"]
        rows = zip(block.tokens.tolist(), questions_end, strict=True)
        string = [row[:n][::-1].index(mark + 3) for row, n in rows]
        assert (min(string), max(string)) == (least, most)


def test_lime_symbols_are_drawn_afresh():
    """The first variable of an episode is any symbol of the vocabulary, equally likely."""
    source = Lime(vocabulary=30, task="deduct")
    first = source.block(0, 0, rows=9000, length=64).tokens[:, 1]
    counts = np.bincount(first, minlength=30)
    assert len(counts) == 30
    assert ((counts - 300) ** 2 / 300).sum() < 29 + 4 * math.sqrt(58)


def test_lime_fits_short_rows():
    """Where not all variables or rules fit, there are fewer; all rows hold a whole episode."""
    source = Lime(task="multi_step", max_rules=8)
    most = [
        int(source.block(0, 0, rows=200, length=n).info["items"].max()) for n in (source.shortest_row, 128, 256, 512)
    ]
    assert most == sorted(most)
    assert (most[0], most[-1]) == (1, 8)


def test_lime_errors():
    with pytest.raises(SpecError, match="upper"):
        Lime(upper=4, max_window=6)
    with pytest.raises(SpecError, match="vocabulary"):
        Lime(vocabulary=20)
    with pytest.raises(SpecError, match="min_string"):
        Lime(min_string=9)


@settings(max_examples=60, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    items=st.tuples(st.integers(1, 90), st.integers(0, 40)),
    extra=st.sampled_from([0, 1, 50]),
    answers=st.sampled_from(["ended", "padded"]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_chomsky_at_any_size(task, items, extra, answers, flags):
    packed, end, announce = flags
    source = Chomsky(
        task=task,
        min_items=items[0],
        max_items=sum(items),
        answers=answers,
        packed=packed,
        end_token=end,
        announce=announce,
    )
    block = source.block(0, 0, rows=3, length=source.shortest_row + extra)
    chomsky_reference.validate(source, block)
    assert np.isfinite(block.floor_nats).all()


def test_chomsky_in_long_rows_with_huge_items():
    for task in ("binary_multiplication", "compute_sqrt", "solve_equation", "stack_manipulation"):
        source = Chomsky(task=task, min_items=1400, max_items=1500)
        block = source.block(0, 0, rows=2, length=4096)
        chomsky_reference.validate(source, block)
        assert np.isfinite(block.floor_nats).all()


@settings(max_examples=60, deadline=None)
@given(
    task=st.sampled_from(LIME_TASKS),
    string=st.tuples(st.integers(1, 8), st.integers(0, 8)),
    window=st.tuples(st.integers(1, 6), st.integers(0, 10)),
    symbols=st.tuples(st.integers(1, 12), st.integers(1, 9)),
    extra=st.sampled_from([0, 1, 400]),
    packed=st.booleans(),
)
def test_lime_at_any_size(task, string, window, symbols, extra, packed):
    low, high = window[0], sum(window)
    source = Lime(
        task=task, min_string=string[0], max_string=sum(string), min_window=low, max_window=high, min_step=low, max_step=high,
        upper=16, lower=symbols[0], math=symbols[1], packed=packed,
    )  # fmt: skip
    lime_reference.validate(source, source.block(0, 0, rows=3, length=source.shortest_row + extra))
