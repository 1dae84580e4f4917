"""The zero-shot page: verdicts from hand-made records, cells, curves, and the document in Markdown and HTML."""

import pytest

from uprior.report.battery import battery_pages
from uprior.report.battery_figures import curve
from uprior.report.battery_records import Battery
from uprior.report.battery_tables import against_compressors, at_the_last_byte, beside_published, over_the_context
from uprior.report.battery_verdicts import verdicts
from uprior.report.document import Heading, Picture, Table, markdown, page

REAL = [
    "german",
    "javascript",
    "wikitext2",
    "c",
    "python",
    "gsm8k",
    "hindi",
    "arabic",
    "protein",
    "sensors",
    "images",
]
SYNTHETIC = ["toy2", "aut", "bitsflip"]
PUBLISHED = {"german": {"markov": 4.48, "28 M": 4.06, "428 M": 3.89}, "javascript": {"28 M": 3.7, "428 M": 3.44}}


def record(name, predictor, bits, *, long=False, **more):
    return {
        "set": name, "predictor": predictor, "bits_last": bits, "se_last": 0.02, "bits_tail": bits + 0.1, "se_tail": 0.01,
        "curve_positions": [1.0, 8.0, 500.0] if not long else [1.0, 8.0, 400.0, 3000.0],
        "curve_bits": [7.0, 6.0, bits] if not long else [7.5, 6.5, bits, bits - 0.5],
        "curve_low": [6.9, 5.9, bits - 0.1] if not long else [7.0, 6.0, bits - 0.2, bits - 0.7],
        "curve_high": [7.1, 6.1, bits + 0.1] if not long else [8.0, 7.0, bits + 0.2, bits - 0.3],
        "bytes_per_second": 2e6, "peak_bytes": None if predictor == "ppmd" else 3 << 20, "positions": 10_000,
        "n_bytes": 70_000, "seconds": 2.0, "long": long, **more,
    }  # fmt: skip


def summary(model_bits, *, real=REAL, synthetic=SYNTHETIC, long_end=4096, ends=-0.1):
    """A summary in which Markov has 4.5 bits (order 1), CTW 4, PPMd 4 and the model ``model_bits`` of a set (default 3)."""
    names, half = [*real, *synthetic], 0.05
    records, differences, falls = [], [], []
    for name in names:
        bits = model_bits.get(name, 3.0)
        baselines = {"markov-0": 5.0, "markov-1": 4.5, "markov-mix": 4.2, "ctw": 4.0, "ppmd": 4.0}
        orders = {"markov-0": {"order": 0}, "markov-1": {"order": 1}}
        records += [record(name, one, value, **orders.get(one, {})) for one, value in baselines.items()]
        records.append(record(name, "mine", bits))
        for baseline, where in (("markov-1", "last"), ("ctw", "last"), ("ctw", "tail"), ("ppmd", "tail")):
            difference = bits - baselines[baseline]
            ends_of = {"difference": difference, "low": difference - half, "high": difference + half}
            differences.append({"set": name, "model": "mine", "baseline": baseline, "where": where, **ends_of})
        for long in (False, True) if name in real and long_end else (False,):
            fall = {"set": name, "model": "mine", "long": long, "context": long_end if long else 512}
            falls.append(
                {
                    **fall,
                    "bits_before": bits,
                    "bits_end": bits + ends,
                    "difference": ends,
                    "low": ends - half,
                    "high": ends + half,
                }
            )
            if long:
                records += [record(name, one, bits, long=True, order=0) for one in ("markov-0", "mine")]
    return {
        "study": {"positions": 10_000, "context": 512, "brotli_windows": 2000, "long_context": 4096, "long_positions": 200,
                  "seed": 0},
        "command": "uprior run zero-shot", "commit": None, "versions": {"python": "3.11"},
        "hardware": {"processor": "a processor", "threads": 1, "cores": 2, "accelerator": None},
        "sets": [
            {"name": n, "what": "some <text>", "real": n in REAL, "published": PUBLISHED.get(n, {}), "ideal": 0.5} for n in names
        ],
        "models": [{"label": "mine", "parameters": 4_800_000, "sha256": "ab" * 32, "precision": "float32", "trained": {}}],
        "records": records, "differences": differences, "falls": falls,
    }  # fmt: skip


