"""Evaluation: every predictor against a slow reference or a hand-worked truth; errors in one line."""

from __future__ import annotations

import math
import sys
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from uprior import corpora
from uprior.corpora.synthetic import SETS
from uprior.errors import CheckpointError, CorpusError, MissingExtraError, SpecError, UnknownNameError, UpriorError
from uprior.evals import (
    Markov,
    MarkovMix,
    ModelPredictor,
    PositionBits,
    Predictor,
    Uniform,
    baselines,
    bits_per_byte,
    compressors,
    evaluate,
    markov,
    model,
)

few_symbols = stnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(2, 40)), elements=st.integers(0, 2))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> corpora.Corpus:
    """A small corpus with some structure: random words of a random lexicon."""
    rng = np.random.default_rng(7)
    lexicon = [bytes(rng.integers(97, 123, rng.integers(2, 7)).astype(np.uint8)) for _ in range(40)]
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_bytes(b" ".join(lexicon[i] for i in rng.zipf(1.5, 20_000) % 40))
    return corpora.get(str(path))


def windows_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)[None]


# ------------------------------------------------------------------ Markov


def slow_counts(window: bytes, order: int, counted: np.ndarray) -> list[tuple[int, int, int]]:
    """(same, context, different) for positions 1..T-1, from lists of everything seen."""
    seen: list[tuple[bytes, int]] = []
    out = []
    for t, byte in enumerate(window):
        past = window[t - order : t] if t >= order else None
        if t >= 1:
            after = Counter(b for p, b in seen if p == past)
            out.append((after[byte], sum(after.values()), len(after)))
        if past is not None and (t == 0 or counted[t - 1]):
            seen.append((past, byte))
    return out


@settings(max_examples=60, deadline=None)
@given(windows=few_symbols, order=st.integers(0, 5), data=st.data())
def test_counts_equal_the_slow_reference(windows: np.ndarray, order: int, data: st.DataObject) -> None:
    counted = data.draw(stnp.arrays(np.bool_, (windows.shape[0], windows.shape[1] - 1)))
    for mask in (counted, np.ones_like(counted)):
        fast = np.stack(markov.context_counts(windows, order, mask), axis=-1)
        slow = [slow_counts(w.tobytes(), order, m) for w, m in zip(windows, mask, strict=True)]
        assert np.array_equal(fast, np.array(slow))


@pytest.mark.parametrize("order", range(6))
def test_counts_equal_the_slow_reference_on_long_windows_of_all_bytes(rng: np.random.Generator, order: int) -> None:
    noise = rng.integers(0, 256, (2, 300), dtype=np.uint8)
    windows = np.concatenate([noise, np.tile(noise[:, :100], 3), np.full((1, 300), 255, np.uint8)])
    everything = np.ones(299, dtype=np.bool_)
    fast = np.stack(markov.context_counts(windows, order), axis=-1)
    assert np.array_equal(fast, np.array([slow_counts(w.tobytes(), order, everything) for w in windows]))


def test_markov_worked_by_hand() -> None:
    # abab, order 1, lambda 1, alphabet of 4. b after a: a is new, 1/4. a after b: b is new, 1/4. b after a: seen once, and
    # once with b: 2/5.
    nats = Markov(1, 1.0, alphabet_size=4).nats(windows_of("abab"))
    assert np.exp(-nats) == pytest.approx(np.array([[1 / 4, 1 / 4, 2 / 5]]))
    # Order 0 knows the first byte: b new among 1 seen, a once among 2, b once among 3.
    nats = Markov(0, 0.5, alphabet_size=256).nats(windows_of("abab"))
    assert np.exp(-nats) == pytest.approx(np.array([[0.5 / 129, 1.5 / 130, 1.5 / 131]]))
    # Order 3 has a context only for the last byte, and it is new.
    assert np.exp(-Markov(3, 0.1).nats(windows_of("abab"))) == pytest.approx(1 / 256)


def slow_mix(window: bytes, order: int, discount: float) -> np.ndarray:
    """[T-1, 256] the whole blended distribution before each of bytes 1..T-1."""
    tables: list[dict[bytes, Counter[int]]] = [{} for _ in range(order + 1)]
    out = []
    for t, byte in enumerate(window):
        p = np.full(256, 1 / 256)
        reached = [k for k in range(order + 1) if t >= k]
        for k in reached:
            seen = tables[k].get(window[t - k : t], Counter())
            if total := sum(seen.values()):
                lower, p = p, np.zeros(256)
                for b in range(256):
                    p[b] = (max(seen[b] - discount, 0) + discount * len(seen) * lower[b]) / total
        out.append(p)
        for k in reversed(reached):  # from the highest order down, until one has seen the byte here already
            seen = tables[k].setdefault(window[t - k : t], Counter())
            known = seen[byte] > 0
            seen[byte] += 1
            if known:
                break
    return np.array(out[1:])


