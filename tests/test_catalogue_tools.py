"""Looking at the catalogue and timing it: pictures, the gallery, the edge-of-chaos study, the benchmark."""

import json

import numpy as np
import pytest

from uprior import bench
from uprior.cli import main
from uprior.errors import SpecError
from uprior.report import gallery
from uprior.sources import entries, find, get
from uprior.sources._base import bars
from uprior.sources._chaos import MULTIPLIERS, chaos
from uprior.sources._complexity import block_entropy_bits, lempel_ziv_bits, lempel_ziv_phrases
from uprior.sources._look import look, pixels_of, png

# ------------------------------------------------------------------ measures


def phrases_by_definition(row):
    """Lempel and Ziv's parsing, word by word: the shortest extension that does not occur in what precedes its last token."""
    row, first, phrases = list(row), 0, 0
    while first < len(row):
        size = 1
        while first + size <= len(row) and any(
            row[start : start + size] == row[first : first + size] for start in range(first)
        ):
            size += 1
        first, phrases = first + size, phrases + 1
    return phrases


def test_lempel_ziv_equals_its_definition():
    rng = np.random.default_rng(0)
    for alphabet in (2, 3, 20):
        for length in (1, 2, 5, 40, 100):
            row = rng.integers(0, alphabet, length).astype(np.uint16)
            assert lempel_ziv_phrases(row) == phrases_by_definition(row.tolist())


def test_lempel_ziv_orders_rows_as_we_do():
    rng = np.random.default_rng(1)
    constant, period = np.zeros(512, dtype=np.uint16), np.tile(np.arange(8, dtype=np.uint16), 64)
    noise = rng.integers(0, 8, 512).astype(np.uint16)
    bits = [lempel_ziv_bits(row) for row in (constant, period, noise)]
    assert bits[0] < bits[1] < 0.2 and 2.5 < bits[2] < 4.0


def test_block_entropy_by_hand():
    row = np.array([0, 1, 0, 1, 1], dtype=np.uint16)  # pairs 01 10 01 11
    assert block_entropy_bits(row, 2) == pytest.approx(1.5)
    assert block_entropy_bits(row, 5) == 0.0


# ------------------------------------------------------------------ looks and pictures


def test_look_has_every_measure():
    seen = look(get("uniform"), rows=4, length=256, seed=0)
    assert seen["alphabet_size"] == 256 and seen["floor_bits"] == pytest.approx(8.0)
    assert len(seen["block_entropies_bits"]) == 4
    assert seen["block_entropies_bits"][0] == seen["entropy_bits"] < seen["block_entropies_bits"][1] < 8.0


def test_bars_and_blank_pixels():
    picture = bars(np.array([0, 3, 1]))
    assert picture.tolist() == [[-1, 3, -1], [-1, 3, -1], [-1, 3, 1]]
    shown = pixels_of(png(picture))
    assert (shown == 0).tolist() == (picture < 0).tolist()
    assert pixels_of(png(picture, scale=2)).shape == (6, 6)
    assert bars(np.array([0, 200]), most=64).shape == (64, 2)


@pytest.mark.parametrize("name", sorted(entries()))
def test_picture_is_pure_and_two_dimensional(name):
    source = get(name)
    picture = source.picture(length=200)
    if picture is not None:
        assert picture.ndim == 2 and min(picture.shape) > 1 and picture.dtype.kind in "iu"
        np.testing.assert_array_equal(picture, source.picture(length=200))
        assert (picture >= 0).any()


def test_show_writes_a_picture(tmp_path, capsys):
    for name in ("uniform", "dyck"):
        with pytest.raises(SystemExit) as done:
            main(["show", name, "--rows", "4", "--length", "64", "--png", str(tmp_path / f"{name}.png")])
        assert done.value.code == 0
        assert pixels_of((tmp_path / f"{name}.png").read_bytes()).size > 64
    assert "Lempel-Ziv" in capsys.readouterr().out


