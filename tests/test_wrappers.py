"""Wrappers: what each promises, over sources with floors, without, with masks, and with large alphabets."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprior.errors import SpecError
from uprior.sources import (
    Constant,
    ContextTree,
    Iterated,
    Mixture,
    Pointwise,
    RandomLanguage,
    RandomLSTM,
    Source,
    Uniform,
)
from uprior.sources._base import Draw
from uprior.sources.banded import Banded
from uprior.sources.check import CLAUSES, Probe, fresh_process_gives_the_same
from uprior.sources.noisy import Noisy
from uprior.sources.packed import Packed
from uprior.sources.relabelled import Relabelled
from uprior.sources.shuffled import Shuffled
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class Parity(Source):
    """Bits, and their parity as the last token of the row, which alone is scored. Machine: there is one. Floor: exact."""

    name: ClassVar[str] = "parity_of_the_tests"
    alphabet_size: int = parameter(3, low=3, high=3)

    @property
    def shortest_row(self):
        return 8

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        tokens = draw("rows").integers(0, 2, (rows, length)).astype(np.uint16)
        tokens[:, -2] = 2
        tokens[:, -1] = tokens[:, :-2].sum(axis=1) % 2
        scored = np.zeros((rows, length), dtype=bool)
        scored[:, -1] = True
        floor = np.full((rows, length), math.log(2), dtype=np.float32)
        floor[:, -2:] = 0
        machine = draw.machine_ids(np.zeros(rows, dtype=int))
        return Block(tokens, machine, scored, floor, {"odd": tokens[:, -1].astype(np.int64)})


INNER = {
    "uniform": Uniform(),
    "many symbols": Uniform(alphabet_size=(1 << 16) + 1),
    "masked": Parity(),
    "no floor": RandomLanguage(),
    "partly without floor": Mixture((Pointwise(), RandomLanguage())),
    "machines with parents": Iterated(RandomLSTM(hidden=8)),
    "wrapped": Relabelled(Packed(Pointwise(rows_per_machine=3), episode_length=20, separator=True), alphabet_size=300),
}


def over(inner):
    size = inner.alphabet_size
    yield Shuffled(inner, window=30)
    yield Relabelled(inner, alphabet_size=2 * size, fixed=(0, 1))
    yield Packed(inner, episode_length=40, shortest_episode=30, separator=True)
    yield Noisy(inner)
    yield Banded(inner, low=0.0, high=20.0)


@pytest.mark.parametrize("name", INNER)
def test_wrappers_keep_the_contract_over_any_source(name):
    for wrapper in over(INNER[name]):
        probe = Probe(wrapper, 0, None)
        for clause in CLAUSES:
            if clause is not fresh_process_gives_the_same:  # slow, and asked of each wrapper's default elsewhere
                clause(probe)


def blocks(wrapper, rows=64, length=120, seed=0):
    """The wrapper's block and the one it was made of."""
    draw = Draw((wrapper.fingerprint, seed, "train", 0), "train", 0)
    return wrapper._generate(draw, rows, length), wrapper.source._generate(draw.child("source"), rows, length)


# ------------------------------------------------------------------ shuffled


@pytest.mark.parametrize("window", [0, 1, 7, 50, 1000])
def test_shuffling_keeps_the_counts_of_every_window(window):
    made, plain = blocks(Shuffled(window=window))
    for first in range(0, 120, window or 120):
        piece = np.s_[:, first : first + (window or 120)]
        np.testing.assert_array_equal(np.sort(made.tokens[piece], axis=1), np.sort(plain.tokens[piece], axis=1))
    assert (made.tokens == plain.tokens).all() == (window == 1)
    assert made.scored is None
    assert made.info.keys() == plain.info.keys()


def test_every_order_is_equally_likely_and_the_floor_knows():
    made = Shuffled(Uniform(alphabet_size=3)).block(0, 0, rows=60_000, length=4)
    orders = Counter(map(tuple, made.tokens.tolist()))
    probability = np.exp(-made.floor_nats.astype(float).sum(axis=1))
    stated = dict(zip(map(tuple, made.tokens.tolist()), probability, strict=True))
    multisets = Counter(tuple(sorted(order)) for order in orders.elements())
    for order in itertools.product(range(3), repeat=4):
        bag = tuple(sorted(order))
        expected = 1 / len(set(itertools.permutations(bag)))
        assert abs(stated[order] - expected) < 1e-6
        error = math.sqrt(expected * (1 - expected) / multisets[bag])
        assert abs(orders[order] / multisets[bag] - expected) <= 5 * error


def test_shuffled_parity_is_gone():
    made = Shuffled(Parity()).block(0, 0, rows=200, length=20)
    last = made.tokens[:, -1]
    assert (last == 2).any()  # the separator wanders
    assert len(np.unique(made.machine)) == 200