def answers(*args, **kwargs):
    return [verdict.answer for verdict in verdicts(Battery(summary(*args, **kwargs)), "mine")]


# ------------------------------------------------------------------ verdicts


def test_all_holds_where_the_model_is_clearly_ahead_everywhere():
    assert answers({}) == ["yes"] * 7


@pytest.mark.parametrize(
    ("bits", "changes", "which", "answer"),
    [
        ({"c": 5.0, "python": 5.0, "hindi": 5.0}, {}, 0, "yes"),  # 8 of 11, the three named among them
        ({"c": 5.0, "python": 5.0, "hindi": 5.0, "arabic": 5.0}, {}, 0, "no"),
        ({"wikitext2": 4.5}, {}, 0, "no"),  # level with Markov on a set that must be won
        ({}, {"real": REAL[:7]}, 0, "open"),  # 7 won, 4 not measured
        ({"german": 5.0}, {"real": REAL[:7]}, 0, "no"),  # whatever the others say
        (dict.fromkeys(REAL[:5], 4.02), {}, 1, "yes"),  # 6 of 11 below both
        (dict.fromkeys(REAL[:6], 4.02), {}, 1, "no"),
        ({}, {"real": REAL[:5]}, 1, "open"),
        ({"german": 4.0}, {}, 2, "yes"),  # 4.0 + 2 x 0.02 is below 4.06
        ({"german": 4.04}, {}, 2, "no"),  # 4.04 + 2 x 0.02 is not
        ({"german": 4.0}, {}, 3, "no"),
        ({}, {"real": ["german"]}, 2, "open"),
        ({"aut": 4.6}, {}, 4, "no"),
        ({}, {"synthetic": ["toy2"]}, 4, "open"),
        ({}, {"ends": -0.04}, 5, "no"),  # the interval holds zero
        ({}, {"real": REAL[:3]}, 5, "open"),
        ({}, {"long_end": 0}, 6, "open"),
        ({}, {"long_end": 1024}, 6, "open"),
        ({}, {"ends": 0.2}, 6, "no"),
    ],
)
def test_a_verdict(bits, changes, which, answer):
    assert answers(bits, **changes)[which] == answer


def test_questions_of_which_nothing_was_measured_are_left_out():
    def asked(**kwargs):
        return [verdict.asked for verdict in verdicts(Battery(summary({}, **kwargs)), "mine")]

    every = asked()
    assert asked(real=[]) == ["below in-context Markov on toy2, aut, bitsflip"] == every[4:5]
    assert asked(synthetic=[]) == every[:4] + every[5:]
    assert asked(real=["c"], synthetic=["champ"]) == [*every[:2], *every[5:]]


def test_numbers_stand_beside_the_answer():
    told = list(verdicts(Battery(summary({"german": 4.48, "c": 5.0})), "mine"))
    assert told[0].numbers.startswith(
        "below on 9 of 11: german −0.02 (level), javascript −1.50, wikitext2 −1.50, c +0.50,"
    )
    assert told[1].numbers.startswith("below both on 9 of 11: javascript, wikitext2, python,")
    assert told[2].asked == "below the published model of 28 M parameters (german 4.06, javascript 3.70)"
    assert told[2].numbers == "german +0.42, javascript −0.70"
    short = list(verdicts(Battery(summary({}, long_end=0)), "mine"))
    assert short[6].numbers == "the model reads no further"
    middle = list(verdicts(Battery(summary({}, long_end=1024)), "mine"))
    assert middle[6].numbers.startswith("the model reads 1024; there it is lower on 11 of 11")


# ------------------------------------------------------------------ tables and curves


