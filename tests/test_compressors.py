"""Compressors as predictors: lengths less the container, PPMd in its own process, extras that may be missing."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
from sampling_tools import random_words

from uprior import corpora
from uprior.errors import MissingExtraError, UpriorError
from uprior.evals import baselines, compressors, evaluate, ppmd


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> corpora.Corpus:
    return random_words(tmp_path_factory.mktemp("data"))


def windows_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)[None]


IN_PROCESS = [
    compressors.deflate,
    compressors.bzip2,
    compressors.lzma_raw,
    pytest.param(
        compressors.brotli,
        marks=pytest.mark.skipif(not compressors.installed("brotli"), reason="the extra brotli is not installed"),
    ),
]


@pytest.mark.parametrize("make", IN_PROCESS)
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


@pytest.mark.parametrize("make", IN_PROCESS)
def test_repeated_data_is_nearly_free(rng: np.random.Generator, make: Callable[[], compressors.InProcess]) -> None:
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


@pytest.mark.parametrize(("name", "package"), [("ppmd", "pyppmd"), ("brotli", "brotli")])
def test_extras_are_optional(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # an import of it fails
    assert name not in [p.name for p in baselines(text, 64, windows=4)]
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; type: pip install 'uprior\[{name}\]'"):
        baselines(text, 64, names=["uniform", name])
    with pytest.raises(MissingExtraError, match=package):
        {"ppmd": lambda: ppmd.Ppmd(4), "brotli": compressors.brotli}[name]()


def test_ppmd_order_is_chosen_where_it_is_installed(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_a_process(windows: np.ndarray, edges: list[int], orders: list[int]) -> np.ndarray:
        """Four bytes of head, half a byte for each, and a byte for each step away from order 6."""
        cost = 4 + np.abs(np.array(orders) - 6)[:, None, None] + np.array(edges) // 2
        asked.append(len(windows))
        return np.broadcast_to(cost, (len(orders), len(windows), len(edges)))

    asked: list[int] = []
    monkeypatch.setitem(sys.modules, "pyppmd", types.SimpleNamespace())
    monkeypatch.setattr(ppmd, "_in_a_process", in_a_process)
    (chosen,) = baselines(text, 64, names=["ppmd"], windows=4)
    assert chosen.settings == {"order": 6} and asked == [4]
    assert chosen.bits(windows_of("a" * 64)).bits.tolist() == [[128.0, 128.0]]
    monkeypatch.setattr(
        ppmd, "ENCODERS_PER_PROCESS", 2 * 3 * 2
    )  # two windows, of three prefixes, to a process, and none where they run out
    assert ppmd.Ppmd(6).bits(np.zeros((5, 64), np.uint8)).bits.shape == (5, 2) and asked[-2:] == [4, 1]
    assert baselines(text, 64, windows=4)[-1].name == "ppmd"


def test_ppmd_in_its_process_is_ppmd(text: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    pyppmd = pytest.importorskip("pyppmd")
    windows = text.windows("test", 3, 64, "ppmd")
    monkeypatch.setattr(ppmd, "ENCODERS_PER_PROCESS", 6)  # two processes: two windows, one window
    found = ppmd.Ppmd(4).lengths(windows, [0, 32, 64])
    assert found.tolist() == [
        [len(pyppmd.compress(w.tobytes()[:end], max_order=4, mem_size=1 << 20, variant="H")) for end in (0, 32, 64)]
        for w in windows
    ]
    monkeypatch.setattr(sys, "executable", "false")  # a program that fails
    with pytest.raises(UpriorError, match=r"pyppmd failed \(status 1\); leave ppmd out of names"):
        ppmd.Ppmd(4).lengths(windows, [64])


def test_real_ppmd_beats_deflate_on_words(text: corpora.Corpus) -> None:
    pytest.importorskip("pyppmd")
    results = evaluate(baselines(text, 256, names=["deflate", "ppmd"], windows=20), text, positions=50)
    assert results[1]["bits_mean"] < results[0]["bits_mean"]


def test_brotli_pays_for_no_container_and_knows_words() -> None:
    pytest.importorskip("brotli")
    brotli = compressors.brotli()
    assert len(brotli.compress(b"")) == 1
    english, mixed = (
        brotli.bits(windows_of(t)).bits.sum() for t in (" the development of" * 2, " eht tnempoleved fo" * 2)
    )
    assert english < mixed - 16