@settings(max_examples=25, deadline=None)
@given(windows=few_symbols, order=st.integers(0, 5), discount=st.sampled_from(markov.DISCOUNTS))
def test_blended_orders_equal_the_slow_reference_which_sums_to_one(
    windows: np.ndarray, order: int, discount: float
) -> None:
    fast = np.exp(-MarkovMix(order, discount).nats(windows))
    for window, got in zip(windows, fast, strict=True):
        distribution = slow_mix(window.tobytes(), order, discount)
        assert distribution.sum(axis=1) == pytest.approx(1)
        assert got == pytest.approx(distribution[np.arange(len(window) - 1), window[1:]])


def test_fitting_finds_order_and_smoothing(rng: np.random.Generator) -> None:
    # Every byte tells the next, but in each window by another permutation: order 1 with hardly any smoothing.
    rows = []
    for _ in range(8):
        follows, row = rng.permutation(8), [0]
        for _ in range(200):
            row.append(int(follows[row[-1]]) if rng.random() < 0.9 else int(rng.integers(8)))
        rows.append(row)
    fitted = markov.fit_markov(np.array(rows, dtype=np.uint8))
    assert fitted.order == 1 and fitted.name == "markov" and fitted.settings["smoothing"] in markov.SMOOTHINGS
    candidates = {
        (k, s): Markov(k, s).nats(np.array(rows, np.uint8))[:, 100:].mean() for k in range(6) for s in markov.SMOOTHINGS
    }
    assert (fitted.order, fitted.smoothing) == min(candidates, key=candidates.__getitem__)
    mixed = markov.fit_markov_mix(np.array(rows, dtype=np.uint8))
    blends = {
        (k, d): MarkovMix(k, d).nats(np.array(rows, np.uint8))[:, 100:].mean()
        for k in range(6)
        for d in markov.DISCOUNTS
    }
    assert (mixed.order, mixed.discount) == min(blends, key=blends.__getitem__)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Markov(6, 1.0), "order = 6 is not allowed; allowed: 0 to 5"),
        (lambda: Markov(1, 0.0), "smoothing = 0.0 is not allowed"),
        (lambda: Markov(1, 1.0, alphabet_size=257), "alphabet_size = 257"),
        (lambda: MarkovMix(-1, 0.5), "order = -1"),
        (lambda: MarkovMix(1, 1.0), "discount = 1.0"),
    ],
)
def test_impossible_markov_settings(make: Callable[[], Predictor], part: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert part in str(caught.value)


# ------------------------------------------------------------------ compressors


@pytest.mark.parametrize("make", [compressors.deflate, compressors.bzip2, compressors.lzma_raw])
def test_compressors_cost_lengths_less_the_empty_message(
    rng: np.random.Generator, make: Callable[[], compressors.Compressor]
) -> None:
    compressor = make()
    window = rng.integers(0, 256, (1, 256), dtype=np.uint8)
    cost = compressor.bits(window)
    assert cost.edges.tolist() == [0, 32, 64, 128, 224, 256]
    whole, empty = (len(compressor.compress(b)) for b in (window.tobytes(), b""))
    assert cost.bits.sum() == 8 * (whole - empty)
    assert cost.bits[0, -1] == 8 * (whole - len(compressor.compress(window[0, :224].tobytes())))
    assert 8 <= cost.bits.sum() / 256 < 13  # noise does not shrink; bz2 spends much on saying which bytes occur


@pytest.mark.parametrize("make", [compressors.deflate, compressors.bzip2, compressors.lzma_raw])
def test_repeated_data_is_nearly_free(rng: np.random.Generator, make: Callable[[], compressors.Compressor]) -> None:
    window = np.tile(rng.integers(0, 256, (1, 8), dtype=np.uint8), (1, 64))
    cost = make().bits(window)
    assert cost.bits[0, -1] / 32 <= 0.5  # two bytes more for the last 32, at most
    assert cost.bits.sum() / 512 < 0.8  # of which bz2 spends most on the first 32 bytes


def test_lzma_carries_less_container_than_lzma2() -> None:
    import lzma

    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 16}]
    text = b"the same as ever, as ever was, " * 4
    chunked = len(lzma.compress(text, lzma.FORMAT_RAW, filters=filters))
    chunked -= len(lzma.compress(b"", lzma.FORMAT_RAW, filters=filters))
    raw = compressors.lzma_raw().compress
    assert len(raw(text)) - len(raw(b"")) < chunked