def test_the_lowest_is_bold_and_markov_is_the_best_order():
    battery = Battery(summary({"german": 4.4}))
    table = at_the_last_byte(battery, ["german", "c"])
    assert table.head == ["set", "Markov (order)", "Markov mix", "CTW", "mine", "mine − Markov", "mine − CTW"]
    assert table.rows[0] == [
        "german", "4.500 (1)", "4.200", "**4.000**", "4.400 ± 0.020", "**−0.100 (−0.15 to −0.05)**", "+0.400 (+0.35 to +0.45)"
    ]  # fmt: skip
    assert table.rows[1][4] == "**3.000 ± 0.020**"


def test_compressors_are_compared_over_the_tail():
    table = against_compressors(Battery(summary({})), ["c"])
    assert table.head == [
        "set",
        "Markov (order)",
        "CTW",
        "PPMd",
        "mine",
        "mine − PPMd",
        "mine − CTW",
    ]  # only what was measured
    assert table.rows[0][3:5] == ["4.100", "**3.100 ± 0.010**"]


def test_published_numbers_stand_beside_ours_where_there_are():
    table = beside_published(Battery(summary({})))
    assert [row[0] for row in table.rows] == ["german", "javascript"]
    assert table.rows[0] == ["german", "4.480", "4.06", "3.89", "4.500 (1)", "3.000 ± 0.020"]
    assert table.rows[1][1] == "–"
    assert beside_published(Battery(summary({}, real=["c"]))) is None


def test_a_model_that_reads_no_further_has_no_columns_for_that():
    table = over_the_context(Battery(summary({}, long_end=0)), ["c"])
    assert table.rows == [["c", "**−0.100 (−0.15 to −0.05)**"]] and len(table.head) == 2
    assert over_the_context(Battery(summary({})), ["c"]).rows[0][2:4] == ["3.000", "2.900"]


def test_curves_go_on_with_the_long_windows_where_the_short_ones_end():
    x, y, low, high = curve(Battery(summary({"c": 3.0})), "c", "mine")
    assert x == [1.0, 8.0, 500.0, 3000.0] and y == [7.0, 6.0, 3.0, 2.5] and (low[3], high[3]) == (2.3, 2.7)
    _, best, _, _ = curve(Battery(summary({})), "c", "markov")
    assert best[:3] == [7.0, 6.0, 4.5]  # at every position the best order


def test_the_pages_hold_everything():
    pages = battery_pages(summary({}))
    assert set(pages) == {"zero-shot.md", "report.html", "zero-shot-bits.svg", "zero-shot-curves.svg"}
    text, html = pages["zero-shot.md"].decode(), pages["report.html"].decode()
    for heading in ("What was asked", "At the last byte", "Beside the published", "Against compressors", "Synthetic sets",
                    "Over the context", "Speed and memory", "The sets", "How it was made"):  # fmt: skip
        assert f"## {heading}" in text and f"<h2>{heading}" in html
    assert (
        "](zero-shot-bits.svg)" in text
        and "some &lt;text&gt;" in html
        and "<text>" not in html.partition("data:image")[0]
    )
    assert pages == battery_pages(summary({}))  # figures too are the same each time
    only_synthetic = battery_pages(summary({}, real=[]))
    assert set(only_synthetic) == {"zero-shot.md", "report.html"}


# ------------------------------------------------------------------ documents


def test_a_document_as_markdown():
    blocks = [
        "Text.",
        Heading("Part"),
        Table(["a", "b"], [["x|y", "**1**"]], "Said."),
        Picture("f.svg", b"<svg/>", "what", "How."),
    ]
    assert markdown("Title", blocks) == (
        "# Title\n\nText.\n\n## Part\n\nSaid.\n\n| a | b |\n| --- | ---: |\n| x\\|y | **1** |\n\n![what](f.svg)\n\nHow.\n"
    )


def test_a_document_as_a_page_escapes_all_but_its_marks():
    blocks = ["<script> **b** `c<d` [w](https://x.org/?a&b) [no](javascript:1)", Table(["h"], [["<i>"]])]
    html = page("<T>", blocks)
    assert "&lt;script&gt; <b>b</b> <code>c&lt;d</code>" in html and "<title>&lt;T&gt;</title>" in html
    assert '<a href="https://x.org/?a&amp;b">w</a> [no](javascript:1)' in html and "&lt;i&gt;" in html
