"""``uprior bits``: what every byte of a file costs, in numbers worked by hand, on a terminal and on a page."""

import json
import math
import re

import numpy as np
import pytest
import torch

from uprior import corpora
from uprior.cli import main
from uprior.errors import CorpusError, SpecError
from uprior.evals.surprise import GIVEN_BITS, expected_bytes, most_surprised, surprise, window_starts
from uprior.models import build, save_model, shipped
from uprior.report.surprise import byte_name, explanation, ranking_table, reading, spots, whole_file, write_page
from uprior.report.visible import columns, pieces, visible, visible_name
from uprior.terminal import plot_lines


class Counts(torch.nn.Module):
    """Gives half of all probability to the byte after the last one; the rest is shared out equally. So a byte costs 1 bit where
    the file counts up, else 1 + log2(255)."""

    OTHER = 1 + math.log2(255)

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    @property
    def device(self):
        return self.weight.device

    def forward(self, input_ids, use_cache):
        p = torch.full((*input_ids.shape, 256), 0.5 / 255)
        p.scatter_(-1, ((input_ids + 1) % 256)[..., None], 0.5)
        return type("Output", (), {"logits": torch.log(p)})()


@pytest.fixture(autouse=True)
def few_baselines(monkeypatch):
    """Those that start at once."""
    monkeypatch.setattr("uprior.evals.surprise.BASELINES", ("uniform", "markov-mix", "deflate", "lzma"))


@pytest.fixture
def corpus(tmp_path):
    def make(data, name="file.txt"):
        (tmp_path / name).write_bytes(data)
        return corpora.get(str(tmp_path / name))

    return make


def seen(corpus, data, **options):
    return surprise(Counts(), corpus(data), **({"context": 64, "name": "counts"} | options))


UP = bytes(range(256))

# ------------------------------------------------------------------ what is measured


def test_windows_cover_the_file_or_are_spread_over_it():
    assert window_starts(100, 100, 5).tolist() == [0]
    assert window_starts(101, 100, 5).tolist() == [0, 1]
    starts = window_starts(1000, 64, 99)
    assert starts[0] == 0 and starts[-1] == 936 and (np.diff(starts) <= 64).all() and len(starts) == 16
    assert window_starts(10**12, 512, 3).tolist() == [0, (10**12 - 512) // 2, 10**12 - 512]


def test_costs_worked_by_hand(corpus):
    found = seen(corpus, UP * 2)  # eight windows of 64 that count up
    assert found.windows.shape == (8, 64) and found.is_whole and found.windows.tobytes() == UP * 2
    assert found.bits[:, 0].tolist() == [GIVEN_BITS] * 8 and found.bits[:, 1:] == pytest.approx(1.0, abs=1e-5)
    own = found.record("counts")
    assert own["bits_mean"] == pytest.approx((8 + 63 * 1) / 64, abs=1e-5) and own["se_mean"] == pytest.approx(
        0, abs=1e-6
    )
    assert own["bits_last"] == pytest.approx(1.0, abs=1e-5) and own["last_bytes"] == 32
    assert own["estimated_bytes"] == (8 + 63) * 512 // 64 // 8 == 71 and own["share"] == pytest.approx(
        own["bits_mean"] / 8
    )
    assert found.record("uniform")["bits_mean"] == found.record("uniform")["bits_last"] == 8.0
    assert found.record("deflate")["bits_mean"] >= 7  # nothing repeats
    bits = [record["bits_mean"] for record in found.ranking]
    assert bits == sorted(bits) and found.ranking[0] is own and found.best_other == found.ranking[1]["predictor"]
    assert found.places == []


def test_a_model_and_a_compressor_are_charged_for_the_same_bytes(corpus):
    """Of constant data deflate is told the first byte too, and pays for it; a model is given it and is charged 8 bits."""
    found = seen(corpus, b"a" * 64, context=64)
    assert found.record("counts")["bits_mean"] == pytest.approx((8 + 63 * Counts.OTHER) / 64, abs=1e-5)
    whole = found.record("deflate")
    assert whole["bits_mean"] * 64 / 8 == whole["estimated_bytes"] and whole["estimated_bytes"] <= 4


