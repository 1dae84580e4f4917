"""Formal languages: published statistics, exact expectations, and floors against other ways to compute them."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from references import dependency as dependency_reference
from references import nesting as nesting_reference
from references import ww as ww_reference
from sampling_tools import bits, close, entropy_bits

from uprior.errors import SpecError
from uprior.sources import get
from uprior.sources._formal import choose, laws_of, sizes, zipf
from uprior.sources.dependency import Dependency
from uprior.sources.dyck import Dyck
from uprior.sources.log_linear import LogLinear
from uprior.sources.parentheses import Flat, Nesting
from uprior.sources.shuffle_dyck import ShuffleDyck
from uprior.sources.shuffle_n import ShuffleN
from uprior.sources.ww import WW

# ------------------------------------------------------------------ what they share


def test_as_many_types_as_asked_for_are_in_use():
    for spec in (Dyck(k=4), ShuffleDyck(k=4)):
        types = spec.block(0, 0, rows=200, length=8).info["types"]
        assert set(types.tolist()) == {2, 3, 4}
    assert set(Dyck(k=8, min_types=8).block(0, 0, rows=9, length=8).info["types"].tolist()) == {8}
    assert set(Dyck(k=1).block(0, 0, rows=9, length=8).info["types"].tolist()) == {1}


def test_sizes_have_probability_one_over_n():
    drawn = sizes(np.random.default_rng(0), 2, 64, 200_000)
    total = sum(1 / n for n in range(2, 65))
    assert (drawn.min(), drawn.max()) == (2, 64)
    for n in (2, 3, 10, 64):
        assert close(drawn == n, 1 / n / total)
    assert sizes(np.random.default_rng(0), 7, 7, 3).tolist() == [7, 7, 7]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0, 4.0], [1e-9, 1.0, 1e3], [5.0] * 7])
def test_alias_tables_give_every_type_its_probability(weights):
    laws = laws_of(np.array([weights]))
    found = np.zeros(len(weights))
    for i, (keep, other) in enumerate(zip(laws.keep[0], laws.other[0], strict=True)):
        found[i] += min(keep, 1.0) / len(weights)
        found[other] += max(1.0 - keep, 0.0) / len(weights)
    np.testing.assert_allclose(found, np.array(weights) / sum(weights), rtol=1e-9)
    assert choose(np.nextafter(1.0, 0.0), laws.keep[0], laws.other[0]) < len(weights)


@pytest.mark.parametrize(
    "source",
    [
        Dyck(k=2, min_types=2, max_types=2),
        Dyck(k=1, min_types=1, max_types=1, rule="words", min_depth=2, max_depth=3, word_cap=5),
        ShuffleDyck(k=2, min_types=2, max_types=2, min_depth=2, max_depth=3, p_open=0.3),
        Nesting(alphabet_size=3, shuffled=False),
        Flat(alphabet_size=6, min_pairs=1, max_pairs=3, same_size=False, shuffled=False, rows_per_machine=1 << 20),
        ShuffleN(alphabet_size=4, min_block=3, max_block=3, shuffled=False, rows_per_machine=1 << 20),
        WW(alphabet_size=2, min_symbols=2, max_symbols=2, min_length=1, max_length=3),
        Dependency(types=2, shuffled=False, min_sentence=2, max_sentence=4),
        Dependency(types=6, shuffled=False, min_sentence=2, max_sentence=4, ends="same", structure="flat"),
        LogLinear(words=3, topics=2, min_sentence=1, max_sentence=2, rows_per_machine=1 << 20),
    ],
    ids=lambda source: source.name,
)
def test_the_floor_is_the_frequency_of_whole_rows(source):
    """With one machine and short rows: exp(-floor of the row) is how often it comes, and all rows together come always."""
    block = source.block(0, 0, rows=40_000, length=6)
    assert len(np.unique(block.machine)) == 1
    counts = Counter(map(tuple, block.tokens.tolist()))
    total, nats = 0.0, block.floor_nats.astype(float).sum(axis=1)
    chances = {tuple(row): math.exp(-cost) for row, cost in zip(block.tokens.tolist(), nats, strict=True)}
    for row, chance in chances.items():
        total += chance
        expected = len(nats) * chance
        assert abs(counts[row] - expected) < 5 * math.sqrt(expected) + 5
    assert total <= 1.0 + 1e-5
    unseen = sum(count == 1 for count in counts.values()) / len(nats)  # Good-Turing
    assert total > 1.0 - unseen - 0.02


# ------------------------------------------------------------------ ww


@pytest.mark.parametrize("lengths", [(1, 3), (2, 5), (4, 4)])
def test_ww_floor_sums_over_every_division(lengths):
    source = WW(alphabet_size=2, min_symbols=2, max_symbols=2, min_length=lengths[0], max_length=lengths[1])
    block = source.block(5, 0, rows=20, length=90)
    for row, floor in zip(block.tokens.tolist(), block.floor_nats, strict=True):
        np.testing.assert_allclose(floor, ww_reference.floor_of(source, row, 2), rtol=1e-4, atol=1e-5)


def test_ww_copies_cost_nothing_once_they_are_seen():
    floor = WW.preset("hu", min_length=100, max_length=110).block(0, 0, rows=50, length=200).floor_nats
    np.testing.assert_allclose(floor[:, :100], math.log(64), rtol=1e-6)
    assert floor[:, 130:].max() < 1e-4
    assert floor[:, 100:130].sum(axis=1).min() > math.log(11) - 1e-3  # where the copy begins, one place of 11


def test_ww_with_one_length_is_hand_worked():
    block = WW(alphabet_size=2, min_symbols=2, max_symbols=2, min_length=3, max_length=3).block(0, 0, rows=9, length=14)
    expected = [math.log(2)] * 3 + [0] * 3
    np.testing.assert_allclose(block.floor_nats, np.tile((expected * 3)[:14], (9, 1)), rtol=1e-6)
    np.testing.assert_array_equal(block.tokens[:, 3:6], block.tokens[:, :3])


# ------------------------------------------------------------------ parentheses


def partners(row):
    """Distance of every closing token from the one that it closes."""
    stack, found = [], []
    for t, token in enumerate(row):
        if stack and stack[-1][0] == token:
            found.append(t - stack.pop()[1])
        else:
            stack.append((token, t))
    return found


def test_nesting_has_the_published_dependencies():
    tokens = Nesting.preset("chiang").block(0, 0, rows=24, length=1 << 14).tokens
    found = [partners(row) for row in tokens.tolist()]
    distance = np.concatenate(found)
    assert close([len(of_row) / (1 << 14) for of_row in found], 0.5, bias=0.001)
    assert close([np.mean(of_row) for of_row in found], 5.0, bias=0.05)
    assert np.median(distance) == 1
    assert abs(np.percentile(distance, 99) - 55) <= 4
    assert close([np.mean(np.array(of_row) == 1) for of_row in found], 0.6)


def test_entropy_of_nesting():
    """Something is open 5/6 of the time, half of the tokens open: H/2 + 5/6 H2(0.4), published as 6.04 at H = 10.46."""
    assert round(10.46 / 2 + 5 / 6 * bits(0.4), 2) == 6.04
    block = Nesting.preset("chiang-uniform").block(0, 0, rows=24, length=1 << 14)
    # A type drawn where something is open is one of 29,994: log2(29,995) hardly changes.
    expected = math.log2(29995) / 6 + 5 / 6 * (bits(0.4) + 0.4 * math.log2(29994))
    assert close(block.floor_nats.mean(axis=1) / math.log(2), expected, bias=0.002)


def test_floor_of_nesting_is_the_entropy_of_what_may_come():
    """Each token's floor, averaged over what may come after its prefix instead of what came, has the same mean."""
    source = Nesting(alphabet_size=16, shuffled=False, exponent=1.5)
    block = source.block(0, 0, rows=60, length=400)
    law, differences = zipf(16, 1.5).chance[0], []
    after = {None: entropy_bits(law)}
    for top in range(16):
        others = np.delete(law, top) / (1 - law[top])
        after[top] = bits(0.4) + 0.4 * entropy_bits(others)
    for row, floor in zip(block.tokens.tolist(), block.floor_nats, strict=True):
        stack, total = [], 0.0
        for token in row:
            total += after[stack[-1] if stack else None]
            if stack[-1:] == [token]:
                stack.pop()
            else:
                stack.append(token)
        differences.append(floor.sum() / math.log(2) - total)
    assert close(differences, 0.0)