# ------------------------------------------------------------------ the gallery


# Its 300 steps of spin-up take 24 s; the gallery itself measures it.
SLOW = {"buffered@fork"}


@pytest.mark.parametrize("name", sorted(entries()))
def test_gallery_is_up_to_date(name, pytestconfig):
    docs = pytestconfig.rootpath / "docs"
    page = (docs / "GALLERY.md").read_text("utf-8")
    texts = gallery.texts_of(name)
    measured = {text: gallery.measures(text) for text in texts if text not in SLOW}
    written = gallery.section(name, measured | {text: measured[name] for text in texts if text in SLOW})
    for line in written.splitlines():
        assert any(f"`{text}`" in line for text in SLOW) or line in page.splitlines(), "type: uprior gallery"
    drawn = docs / "gallery" / f"{name}.png"
    assert drawn.exists(), "type: uprior gallery"
    shown = pixels_of(drawn.read_bytes())
    np.testing.assert_array_equal(shown, pixels_of(png(gallery.picture(name), scale=4)), "type: uprior gallery")


def test_gallery_has_every_source_once_and_a_map(pytestconfig):
    docs = pytestconfig.rootpath / "docs"
    names = [name for _, names in gallery.by_family() for name in names]
    assert sorted(names) == sorted(entries())
    assert {find(name).family for name in names} <= set(gallery.FAMILIES)
    page = (docs / "GALLERY.md").read_text("utf-8")
    assert [line[4:] for line in page.splitlines() if line.startswith("### ")] == names
    assert {path.stem for path in (docs / "gallery").glob("*.png")} == set(names)
    drawn = (docs / "gallery" / "map.svg").read_text("utf-8")
    assert [name for name in names if f">{name}<" not in drawn] == []


# ------------------------------------------------------------------ the edge of chaos


def test_large_weights_are_more_sensitive_than_small_ones():
    records = chaos(get("random_lstm:hidden=16,alphabet_size=32"), rows=24, length=64)
    assert [record["multiplier"] for record in records] == list(MULTIPLIERS)
    assert records[-1]["late_sensitivity"] > 2 * records[0]["late_sensitivity"]
    assert records[-1]["lempel_ziv_bits"] > records[0]["lempel_ziv_bits"]
    for record in records:
        shares = record["sorted_frequencies"]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)


def test_chaos_is_told_and_drawn(tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["show", "random_lstm:hidden=4,alphabet_size=8", "--study", "chaos", "--png", str(tmp_path / "chaos.png")])
    assert done.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(MULTIPLIERS) + 1
    assert (tmp_path / "chaos.png").read_bytes().startswith(b"\x89PNG")


def test_chaos_needs_a_multiplier():
    with pytest.raises(SpecError, match="uniform has no weights with a multiplier"):
        chaos(get("uniform"))


# ------------------------------------------------------------------ the benchmark


def test_bench_lists_sources_with_their_presets():
    assert bench.texts_of(["iterated", "uniform:alphabet_size=8"])[:2] == ["iterated", "iterated@deep"]
    assert set(bench.texts_of()) >= set(entries())


def test_bench_record(pytestconfig):
    references = pytestconfig.rootpath / "tests" / "references"
    record = bench.bench_source(get("zipf"), rows=8, length=32, seconds=0.01, threads=2, references=references)
    assert record["threads"] == 2 and record["reference_ratio"] > 0 and record["peak_mb"] > 0
    assert record["tokens_per_second"] > 0 and record["scored_tokens_per_second"] == record["tokens_per_second"]
    alone = bench.bench_source(get("zipf"), rows=8, length=32, seconds=0.01)
    assert alone["reference_ratio"] is None and alone["blocks"] >= 3


def test_bench_prints_the_machine_first(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "uniform", "--rows", "8", "--length", "16", "--seconds", "0.01", "--json"])
    machine, record = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "processor" in machine["machine"] and record["name"] == "uniform" and record["preset"] is None