def test_a_short_file_is_one_window(corpus):
    found = seen(corpus, UP[:10])
    assert found.windows.shape == (1, 10) and found.record("counts")["se_mean"] is None
    assert found.record("counts")["last_bytes"] == 5 and found.is_whole
    assert {record["context"] for record in found.ranking} == {10}
    assert seen(corpus, b"ab").windows.tolist() == [[97, 98]]


def test_a_long_file_is_read_in_parts(corpus):
    found = seen(corpus, UP * 40, most_bytes=640)
    assert found.windows.shape == (10, 64) and not found.is_whole and found.size == 10240
    assert found.starts.tolist() == window_starts(10240, 64, 10).tolist()
    assert found.record("counts")["estimated_bytes"] == pytest.approx(found.record("counts")["bits_mean"] * 1280, abs=1)


@pytest.mark.parametrize(("data", "error"), [(b"", "is empty"), (b"a", "has a single byte")])
def test_too_little_is_told(corpus, data, error):
    with pytest.raises(CorpusError, match=error):
        seen(corpus, data)
    with pytest.raises(SpecError, match="context = 1 is not allowed"):
        seen(corpus, UP, context=1)


def test_places_are_dear_apart_and_of_different_bytes():
    windows = np.zeros((2, 200), dtype=np.uint8)
    bits = np.full((2, 200), 1.0)
    dear = {
        (0, 100): (9.0, 1),
        (0, 120): (8.9, 2),
        (0, 160): (8.0, 1),
        (1, 20): (12.0, 3),
        (1, 150): (7.0, 4),
        (1, 60): (4.5, 5),
    }
    for (w, t), (cost, byte) in dear.items():
        bits[w, t], windows[w, t] = cost, byte
    starts = np.array([0, 200])
    # (0, 120) is near (0, 100), (0, 160) the same byte; at (1, 20) too little had been read; the last two count
    assert most_surprised(bits, windows, starts, 5) == [(0, 100), (1, 150), (1, 60)]
    assert most_surprised(bits, windows, starts, 2) == [(0, 100), (1, 150)]
    assert most_surprised(bits, windows, starts, 0) == []
    overlapping = np.array([0, 100])  # (1, 60) is the byte at (0, 160) again, and that is near none of the others
    assert (1, 60) in most_surprised(bits, windows, overlapping, 5)
    assert most_surprised(bits, windows, np.array([0, 50]), 5) == [(0, 100), (1, 150)]  # 110 is near 100


def test_a_surprise_is_told_with_what_was_expected(corpus):
    data = bytearray(UP)
    data[200] = ord("Z")
    (place,) = seen(corpus, bytes(data), context=256).places  # the byte after it surprises too, and is near
    assert (place.window, place.position, place.offset) == (0, 200, 200)
    assert place.bits == pytest.approx(Counts.OTHER, abs=1e-4)
    best, probability = place.expected[0]
    assert best == 200 and probability == pytest.approx(0.5, abs=1e-4)
    assert len(place.expected) == 3 and place.expected[1][1] == pytest.approx(0.5 / 255, abs=1e-5)
    assert expected_bytes(Counts(), np.array([7], dtype=np.uint8), 1) == [(8, pytest.approx(0.5, abs=1e-5))]


# ------------------------------------------------------------------ in words


def test_bytes_become_text_that_does_no_harm():
    assert visible(b"a\x1b[31m\x07\r\n\\") == "a\\x1b[31m\\x07\\r\\n\\\\"
    assert visible("é漢\u202e\u200b\xa0\U000e0001".encode()) == "é漢\\u202e\\u200b\\xa0\\U000e0001".replace(
        "\\xa0", "\\u00a0"
    )
    assert pieces(b"\xc3\xa9\xc3(") == [("é", 2), ("\\xc3", 1), ("(", 1)]
    assert sum(size for _, size in pieces(bytes(range(256)) * 3)) == 768
    assert visible_name("a\x1b\udcff\\b") == "a\\x1b\\xff\\b"
    assert columns("e\u0301漢a") == 4