def test_the_zipf_law_of_the_presets_is_near_the_published_entropy():
    assert 10.46 < entropy_bits(zipf(29995, 1.0).chance[0]) < 10.50  # published for Wikipedia: 10.46


def test_flat_groups_are_uniform_shuffles():
    """Two pairs of two types, all the types there are: the six arrangements, each equally likely."""
    source = Flat(alphabet_size=4, min_pairs=2, max_pairs=2, exponent=0.0, rows_per_machine=1 << 20)
    tokens = source.block(0, 0, rows=30_000, length=4).tokens
    distinct = tokens[[len(set(row)) == 2 for row in tokens.tolist()]]
    shapes = Counter(tuple((row == row[0]).astype(int)) for row in distinct)
    assert set(shapes) == {(1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)}
    # A type may come again once its first pair is closed, so (1, 1, 0, 0) lacks the quarter in which it did.
    for shape, chance in {(1, 1, 0, 0): 1 / 3 * 3 / 4, (1, 0, 1, 0): 1 / 3, (1, 0, 0, 1): 1 / 3}.items():
        assert abs(shapes[shape] - 30_000 * chance) < 5 * math.sqrt(30_000 * chance)


@pytest.mark.parametrize(("preset", "pairs"), [("chiang-2", 1), ("chiang-4", 2)])
def test_flat_groups_close_after_each_size(preset, pairs):
    block = Flat.preset(preset).block(0, 0, rows=20, length=96)
    groups = block.tokens.reshape(20, -1, 2 * pairs)
    assert (np.sort(groups, axis=2)[:, :, ::2] == np.sort(groups, axis=2)[:, :, 1::2]).all()
    np.testing.assert_allclose(block.floor_nats[:, 2 * pairs - 1 :: 2 * pairs], 0, atol=1e-6)


