"""Random LSTMs and transformers against readable references."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from uprior.errors import SpecError
from uprior.sources import Iterated, RandomLSTM, RandomTransformer, get
from uprior.sources._base import Draw

DRAW = Draw(("test",), "train", 0)


def parents_of(rows, length, source):
    """Two noise parents, then constant ones."""
    rng = np.random.default_rng(7)
    condition = rng.integers(0, source.alphabet_size, (rows, length)).astype(np.uint16)
    condition[2:] = condition[2:, :1]
    return condition, rng.integers(0, source.alphabet_size, (rows, min(source.seed_length, length))).astype(np.uint16)


# ------------------------------------------------------------------ the LSTM


def machines_of(source, block, draw):
    """[(weights, its rows)] of what ``_write`` wrote with this draw."""
    rng = draw("weights")
    machine = block.machine - block.machine[0]
    for m in range(int(machine.max()) + 1):
        mine = np.flatnonzero(machine == m)
        extra = (float(block.info["multiplier"][mine[0]]),) if "multiplier" in block.info else (block.tokens.shape[1],)
        yield source._weights(rng, *extra), mine


def torch_logits(weights, tokens, condition):
    """[R, T - 1, A] of positions 1..T-1, by torch's own LSTM in float64, the row's tokens being given."""
    layers, hidden, _ = weights.recurrent.shape
    lstm = torch.nn.LSTM(2 * hidden, hidden, layers, batch_first=True).double()
    as_rows = [torch.from_numpy(np.ascontiguousarray(w).astype(np.float64)) for w in weights]
    embedding, inputs, up, recurrent, bias, head, head_bias = as_rows
    state = {}
    for layer in range(layers):
        below = torch.cat([inputs[0], inputs[1]]) if layer == 0 else up[layer - 1]
        state |= {f"weight_ih_l{layer}": below.T, f"weight_hh_l{layer}": recurrent[layer].T}
        state |= {f"bias_ih_l{layer}": bias[layer], f"bias_hh_l{layer}": torch.zeros_like(bias[layer])}
    lstm.load_state_dict(state)
    before, beside = (
        torch.from_numpy(tokens[:, :-1].astype(np.int64)),
        torch.from_numpy(condition[:, 1:].astype(np.int64)),
    )
    with torch.no_grad():
        output, _ = lstm(torch.cat([embedding[before], embedding[beside]], dim=2))
        return (output @ head + head_bias).numpy()


@pytest.mark.parametrize(
    "source",
    [
        RandomLSTM(hidden=16, alphabet_size=37, temperature=0.5, rows_per_machine=3),
        RandomLSTM(hidden=10, alphabet_size=16, temperature=1.0, layers=3, seed_tokens=2, head_multiplier=3.0),
        RandomLSTM(hidden=64, temperature=1e-2, rows_per_machine=5, embedding_multiplier=0.5),
    ],
    ids=lambda source: f"{source.hidden}-{source.layers}",
)
def test_lstm_floor_is_torchs_log_probability(source):
    condition, seeds = parents_of(8, 24, source)
    block = source._write(DRAW, condition, seeds)
    given_tokens = source.seed_tokens
    assert np.array_equal(block.tokens[:, :given_tokens], seeds)
    assert np.all(block.floor_nats[:, :given_tokens] == 0)
    for weights, mine in machines_of(source, block, DRAW):
        logits = torch_logits(weights, block.tokens[mine], condition[mine]) / source.temperature
        largest = logits.max(axis=2, keepdims=True)
        nats = np.log(np.exp(logits - largest).sum(axis=2)) + largest[..., 0]
        nats -= np.take_along_axis(logits, block.tokens[mine][:, 1:, None].astype(np.int64), axis=2)[..., 0]
        # Logits agree to 1e-5, so nats do to twice that over the temperature; the cut adds up to A e^-17.
        allowed = 2e-5 / source.temperature + source.alphabet_size * math.exp(-17)
        assert np.abs(nats[:, given_tokens - 1 :] - block.floor_nats[mine, given_tokens:]).max() < allowed
    assert block.floor_nats.max() > 0.1


@pytest.mark.parametrize("layers", [1, 2])
def test_lstm_writes_the_same_tokens_as_torch_when_it_takes_the_likeliest(layers):
    source = RandomLSTM(hidden=32, layers=layers, temperature=0.0, alphabet_size=64)
    condition, seeds = parents_of(12, 40, source)
    block = source._write(DRAW, condition, seeds)
    for weights, mine in machines_of(source, block, DRAW):
        written = np.zeros_like(condition[mine])
        written[:, :8] = seeds[mine]
        for t in range(8, 40):
            logits = torch_logits(weights, written[:, : t + 1], condition[mine][:, : t + 1])
            written[:, t] = logits[:, -1].argmax(axis=1)
        assert np.array_equal(written, block.tokens[mine])
    assert len(np.unique(block.tokens[:, 8:])) > 5


def test_near_argmax_is_argmax_nearly_everywhere():
    """The same machines: a Draw of our own does not depend on the spec."""
    blocks = []
    for temperature in (0.0, 1e-6, 1e-4, 1.0):
        source = RandomLSTM(temperature=temperature)
        blocks.append(source._write(DRAW, *parents_of(8, 20, source)))
    argmax, coldest, published, warm = blocks
    assert np.all(argmax.floor_nats == 0)
    assert np.array_equal(argmax.tokens, coldest.tokens)
    assert (argmax.tokens == published.tokens).mean() > 0.8
    assert published.floor_nats.mean() < 0.05 < 1 < warm.floor_nats[:, 8:].mean()
    assert (argmax.tokens == warm.tokens)[:, 8:].mean() < 0.2


def test_published_multiplier_is_compounded_once_per_layer():
    plain, compound = (RandomLSTM(hidden=8, layers=3, compound_multiplier=c) for c in (False, True))
    one = plain._weights(np.random.default_rng(0), 2.0)
    other = compound._weights(np.random.default_rng(0), 2.0)
    for field in ("inputs", "up", "recurrent", "bias"):
        assert np.array_equal(getattr(other, field), 4 * getattr(one, field))
    assert np.array_equal(other.head, one.head)
    assert np.array_equal(other.embedding, one.embedding)


def test_lstm_weights_have_pytorchs_ranges():
    weights = RandomLSTM(hidden=16, layers=2, head_multiplier=2.0)._weights(np.random.default_rng(0), 0.5)
    assert 0.5 / 4 * 0.99 < np.abs(weights.recurrent).max() < 0.5 / 4
    assert 0.5 / 4 < np.abs(weights.bias).max() < 2 * 0.5 / 4  # the sum of two
    assert 2 / 4 * 0.99 < np.abs(weights.head).max() < 2 / 4
    assert weights.embedding.std() == pytest.approx(1, abs=0.05)
    assert [w.shape for w in weights] == [(256, 16), (2, 16, 64), (1, 16, 64), (2, 16, 64), (2, 64), (16, 256), (256,)]


def test_multiplier_is_per_machine_and_in_its_range():
    block = RandomLSTM(multiplier_low=0.5, hidden=8).block(0, 0, rows=200, length=4)
    multiplier = block.info["multiplier"]
    assert multiplier.min() >= 0.5
    assert multiplier.max() <= 1.1
    assert len(np.unique(multiplier)) == len(np.unique(block.machine)) == 50


def test_rows_shorter_than_the_seed_are_seed():
    assert np.all(RandomLSTM().block(0, 0, rows=3, length=5).floor_nats == 0)


def test_constant_share_is_right_on_average_and_exact_where_it_is_whole():
    def constants(rows, index):
        seeds = RandomLSTM(hidden=2, alphabet_size=200).block(0, index, rows=rows, length=8).tokens
        return int((seeds == seeds[:, :1]).all(axis=1).sum())

    assert constants(100, 0) == constants(100, 1) == 50
    singles = [constants(1, i) for i in range(200)]
    assert 70 < sum(singles) < 130


# ------------------------------------------------------------------ the transformer


def slow_transformer(weights, condition, heads):
    """[T, A + 1] logits of one row, float64, position by position."""
    w = type(weights)(*(np.asarray(part, dtype=np.float64) for part in weights))
    x = w.tokens[condition] + w.positions[: len(condition)]
    width = x.shape[1]

    def normal(x):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)

    for layer in range(len(w.unify)):
        query, key, value = np.split(x @ w.qkv[layer], 3, axis=1)
        seen = np.zeros_like(x)
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            for t in range(len(x)):
                scores = key[: t + 1, part] @ query[t, part] / math.sqrt(width // heads)
                share = np.exp(scores - scores.max())
                seen[t, part] = share / share.sum() @ value[: t + 1, part]
        x = normal(x + seen @ w.unify[layer] + w.unify_bias[layer])
        inner = np.maximum(x @ w.up[layer] + w.up_bias[layer], 0)
        x = normal(x + inner @ w.down[layer] + w.down_bias[layer])
    return x @ w.output + w.output_bias


@pytest.mark.parametrize("mask", ["chance", "off"])
def test_transformer_floor_is_the_references_log_probability(mask):
    source = RandomTransformer(
        alphabet_size=24, width=12, heads=3, output_multiplier=2.0, hidden_multiplier=1.5, temperature=0.8, mask=mask
    )
    condition, seeds = parents_of(6, 20, source)
    assert seeds.shape == (6, 0)
    block = source._write(DRAW, condition, seeds)
    for weights, mine in machines_of(source, block, DRAW):
        for row in mine:
            logits = slow_transformer(weights, condition[row], source.heads)
            p = np.exp(logits[:, :-1] / source.temperature)
            p /= p.sum(1, keepdims=True)
            keep = 1 / (1 + np.exp(-logits[:, -1])) if mask == "chance" else np.zeros(20)
            p *= 1 - keep[:, None]
            p[np.arange(20), condition[row]] += keep
            assert p.sum(1) == pytest.approx(np.ones(20))
            true = -np.log(p[np.arange(20), block.tokens[row]])
            assert np.abs(true - block.floor_nats[row]).max() < 2e-4
    assert (block.tokens == condition).mean() > (0.2 if mask == "chance" else 0)


def test_underflow_mask_keeps_all_tokens_with_ordinary_logits():
    source = RandomTransformer(mask="underflow", width=16)
    condition, seeds = parents_of(8, 16, source)
    block = source._write(DRAW, condition, seeds)
    assert np.array_equal(block.tokens, condition)
    assert np.all(block.floor_nats == 0)


def test_published_transformer_mixes_old_and_new_because_its_logits_are_inflated():
    source = RandomTransformer.preset("published", width=32)
    block = source._write(DRAW, *(made := parents_of(24, 16, source)))
    assert 0.1 < (block.tokens == made[0]).mean() < 0.9
    assert block.floor_nats.mean() < 0.05


def test_published_output_is_multiplied_once_per_layer():
    once, published = (RandomTransformer(layers=3, output_multiplier=2.0, published_output=p) for p in (False, True))
    one, other = (source._weights(np.random.default_rng(0), 8) for source in (once, published))
    # 2 / sqrt(64) against 2^3 / 64
    assert other.output == pytest.approx(one.output * (8 / 64) / (2 / 8))
    assert np.array_equal(one.up, other.up)


def test_embeddings_are_drawn_per_machine_unless_fixed():
    for fixed in (False, True):
        source = RandomTransformer(fixed_embeddings=fixed, width=8)
        rng = np.random.default_rng(0)
        one, other = source._weights(rng, 4), source._weights(rng, 4)
        assert np.array_equal(one.tokens, other.tokens) is fixed
        assert np.array_equal(one.positions, other.positions) is fixed
        assert not np.array_equal(one.up, other.up)


def test_zero_masks_have_a_rate_of_their_own_per_matrix():
    weights = RandomTransformer(zero_masks=True, layers=16, width=32)._weights(np.random.default_rng(0), 8)
    rates = (weights.up == 0).mean(axis=(1, 2))
    assert rates.min() < 0.25
    assert rates.max() > 0.75
    assert (RandomTransformer(width=32)._weights(np.random.default_rng(0), 8).up == 0).mean() == 0


def test_transformer_is_causal():
    source = RandomTransformer(width=16, temperature=0.0, mask="off")
    condition, seeds = parents_of(4, 30, source)
    changed = condition.copy()
    changed[:, 20:] = (changed[:, 20:] + 1) % 256
    one, other = (source._write(DRAW, c, seeds).tokens for c in (condition, changed))
    assert np.array_equal(one[:, :20], other[:, :20])
    assert not np.array_equal(one[:, 20:], other[:, 20:])


# ------------------------------------------------------------------ contract, errors, golden


def test_two_threads_write_the_same_bytes():
    source = Iterated(source=RandomLSTM(hidden=16), max_depth=2)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda i: source.block(3, i % 2, rows=12, length=32).tokens.tobytes(), range(6)))
    assert made == [made[0], made[1]] * 3
    assert made[0] != made[1]


@pytest.mark.parametrize(
    "text",
    [
        "random_lstm:multiplier_low=2",
        "random_lstm:layers=5",
        "random_lstm:temperature=-1",
        "random_transformer:width=30,heads=4",
        "random_transformer:mask=always",
        "iterated:depth=table",
        "iterated:table=1/2",
        "iterated:depth=table,table=0/0",
        "iterated:source=(uniform)",
        "buffered:source_rows=65",
        "buffered:constant_resets=60,noise_resets=5",
    ],
)
def test_impossible_specs_are_refused_in_one_line(text):
    with pytest.raises(SpecError, match="allowed") as caught:
        get(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("random_lstm", "6ed5645e807d3c03"),
        ("random_lstm@repository:hidden=8", "41c5ac101b0420c1"),
        ("random_transformer:width=16", "289f61f01af70117"),
        ("iterated:source=(random_lstm:hidden=16),max_depth=3", "afb92bdd11705570"),
        ("buffered:source=(random_lstm:hidden=8),spin_up=2", "f566533e0fcb4595"),
    ],
)
def test_golden(text, digest):
    """A changed hash needs a new ``version`` in the same commit."""
    tokens = get(text).block(0, 0, rows=8, length=32).tokens
    assert hashlib.sha256(tokens.astype("<u2").tobytes()).hexdigest()[:16] == digest