def test_what_was_read_is_told(corpus):
    assert reading(seen(corpus, UP[:10])) == "file.txt: 10 bytes, read whole in one window of 10 bytes."
    assert reading(seen(corpus, UP)) == (
        "file.txt: 256 bytes, read whole in 4 windows of 64 bytes. Every predictor starts each window afresh."
    )
    part = reading(seen(corpus, UP * 40, most_bytes=1))
    assert part == "file.txt: 10,240 bytes, 64 of them read, in one window of 64 bytes all over it."


def test_the_ranking_as_a_table(corpus):
    head, rows = ranking_table(seen(corpus, UP * 2))
    assert head == ["predictor", "bits per byte", "last 32 bytes", "bytes in total", "share"]
    assert rows[0] == ["counts (the model)", "1.11", "1.00", "71", "14 %"]
    assert ["uniform (chance)", "8.00", "8.00", "512", "100 %"] in rows
    sampled = ranking_table(seen(corpus, UP * 40, most_bytes=640))[1]
    assert re.fullmatch(r"1\.\d\d ± \d\.\d\d", sampled[0][1])
    assert "suits the file best" in explanation([seen(corpus, UP)])


def test_the_whole_file_is_told_where_windows_hide_it(corpus):
    assert re.fullmatch(
        r"xz, which reads the whole file at once: \d+ bytes \(\d\.\d %\)\.", whole_file(seen(corpus, UP * 40))
    )
    assert whole_file(seen(corpus, UP[:10])) == ""


def test_a_place_marks_the_whole_character(corpus):
    found = seen(corpus, UP[0x40:0x7F] + "ш!".encode(), context=65)
    (spot,) = spots(found)
    assert (spot.offset, spot.came, spot.mark) == (63, f"\\xd1, byte 1 of 2 of ш, cost {Counts.OTHER:.1f} bits", "ш")
    assert spot.before[-2:] == ["}", "~"] and spot.after == [] and spot.expected.startswith("\\x7f 50 %, ")
    assert byte_name(0x20) == "' '" and byte_name(0xFF) == "\\xff"


def test_curves_as_lines_of_text():
    lines = plot_lines([("-", [1, 4], [8.0, 8.0]), ("*", [1, 2, 4], [8.0, 6.0, 4.0])], width=12, rows=9, x_end=4)
    assert lines == [
        "8 |*--------",
        *(f"  |{' ' * n}*" for n in range(1, 8)),
        "4 |        *",
        "  +---------",
        "   1   2   4",
    ]
    assert plot_lines([("*", [3], [1.5])], width=9, rows=2, x_end=4)[0] == "2 |    *"
    assert plot_lines([("*", [1], [0.0])], width=9, rows=2, x_end=1)[:2] == ["1 |", "0 |*"]


# ------------------------------------------------------------------ the page