def test_an_open_type_closes_with_one_over_what_is_left():
    """The last tokens of a group of known size: with r to come and all open, each is one of r."""
    block = Flat(alphabet_size=64, min_pairs=5, max_pairs=5).block(0, 0, rows=300, length=10)
    ordered = [len(set(row[:5])) == 5 for row in block.tokens.tolist()]
    assert sum(ordered) > 3
    expected = [math.log(r) for r in (5, 4, 3, 2, 1)]
    np.testing.assert_allclose(block.floor_nats[ordered][:, 5:], np.tile(expected, (sum(ordered), 1)), atol=1e-5)


# ------------------------------------------------------------------ shuffled runs, dependencies, topics


def test_the_last_of_a_run_costs_little_and_never_more_than_two_choices():
    """All but one of N consecutive tokens leave one token in the middle, or one of two at the ends."""
    source = ShuffleN(alphabet_size=100, min_block=4, max_block=4, exponent=0.0)
    block = source.block(0, 0, rows=200, length=40)
    last = block.floor_nats[:, 3::4].ravel()
    runs = np.sort(block.tokens.reshape(-1, 4)[:, :3], axis=1)
    inner = runs[:, 2] - runs[:, 0] == 3
    np.testing.assert_allclose(last[inner], 0, atol=1e-6)
    away = ~inner & (runs[:, 0] > 0) & (runs[:, 2] < 99)
    assert (last[away] > 0.1).all()


def test_runs_stay_in_the_vocabulary():
    tokens = ShuffleN(alphabet_size=8, min_block=7, max_block=7, exponent=0.0).block(0, 0, rows=200, length=7).tokens
    least = tokens.min(axis=1)
    assert set(least) == {0, 1}
    assert close(least == 1, 7 / 8)  # starts 1 to 7 all become 1


