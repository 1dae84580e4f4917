"""The report: one page that needs nothing else, and survives damaged and hostile records."""

import json
import re
from html.parser import HTMLParser

import pytest
from report_tools import evaluation, make_compare, make_pretrain, write_jsonl

from uprior.errors import RunDirectoryError
from uprior.report import write_report
from uprior.report.records import gather


class Page(HTMLParser):
    """What a browser would load, run and show."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.loads, self.handlers, self.words = [], [], [], [], []
        self.in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.in_style = tag == "style"
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name.removeprefix("xlink:") in ("src", "href", "srcset", "data", "poster", "action"):
                self.loads.append(value)
            if name.startswith("on"):
                self.handlers.append(value)

    def handle_data(self, data):
        if not self.in_style:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(path, text, parsed page) of a report on a pre-training run and a comparison."""
    root = tmp_path_factory.mktemp("runs")
    make_pretrain(root / "demo", files=("stdlib", "letters.txt"))
    make_compare(root / "demo-on-genome")
    path = write_report(root)
    return path, path.read_text("utf-8"), Page(path.read_text("utf-8"))


# ------------------------------------------------------------------ the page as a whole


def test_page_is_in_the_run_directory_and_nothing_else_is_left(both):
    path, _, _ = both
    assert path.name == "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == ["demo", "demo-on-genome", "report.html"]


def test_page_needs_nothing_else(both):
    _, text, page = both
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", text)
    assert "script" not in page.tags and "link" not in page.tags and not page.handlers
    assert page.loads and all(value.startswith(("#", "data:image/png;base64,")) for value in page.loads)
    assert len(text) < 2_000_000