def test_the_page_is_whole_and_harmless(corpus, tmp_path):
    hostile = b"<script>alert(1)</script>&\x1b\x00\xff \xe2\x80\xae" * 9 + "é\n".encode()
    found = surprise(Counts(), corpus(hostile, "<b>name\x1b.txt"), context=64, name="counts")
    write_page([found], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script" not in page and "<b>name" not in page and "\x1b" not in page and "\x00" not in page
    assert "&lt;b&gt;name\\x1b.txt" in page and re.search(r"(src|href)\s*=\s*\"?https?:", page) is None
    letters = re.findall(r'<s(?: class="h\d")? title="([^"]*)">(.*?)</s>', page, flags=re.DOTALL)
    windows = [pieces(window.tobytes()) for window in found.windows]
    assert len(letters) == sum(map(len, windows))  # every character of every window, once
    assert letters[0] == ("0: given", "&lt;")
    assert letters[1] == (f"1: {Counts.OTHER:.1f} bits", "s")
    assert any(text == "↵\n" for _, text in letters) and any(text == "\\x1b" for _, text in letters)


def test_a_long_file_shows_some_windows_and_all_places(corpus, tmp_path):
    data = bytearray(UP * 64)
    data[12345] = 1
    found = surprise(Counts(), corpus(bytes(data)), context=64, name="counts")
    write_page([found, found], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    shown = re.findall(r"from byte ([\d,]+)</span>", page)
    assert len(shown) <= 2 * 32 and len(shown) >= 2 * 30 and f"{12345 // 64 * 64:,}" in shown
    assert page.count('<i class="h') == 2 * 256
    names = re.findall(r'id="([^"]+)"', page)
    assert len(names) == len(set(names))


# ------------------------------------------------------------------ the command


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "checkpoints")
    save_model(build("llama-tiny", context=64), tmp_path / "checkpoints/universal")
    (tmp_path / "text.txt").write_text(" ".join(str(n * n) for n in range(99)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bits(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["bits", *map(str, words)])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


@pytest.mark.parametrize("width", [80, 120])
def test_a_file_on_a_terminal(home, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    (home / "b\x1b[31m.bin").write_bytes(bytes(range(256)) + "漢字\u202e".encode() * 20)
    status, out, err = bits(capsys, "text.txt", "b\x1b[31m.bin", *(["--html", "page.html"] if width == 80 else []))
    assert status == 0 and err.startswith("bits: some seconds a file")
    assert "universal (the model)" in out and "where universal was most surprised" in out and "»" in out
    assert "\x1b" not in out and "\u202e" not in out
    assert max(columns(line) for line in out.splitlines()) <= max(width, 80)
    assert (home / "page.html").exists() == out.endswith("\npage: page.html\n") == (width == 80)


def test_lines_for_programs(home, capsys):
    status, out, _ = bits(capsys, "text.txt", "--context", 32, "--bytes", 64, "--places", 2, "--quiet", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    ranking, places = [line for line in lines if "predictor" in line], [line for line in lines if "place" in line]
    assert status == 0 and {line["predictor"] for line in ranking} >= {"universal", "uniform", "markov-mix", "lzma"}
    fields = {
        "file",
        "context",
        "windows",
        "n_bytes",
        "bits_mean",
        "bits_last",
        "estimated_bytes",
        "share",
        "curve_bits",
    }
    assert all(fields <= line.keys() and line["windows"] == 2 for line in ranking)
    text = (home / "text.txt").read_bytes()
    assert [place["place"] for place in places] == [1, 2] and places[0]["bits"] >= places[1]["bits"] >= 4
    for place in places:
        assert text[place["offset"]] == place["byte"] and chr(place["byte"]) == place["mark"]
        assert (place["before"] + place["mark"] + place["after"]).encode() in text and len(place["expected"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["empty"], "is empty"),
        (["one"], "has a single byte"),
        (["none.txt"], "there is no file or folder 'none.txt'"),
        (["text.txt", "--context", "65"], "reads at most 64 tokens"),
        (["text.txt", "--places", "0"], "places = 0 is not allowed; allowed: a whole number from 1"),
        (["text.txt", "--model", "univresal"], "did you mean 'universal'"),
        (["/dev/null"], "is not a regular file"),
    ],
)
def test_mistakes_are_one_line(home, capsys, words, told):
    (home / "empty").touch()
    (home / "one").write_bytes(b"x")
    status, out, err = bits(capsys, *words, "--quiet")
    assert status == 2 and out == "" and told in err and len(err.splitlines()) == 1


def test_a_sparse_file_of_a_gigabyte_is_read_in_places(home, capsys):
    with (home / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    status, out, _ = bits(capsys, "sparse", "--bytes", 256, "--quiet")
    assert status == 0 and "1,073,741,824 bytes, 256 of them read, in 4 windows" in " ".join(out.split())