def test_sentences_have_the_declared_lengths():
    source = Dependency.preset("ri")
    tokens = source.block(0, 0, rows=100, length=4096).tokens
    size = np.concatenate([np.diff(np.flatnonzero(row == 16000)) - 1 for row in tokens])
    assert (size.min(), size.max()) == (6, 40)
    assert not (size % 2).any()
    assert close(size, 22.5, bias=0.05)  # long sentences are cut a little more often
    assert abs(source.pairs_law().sum() - 1) < 1e-12


@pytest.mark.parametrize("structure", ["nesting", "flat"])
def test_dependencies_balance_in_each_sentence(structure):
    source = Dependency(structure=structure, min_sentence=8, max_sentence=8)
    sentences = source.block(0, 0, rows=20, length=9 * 10).tokens.reshape(-1, 9)
    assert (sentences[:, 8] == 254).all()
    assert all(dependency_reference.rest(source, row[:8]) == 0 for row in sentences.tolist())
    crossing = sum(nesting_reference.depths([t % 127 for t in row])[-1] > 0 for row in sentences[:, :8].tolist())
    assert (crossing > 0) == (structure == "flat")


def test_words_of_a_topic_repeat_in_a_sentence_more_than_across():
    tokens = LogLinear(min_sentence=9, max_sentence=9).block(0, 0, rows=100, length=500).tokens.reshape(100, -1, 10)
    words = [[set(sentence[:9].tolist()) for sentence in row] for row in tokens]
    within = np.mean([9 - len(sentence) for row in words for sentence in row])
    half = [[(set(s[:4].tolist()), set(s[4:9].tolist())) for s in row] for row in tokens]
    same = np.mean([len(a & b) for row in half for a, b in row])
    other = np.mean([len(a & b) for row in half for (a, _), (_, b) in itertools.pairwise(row)])
    assert within > 0.5
    assert same > 1.5 * other


def test_the_topic_is_inferred_within_a_sentence():
    """Knowing the topic at once would save what the mixture learns: the later words of a sentence cost less."""
    source = LogLinear(min_sentence=20, max_sentence=20, topics=16)
    floor = source.block(0, 0, rows=256, length=210).floor_nats.reshape(256, -1, 21)
    assert floor[:, :, 0].mean() > floor[:, :, 10:20].mean() + 1.0
    np.testing.assert_allclose(floor[:, :, 20], 0, atol=1e-6)


# ------------------------------------------------------------------ errors and pictures


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("dyck:max_types=65", "max_types"),
        ("dyck:min_types=64,max_types=63", "min_types"),
        ("dyck:min_depth=3,max_depth=2", "max_depth"),
        ("dyck:rule=words,min_depth=3,word_cap=5", "word_cap"),
        ("shuffle_dyck:max_types=65", "max_types"),
        ("shuffle_dyck:min_types=9,max_types=8", "min_types"),
        ("shuffle_dyck:min_depth=17", "min_depth"),
        ("ww:max_symbols=65", "max_symbols"),
        ("ww:min_symbols=9,max_symbols=8", "min_symbols"),
        ("ww:min_length=65", "min_length"),
        ("flat:max_pairs=129", "max_pairs"),
        ("flat:min_pairs=65", "min_pairs"),
        ("shuffle_n:max_block=257", "max_block"),
        ("shuffle_n:min_block=65", "min_block"),
        ("dependency:min_sentence=40", "min_sentence"),
        ("dependency:ends=same,structure=flat,types=39", "types"),
        ("log_linear:min_sentence=40", "min_sentence"),
    ],
)
def test_impossible_fields_are_named(text, field):
    with pytest.raises(SpecError, match=f": {field} = "):
        get(text)


@pytest.mark.parametrize(
    "name", ["dyck", "shuffle_dyck", "nesting", "dependency", "dependency:structure=flat,ends=same"]
)
def test_pictures_are_bars_of_depth(name):
    picture = get(name).picture(length=120)
    assert picture is not None
    assert picture.shape[1] == 120
    assert (np.diff((picture >= 0).sum(axis=0)).max(), picture.min()) == (1, -1)