# ------------------------------------------------------------------ relabelled


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(2, 12), more=st.integers(0, 5), per=st.sampled_from(["row", "machine"]), seed=st.integers(0, 99),
    fixed=st.sets(st.integers(0, 1)),
)  # fmt: skip
def test_relabelling_is_an_injection_per_row_or_machine(size, more, per, seed, fixed):
    inner = Pointwise(alphabet_size=size, max_symbols=size, rows_per_machine=3)
    wrapper = Relabelled(inner, alphabet_size=size + more, per=per, fixed=tuple(fixed))
    made, plain = blocks(wrapper, rows=10, length=30, seed=seed)
    images = {}
    for n, (row, original) in enumerate(zip(made.tokens.tolist(), plain.tokens.tolist(), strict=True)):
        image = images.setdefault(n if per == "row" else plain.machine[n], {})
        for symbol, label in zip(original, row, strict=True):
            assert image.setdefault(symbol, label) == label < size + more
            assert (symbol == label) if symbol in fixed else label not in fixed
    assert all(len(set(image.values())) == len(image) for image in images.values())
    assert len(np.unique(made.machine)) == len(images)
    np.testing.assert_array_equal(made.floor_nats, plain.floor_nats)


def test_labels_are_uniform():
    made, plain = blocks(Relabelled(Uniform(alphabet_size=3), alphabet_size=4), rows=30_000, length=12)
    pairs = Counter()
    for row, original in zip(made.tokens, plain.tokens, strict=True):
        image = dict(zip(original.tolist(), row.tolist(), strict=True))
        if len(image) == 3:
            pairs[tuple(image[k] for k in range(3))] += 1
    assert len(pairs) == 24
    counts = np.array(list(pairs.values()))
    assert abs(counts / counts.sum() * 24 - 1).max() < 5 / math.sqrt(counts.mean())


# ------------------------------------------------------------------ packed


def test_packed_rows_are_the_episodes_of_the_source():
    wrapper = Packed(Pointwise(), episode_length=16)
    draw = Draw(("any",), "train", 0)
    made = wrapper._generate(draw, 8, 40)
    plain = wrapper.source._generate(draw.child("source"), 24, 16)
    np.testing.assert_array_equal(made.tokens, plain.tokens.reshape(8, 48)[:, :40])
    np.testing.assert_array_equal(made.floor_nats, plain.floor_nats.reshape(8, 48)[:, :40])
    np.testing.assert_allclose(made.info["symbols"], plain.info["symbols"].reshape(8, 3).mean(axis=1))
    assert made.info["episodes"].tolist() == [3] * 8


def test_episodes_come_from_one_machine_or_from_several():
    """Four episodes of few symbols: those of one machine use the same ones."""
    inner = Pointwise(alphabet_size=1 << 16, max_symbols=2, concentration=50.0)
    for same, most in ((True, 2), (False, 8)):
        made = Packed(inner, episode_length=32, same_machine=same).block(0, 0, rows=20, length=128)
        assert {len(np.unique(row)) for row in made.tokens} == {most}


def test_lengths_are_uniform_and_separators_are_free():
    made = Packed(Uniform(alphabet_size=4), episode_length=9, shortest_episode=5, separator=True).block(
        0, 0, rows=500, length=200
    )
    assert made.tokens.max() == 4
    spans = np.concatenate([np.diff(np.flatnonzero(row == 4)) - 1 for row in made.tokens])
    shares = np.bincount(spans, minlength=10)[5:] / len(spans)
    assert abs(shares - 0.2).max() < 5 * math.sqrt(0.16 / len(spans)) and spans.min() == 5 and spans.max() == 9
    np.testing.assert_array_equal(made.scored, made.tokens != 4)
    np.testing.assert_allclose(made.floor_nats, np.where(made.tokens == 4, 0, math.log(4)), rtol=1e-6)


def test_masked_episodes_leave_something_to_score():
    wrapper = Packed(Parity(), episode_length=12, shortest_episode=8)
    assert wrapper.shortest_row == 12
    made = wrapper.block(0, 0, rows=200, length=12)
    assert made.scored[:, -1].all() and made.scored.sum() == 200


# ------------------------------------------------------------------ noisy


def test_substitutions_are_as_frequent_as_asked_and_uniform():
    made, plain = blocks(Noisy(Constant(), substitution=0.2, deletion=0.0, insertion=0.0), rows=400, length=250)
    changed = made.tokens != plain.tokens
    expected = 0.2 * 255 / 256
    assert abs(changed.mean() - expected) < 5 * math.sqrt(expected / changed.size)
    assert made.info["mutations"].sum() >= changed.sum()
    counts = np.bincount(made.tokens[changed], minlength=256)
    assert abs(counts - counts.mean()).max() < 6 * math.sqrt(counts.mean())
    np.testing.assert_array_equal(made.machine, plain.machine)


@dataclass(frozen=True)
class Counting(Source):
    """0, 1, 2, ... in every row: shows which tokens were kept."""

    name: ClassVar[str] = "counting_of_the_tests"
    alphabet_size: int = parameter(100_000, low=2, high=1 << 20)

    def _generate(self, draw, rows, length):
        tokens = np.repeat(np.arange(length, dtype=self.token_dtype)[None], rows, axis=0)
        return Block(tokens, draw.machine_ids(np.arange(rows)), scored=tokens % 2 == 0)