def test_ids_are_unique_and_references_resolve(both):
    _, text, page = both
    assert len(page.ids) == len(set(page.ids)) > 20
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"|aria-labelledby="([^"]+)"', text))
    assert used and {next(filter(None, groups)) for groups in used} <= set(page.ids)


def test_figures_are_there_with_real_text(both):
    _, _, page = both
    # Two files over training and over context, the loss; curves over tokens, over compute, differences.
    assert page.tags.count("figure") == 2 * 2 + 1 + 3
    for text in ("stdlib, never trained on", "letters.txt, over context", "Training loss", "Difference to scratch"):
        assert text in page.text
    for label in (
        "million tokens of random computation",
        "nats per token",
        "trillion operations",
        "million real tokens",
    ):
        assert label in page.text  # axis labels, so text in the drawing is text


def test_figures_take_the_colours_of_the_page(both):
    _, text, _ = both
    drawings = re.findall(r'<svg viewBox="[^"]+" role="img".*?</svg>', text, flags=re.DOTALL)
    assert len(drawings) == 8
    assert all("var(--ink)" in drawing and "var(--c1)" in drawing for drawing in drawings)
    assert not any("#0a0" in drawing for drawing in drawings)
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "width=device-width" in text


def test_every_component_of_the_mixture_is_shown(both):
    _, _, page = both
    pictures = [value for value in page.loads if value.startswith("data:image/png")]
    assert len(pictures) == len(set(pictures)) == 3
    for share in ("4 of 6 rows", "1 of 6 rows"):
        assert share in page.text


def test_tables_and_origin(both):
    _, _, page = both
    for text in (
        "ppmd",
        "4.900 ± 0.030",
        "the model, at the end",
        "what noise is",
        "3.3 million",
        "abcdef123456",
        "2.13.0",
    ):
        assert text in page.text
    for text in ("uprior compare demo --data genome.txt", "2.432", "never", "21 trillion operations", "−0.085, −0.065"):
        assert text in page.text


def test_glossary_has_only_the_words_of_the_page(tmp_path):
    make_pretrain(tmp_path / "only")
    text = Page(write_report(tmp_path).read_text("utf-8")).text
    assert "nothing can do better" in text and "data saving" not in text


def test_page_can_be_written_elsewhere_and_twice_the_same(tmp_path):
    run = make_compare(tmp_path / "run")
    first = write_report(run, tmp_path / "new" / "page.html")
    assert first == tmp_path / "new" / "page.html"
    assert not (run / "report.html").exists()
    one, other = (re.sub(r"Written [^.]*\.", "", write_report(run, first).read_text("utf-8")) for _ in range(2))
    assert one == other


# ------------------------------------------------------------------ text from outside


def test_hostile_text_is_escaped_everywhere(tmp_path):
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>&\"'"
    make_pretrain(tmp_path / "one", files=(evil,), command=evil, schedule=evil, versions={evil: evil}, commit=evil)
    make_compare(tmp_path / "two", data=evil, arms=[{"name": evil, "description": evil, "warmup_tokens": 1}])
    text = write_report(tmp_path).read_text("utf-8")
    page = Page(text)
    assert "<script" not in text and "script" not in page.tags and not page.handlers
    assert all(value.startswith(("#", "data:image/png")) for value in page.loads)
    assert page.text.count("<script>alert('x')</script>") > 6


def test_source_of_ones_own_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    make_pretrain(tmp_path / "run", source={"name": "trap:Mine", "version": 1})
    assert "runs nobody's code" in Page(write_report(tmp_path / "run").read_text("utf-8")).text


def test_source_of_another_version_leaves_a_note(tmp_path):
    make_pretrain(tmp_path / "run", source={"name": "uniform", "version": 99, "alphabet_size": 256})
    text = Page(write_report(tmp_path / "run").read_text("utf-8")).text
    assert "recorded with version 99" in text and "What it was trained on" not in text


# ------------------------------------------------------------------ damaged and missing records


def test_damaged_lines_are_left_out_and_told(tmp_path):
    run = make_pretrain(tmp_path / "run")
    lines = (run / "log.jsonl").read_text().splitlines()
    lines[4] = lines[4][:20]
    lines[9] = "[1, 2]"
    (run / "log.jsonl").write_text("\n".join(lines))
    text = Page(write_report(run).read_text("utf-8")).text
    assert "log.jsonl: 2 damaged lines left out (line 5, 10)" in text
    assert "Training loss" in text


def test_step_told_twice_after_a_resume_counts_once(tmp_path):
    run = make_pretrain(tmp_path / "run")
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps({"event": "train", "step": 5, "tokens": 5 * 4096, "loss_nats": 99.0}) + "\n")
    (found,), _ = gather(run)
    assert [r["loss_nats"] for r in found.train if r["step"] == 5] == [99.0]
    assert [r["step"] for r in found.train] == list(range(801))


@pytest.mark.parametrize("missing", ["log.jsonl", "baselines.jsonl"])
def test_missing_records_leave_parts_out(tmp_path, missing):
    run = make_pretrain(tmp_path / "run")
    (run / missing).unlink()
    text = Page(write_report(run).read_text("utf-8")).text
    assert ("Training loss" in text) == (missing != "log.jsonl")
    assert ("ppmd" in text) == (missing == "other")


def test_unfinished_comparison_says_so(tmp_path):
    run = make_compare(tmp_path / "run")
    lines = (run / "compare.jsonl").read_text().splitlines()
    (run / "compare.jsonl").write_text("\n".join(lines[:8]))
    text = Page(write_report(run).read_text("utf-8")).text
    assert "not finished" in text and "over real tokens" in text


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    run = make_pretrain(tmp_path / "run")
    broken = [
        evaluation("stdlib", "bz2", 7.0, bits_mean=None, curve_bits="?"),
        evaluation("stdlib", "lzma", 7.0, se_mean="x"),
    ]
    write_jsonl(run / "baselines.jsonl", broken)
    text = Page(write_report(run).read_text("utf-8")).text
    assert "unknown" in text and "lzma" in text


def test_parts_of_a_comparison_and_checkpoints_are_no_runs_of_their_own(tmp_path):
    run = make_compare(tmp_path / "study")
    make_pretrain(run / "seed-1" / "warmup-warmed")
    warm = make_pretrain(tmp_path / "warm")
    (warm / "model").mkdir()
    (warm / "model" / "config.json").write_text('{"model_type": "llama"}')
    runs, notes = gather(tmp_path)
    assert [found.label for found in runs] == ["warm", "study"] and notes == []


def test_nothing_there_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunDirectoryError) as caught:
            write_report(folder)
        assert str(caught.value) == f"no uprior run below {folder}; type: uprior pretrain --out {folder}"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"config.json cannot be read.*type: uprior pretrain"):
        write_report(tmp_path)


def test_page_that_cannot_be_written_is_one_line(tmp_path):
    run = make_compare(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="choose another --out"):
        write_report(run, tmp_path / "file" / "page.html")