@pytest.mark.parametrize("context", [2, 3, 31, 63, 64, 65, 97, 128, 512, 1000])
def test_prefixes_increase_and_end_with_the_last_stretch(context: int) -> None:
    lengths = compressors.prefix_lengths(context)
    assert lengths[0] == 0 and lengths[-1] == context and (np.diff(lengths) > 0).all()
    assert context - lengths[-2] == min(32, context // 2)


def test_ppmd_is_optional(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)  # an import of it fails
    assert "ppmd" not in [p.name for p in baselines(text, 64, windows=4)]
    with pytest.raises(MissingExtraError, match=r"pip install 'uprior\[ppmd\]'"):
        baselines(text, 64, names=["uniform", "ppmd"])


def test_ppmd_order_is_chosen_where_it_is_installed(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def compress(data: bytes, *, max_order: int, mem_size: int, variant: str) -> bytes:
        assert mem_size >= 1 << 16 and variant == "H"
        return b"head" + b"x" * (abs(max_order - 6) + len(data) // 2)

    monkeypatch.setitem(sys.modules, "pyppmd", types.SimpleNamespace(compress=compress))
    (chosen,) = baselines(text, 64, names=["ppmd"], windows=4)
    assert chosen.settings == {"order": 6}
    assert chosen.bits(windows_of("a" * 64)).bits.sum() == 8 * 32
    assert baselines(text, 64, windows=4)[-1].name == "ppmd"


def test_real_ppmd_beats_deflate_on_words(text: corpora.Corpus) -> None:
    pytest.importorskip("pyppmd")
    results = evaluate(baselines(text, 256, names=["deflate", "ppmd"], windows=20), text, positions=50)
    assert results[1]["bits_mean"] < results[0]["bits_mean"]


# ------------------------------------------------------------------ the model


class Counting(torch.nn.Module):
    """Predicts that bytes count upwards with probability one half; the other half goes evenly to the rest."""

    def __init__(self, vocabulary: int = 300, limit: int = 64) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(vocab_size=vocabulary, max_position_embeddings=limit)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.drop = torch.nn.Dropout(0.5)
        self.sizes: list[int] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        assert not use_cache and input_ids.dtype == torch.int64
        self.sizes.append(len(input_ids))
        vocabulary = self.config.vocab_size
        logits = torch.zeros(*input_ids.shape, vocabulary)
        logits.scatter_(-1, (input_ids[..., None] + 1) % 256, math.log(vocabulary - 1))
        return types.SimpleNamespace(logits=self.drop(logits * self.scale))


def test_model_pays_one_bit_where_it_gives_one_half() -> None:
    counting = (np.arange(40)[None] + np.array([[3], [250]])).astype(np.uint8)
    cost = ModelPredictor(Counting()).bits(counting)
    assert cost.edges.tolist() == list(range(1, 41))
    assert cost.bits == pytest.approx(1, abs=1e-6)
    # All other tokens, those beyond the bytes too, share the other half.
    backwards = ModelPredictor(Counting()).nats(np.ascontiguousarray(counting[:, ::-1]))
    assert backwards == pytest.approx(math.log(2 * 299), abs=1e-5)


def test_model_modes_are_restored_and_batches_bounded(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Counting().train()
    network.drop.eval()
    windows = rng.integers(0, 256, (7, 16), dtype=np.uint8)
    whole = ModelPredictor(network).nats(windows)
    assert network.training and not network.drop.training and network.sizes == [7]
    monkeypatch.setattr(model, "MAX_TOKENS", 33)
    network.sizes.clear()
    assert np.array_equal(ModelPredictor(network).nats(windows), whole)
    assert network.sizes == [2, 2, 2, 1]
    monkeypatch.setattr(model, "MAX_LOGITS", 1)
    assert np.array_equal(ModelPredictor(network.train()).nats(windows), whole)  # no dropout
    assert network.drop.training and network.scale.grad is None


def test_model_that_does_not_fit_is_refused() -> None:
    windows = np.zeros((2, 65), np.uint8)
    with pytest.raises(SpecError, match="reads at most 64 tokens; given: windows of 65; give --context 64"):
        ModelPredictor(Counting()).nats(windows)
    with pytest.raises(SpecError, match="has a vocabulary of 128; bytes need 256 or more"):
        ModelPredictor(Counting(vocabulary=128), name="runs/x").nats(windows[:, :64])
    unsaid = Counting(vocabulary=300)
    unsaid.config = types.SimpleNamespace(vocab_size=300)
    assert ModelPredictor(unsaid).nats(windows).shape == (2, 64)


def test_model_that_gives_nan_is_refused_and_restored() -> None:
    network = Counting().train()
    torch.nn.init.constant_(network.scale, math.nan)
    with pytest.raises(CheckpointError, match=r"model gives NaN or infinity for 18 of 18 bytes"):
        ModelPredictor(network).nats(np.zeros((2, 10), np.uint8))
    assert network.training


def test_transformers_model_agrees_with_its_own_loss(rng: np.random.Generator) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=48,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(config)
    windows = rng.integers(0, 256, (5, 48), dtype=np.uint8)
    nats = ModelPredictor(network).nats(windows)
    ids = torch.from_numpy(windows.astype(np.int64))
    assert nats.mean() == pytest.approx(network(input_ids=ids, labels=ids).loss.item(), abs=1e-5)
    # Causal: changing the last byte changes the last position's cost only.
    changed = windows.copy()
    changed[:, -1] ^= 1
    other = ModelPredictor(network).nats(changed)
    assert np.allclose(other[:, :-1], nats[:, :-1], atol=1e-6) and not np.allclose(other[:, -1], nats[:, -1])
    rough = ModelPredictor(network, autocast=True).nats(windows)
    assert rough.mean() == pytest.approx(nats.mean(), abs=0.02) and not np.array_equal(rough, nats)


# ------------------------------------------------------------------ evaluate


def test_uniform_is_exactly_eight_bits(text: corpora.Corpus) -> None:
    (result,) = evaluate([Uniform()], text, context=64, positions=100)
    numbers = {k: result[k] for k in ("bits_last", "se_last", "bits_mean", "se_mean")}
    assert numbers == {"bits_last": 8.0, "se_last": 0.0, "bits_mean": 8.0, "se_mean": 0.0}
    assert set(result["curve_bits"]) == set(result["curve_low"]) == set(result["curve_high"]) == {8.0}
    assert list(result)[:8] == [
        "file", "predictor", "context", "positions", "bits_last", "se_last", "bits_mean", "se_mean",
    ]  # fmt: skip
    assert (result["file"], result["predictor"], result["context"], result["positions"]) == (
        "words.txt",
        "uniform",
        64,
        100,
    )
    assert result["n_bytes"] == text.data("test").size


class Recorder(Predictor):
    """Costs its byte values as nats, and keeps what it was shown."""

    name = "recorder"

    def nats(self, windows: np.ndarray) -> np.ndarray:
        self.shown = windows
        return windows[:, 1:].astype(np.float64)


def test_numbers_are_means_over_the_same_windows(text: corpora.Corpus) -> None:
    first, second = Recorder(), Recorder()
    one, two = evaluate([first, second], text, context=64, positions=300, seed=5)
    assert one == two and np.array_equal(first.shown, second.shown)
    held = text.data("test").tobytes()
    assert all(window.tobytes() in held for window in first.shown) and first.shown.shape == (300, 64)
    bits = first.shown[:, 1:] / math.log(2)
    assert one["bits_last"] == pytest.approx(bits[:, -1].mean()) and one["bits_mean"] == pytest.approx(bits.mean())
    # The bootstrap agrees with the textbook's standard error, and the interval with two of them.
    assert one["se_last"] == pytest.approx(bits[:, -1].std() / math.sqrt(300), rel=0.1)
    assert one["se_mean"] == pytest.approx(bits.mean(axis=1).std() / math.sqrt(300), rel=0.1)
    middle, low, high = (np.array(one[f"curve_{k}"]) for k in ("bits", "low", "high"))
    assert (low < middle).all() and (middle < high).all()
    assert middle[0] == pytest.approx(bits[:, 0].mean()) and one["curve_positions"][0] == 1.0
    assert evaluate([first], text, context=64, positions=300, seed=6)[0]["bits_last"] != one["bits_last"]


def test_curve_bins_partition_the_positions() -> None:
    for context in (2, 3, 20, 64, 256, 1024):
        bins = bits_per_byte.curve_bins(np.arange(1, context + 1))
        assert bins[0] == 0 and (np.diff(bins) > 0).all() and bins[-1] < context - 1
        assert len(bins) <= bits_per_byte.CURVE_POINTS + 1
    costs = PositionBits(np.arange(1, 513), np.tile(np.arange(1.0, 512.0), (3, 1)))
    edges, columns = bits_per_byte._columns(costs)
    # Where the cost of a position is the position, a bin's cost is its middle.
    assert columns[0, 2:] == pytest.approx((edges[:-1] + edges[1:] - 1) / 2)
    assert (columns[0, 2:] * np.diff(edges)).sum() == pytest.approx(511 * 512 / 2)
    assert columns[0, :2] == pytest.approx([511, 256])


def test_stretches_count_by_their_length() -> None:
    cost = PositionBits(np.array([0, 32, 96, 128]), np.array([[320.0, 128.0, 32.0]]))
    edges, columns = bits_per_byte._columns(cost)
    assert edges.tolist() == [0, 32, 96, 128]
    assert columns.tolist() == [[1.0, 480 / 128, 10.0, 2.0, 1.0]]


def test_fewer_windows_than_asked_are_told(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(range(250)) * 2)
    corpus = corpora.get(str(path))  # 50 bytes for testing: 19 windows of 32
    assert evaluate([Uniform()], corpus, context=32, positions=128)[0]["positions"] == 19
    with pytest.raises(CorpusError, match=r"short has 500 bytes, 50 of them in its test split; .*give --context 32"):
        evaluate([Uniform()], corpus, context=256)
    with pytest.raises(SpecError, match="positions = 1"):
        evaluate([Uniform()], corpus, context=32, positions=1)


def test_a_predictor_that_gives_nan_is_refused(text: corpora.Corpus) -> None:
    class Broken(Recorder):
        name = "broken"

        def nats(self, windows: np.ndarray) -> np.ndarray:
            return np.full((len(windows), windows.shape[1] - 1), math.nan)

    with pytest.raises(UpriorError, match="predictor broken: 189 of 189 costs are NaN"):
        evaluate([Broken()], text, context=64, positions=3)


def test_baselines_are_tuned_on_other_windows(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    shown = []
    fit = markov.fit_markov

    def spy(windows: np.ndarray, **options: Any) -> Markov:
        shown.append(windows)
        return fit(windows, **options)

    monkeypatch.setattr(markov, "fit_markov", spy)
    found = baselines(text, 64, windows=50)
    assert [p.name for p in found] == ["uniform", "markov", "markov-mix", "deflate", "bz2", "lzma"]
    assert all(w.tobytes() in text.data("train").tobytes() for w in shown[0]) and shown[0].shape == (50, 64)
    results = {r["predictor"]: r for r in evaluate(found, text, context=64, positions=100)}
    assert results["markov"]["order"] in range(6) and results["markov"]["smoothing"] in markov.SMOOTHINGS
    assert results["markov"]["alphabet_size"] == 256
    assert results["markov-mix"]["bits_mean"] < results["markov"]["bits_mean"] < 8
    (told,) = baselines(text, 64, names=["markov"], windows=50, true_alphabet=True)
    assert told.settings["alphabet_size"] == len(set(text.data("train").tobytes())) <= 27
    assert evaluate([told], text, context=64, positions=100)[0]["bits_mean"] < results["markov"]["bits_mean"]
    with pytest.raises(UnknownNameError, match="did you mean 'deflate'"):
        baselines(text, 64, names=["deflat"])


@pytest.mark.parametrize("name", SETS)
def test_nothing_beats_the_ideal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    corpus = corpora.get(f"synthetic:{name}")
    results = evaluate(baselines(corpus, 512, windows=60), corpus, context=512, positions=90)
    assert min(r["bits_mean"] for r in results) > corpus.ideal_bits
    # A compressor's last stretch may cost less than nothing where all is known: a longer message can be a shorter file.
    assert all(r["bits_last"] + 3 * r["se_last"] >= corpus.ideal_bits - (r["predictor"] == "bz2") for r in results)


def test_rooms_open_without_torch_or_numba() -> None:
    import subprocess

    code = "import sys, uprior.evals, uprior.corpora; sys.exit(any(m in sys.modules for m in ('torch', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