def test_deletions_skip_tokens_and_marks_move_along():
    made = Noisy(Counting(), substitution=0.0, deletion=0.3, insertion=0.0).block(0, 0, rows=300, length=200)
    steps = np.diff(made.tokens.astype(int), axis=1)
    for step in (1, 2, 3):  # geometric
        share = 0.7 * 0.3 ** (step - 1)
        assert abs((steps == step).mean() - share) < 5 * math.sqrt(share / steps.size)
    np.testing.assert_array_equal(made.scored, made.tokens % 2 == 0)
    skipped = made.tokens[:, -1] - made.tokens[:, 0] - 199
    assert (made.info["mutations"] >= skipped).all()


def test_insertions_push_tokens_apart_and_are_not_scored():
    made = Noisy(Counting(), substitution=0.0, deletion=0.0, insertion=0.25).block(0, 0, rows=300, length=200)
    assert abs(made.info["mutations"].mean() / 200 - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 60_000)
    # Inserted tokens are uniform over 100,000 symbols, so nearly all above those of the source's rows.
    inserted = made.tokens >= 200
    assert abs(inserted.mean() - 0.25) < 0.01
    assert not (made.scored & inserted).any()
    assert (np.diff([row[row < 200].astype(int)[-50:] for row in made.tokens], axis=1) == 1).mean() > 0.99


def test_answers_at_the_end_survive():
    made = Noisy(Parity(), deletion=0.05).block(0, 0, rows=2000, length=20)
    assert made.scored[:, 1:].any(axis=1).all()
    at_end = made.scored[:, -1].mean()
    assert at_end > 0.95


def test_without_noise_nothing_changes():
    made, plain = blocks(Noisy(substitution=0.0, deletion=0.0, insertion=0.0))
    np.testing.assert_array_equal(made.tokens, plain.tokens)
    np.testing.assert_array_equal(made.floor_nats, plain.floor_nats)
    assert Noisy().block(0, 0, rows=2, length=20).floor_nats is None


# ------------------------------------------------------------------ banded


def test_bands_choose_machines_and_probes_keep_the_law():
    """Coins of Beta(1/2, 1/2): chosen by the entropy of a probe, the other rows still follow the stated probabilities."""
    coins = Pointwise(alphabet_size=2, max_symbols=2, rows_per_machine=2)
    made = Banded(coins, measure="entropy", low=0.0, high=0.3).block(0, 0, rows=2000, length=40)
    p = np.exp(-made.floor_nats.astype(float))
    p_one = np.where(made.tokens == 1, p, 1 - p)
    z = (made.tokens - p_one).sum() / math.sqrt((p_one * (1 - p_one)).sum())
    assert abs(z) < 4
    rare = np.where(p_one < 0.5, made.tokens, 1 - made.tokens)  # the rarer side: would be too rare in chosen rows
    p_rare = np.minimum(p_one, 1 - p_one)
    assert abs((rare - p_rare).sum() / math.sqrt((p_rare * (1 - p_rare)).sum())) < 4
    assert made.info["complexity"].max() <= 0.3
    assert set(Counter(made.machine.tolist()).values()) == {2}
    assert len(np.unique(made.machine[:1000])) == 1000  # neighbours are written by different machines


def test_rows_that_decide_about_themselves_have_no_floor():
    made = Banded(Parity(), measure="lempel-ziv", low=0.0, high=4.0).block(0, 0, rows=10, length=32)
    assert made.floor_nats is None and made.scored.any(axis=1).all()
    assert Banded().block(0, 0, rows=10, length=32).floor_nats is not None


def test_bands_differ_as_they_should():
    means = []
    for low, high in ((0.0, 1.0), (1.5, 2.0), (2.5, 4.0)):
        block = Banded(ContextTree(rows_per_machine=1), low=low, high=high).block(0, 0, rows=40, length=256)
        means.append(block.floor_nats.mean() / math.log(2))
    assert means[0] + 0.5 < means[1] < means[2] - 0.5


def test_an_empty_band_says_what_there_is():
    with pytest.raises(SpecError, match=r"0 of \d+ machines of uniform have entropy within 1 to 3 .* type low=\d"):
        Banded(Uniform(), measure="entropy", max_tries=2).block(0, 0, rows=8, length=256)
    with pytest.raises(SpecError, match="does not know its floor"):
        Banded(RandomLanguage(), measure="floor").block(0, 0, rows=8, length=64)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    "make",
    [
        lambda: Relabelled(alphabet_size=255),
        lambda: Relabelled(fixed=(256,)),
        lambda: Relabelled(fixed=(1, 1)),
        lambda: Packed(Parity(), episode_length=7),
        lambda: Packed(shortest_episode=65),
        lambda: Packed(Uniform(), same_machine=True),
        lambda: Noisy(substitution=0.5, deletion=0.3, insertion=0.3),
        lambda: Banded(low=3.0, high=2.0),
    ],
)
def test_impossible_specs_are_refused(make):
    with pytest.raises(SpecError, match="is not allowed; allowed:"):
        make()
