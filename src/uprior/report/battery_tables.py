"""The tables of the zero-shot study's page."""

from __future__ import annotations

from collections.abc import Sequence

from uprior.report.battery_records import Battery, Difference, below, minus
from uprior.report.document import Table
from uprior.report.words import quantity

NAMES = {"markov": "Markov (order)", "markov-mix": "Markov mix", "ctw": "CTW", "ppmd": "PPMd"}
SIZES = ("28 M", "428 M")  # the published models that are shown


def at_the_last_byte(battery: Battery, names: Sequence[str]) -> Table:
    """Every real set: what the last byte costs Markov, CTW and the models, and how far those are from the baselines."""
    predictors = ("markov", "markov-mix", "ctw", *battery.labels)
    against = ("markov", "ctw") if len(battery.labels) == 1 else ("markov",)
    rows = [
        [name, *_bits(battery, name, predictors, "last"), *_differences(battery, name, against, "last")]
        for name in names
    ]
    caption = (
        f"Bits at byte {battery.study['context']}, of the models ± one standard error; differences with 95 % "
        "intervals, over the same windows, bold where all of the interval is below zero. Markov: the best single "
        "order of 0 to 5."
    )
    head = ["set", *(NAMES.get(p, p) for p in predictors), *_difference_heads(battery, against)]
    return Table(head, rows, caption)


def against_compressors(battery: Battery, names: Sequence[str]) -> Table:
    """Every real set over the last 32 bytes, where compressors can be compared too."""
    predictors = ("markov", "ctw", "ppmd", "brotli", "lzma", "deflate", *battery.labels)
    shown = [p for p in predictors if any(battery.record(name, p) for name in names)]
    against = ("ppmd", "ctw") if len(battery.labels) == 1 else ("ppmd",)
    rows = [
        [name, *_bits(battery, name, shown, "tail"), *_differences(battery, name, against, "tail")] for name in names
    ]
    slow = "" if "brotli" not in shown else _slow(battery)
    caption = (
        "A compressor does not tell what single bytes cost, so here everyone is judged by the last 32 bytes of the "
        "window, per byte: for a compressor, what they add to the compressed length, without headers." + slow
    )
    return Table(["set", *(NAMES.get(p, p) for p in shown), *_difference_heads(battery, against)], rows, caption)


def _slow(battery: Battery) -> str:
    count = min(battery.study["brotli_windows"], battery.study["positions"])
    return (
        f" brotli, which is slow, read the first {count:,} of the windows."
        if count < battery.study["positions"]
        else ""
    )


def beside_published(battery: Battery) -> Table | None:
    """The sets with published figures, those and ours; None without such sets."""
    rows = []
    for one in battery.sets:
        published, name = one["published"], one["name"]
        if published:
            told = [
                f"{published[key]:.{n}f}" if key in published else "–"
                for key, n in (("markov", 3), *((s, 2) for s in SIZES))
            ]
            rows.append([name, *told, *_bits(battery, name, ("markov", *battery.labels), "last", bold=False)])
    head = ["set", "their Markov", *(f"their model, {size}" for size in SIZES), "our Markov (order)"]
    caption = (
        "Theirs: Bloem 2025 ([arXiv 2506.20057](https://arxiv.org/abs/2506.20057)), from its tables and read off "
        "its figure, bits at the last of 512 bytes at 10,000 positions, with dropout left on. german and javascript "
        "are the same files and the same test splits (the last 218 k and 70 k characters); of the synthetic sets "
        "here are those whose recipe is fully published. Their Markov lines were measured on windows of the "
        "training text, ours on the test split."
    )
    return Table([*head, *battery.labels], rows, caption) if rows else None


def synthetic_sets(battery: Battery, names: Sequence[str]) -> Table:
    """Every synthetic set at the last byte, with what an ideal predictor pays."""
    predictors = ("markov", "markov-mix", "ctw", *battery.labels)
    rows = [
        [
            name,
            f"{battery.about(name)['ideal']:.3f}",
            *_bits(battery, name, predictors, "last"),
            *_differences(battery, name, ("markov",), "last"),
        ]
        for name in names
    ]
    caption = (
        "Bits at the last byte. Ideal: what a predictor pays on average that knows the recipe and has read "
        "everything before, which is more than the window."
    )
    head = ["set", "ideal", *(NAMES.get(p, p) for p in predictors), *_difference_heads(battery, ("markov",))]
    return Table(head, rows, caption)


def over_the_context(battery: Battery, names: Sequence[str]) -> Table:
    """Whether the loss still falls at the end of the windows, and beyond where a model reads further."""
    study, several = battery.study, len(battery.labels) > 1
    context, ends = study["context"], sorted({battery.longest(label) for label in battery.labels} - {0})
    rows = []
    for name in names:
        for label in battery.labels:
            short, long = battery.fall(name, label, long=False), battery.fall(name, label, long=True)
            row = [name, *([label] if several else []), _difference(short.difference if short else None)]
            further = [f"{long.before:.3f}", f"{long.end:.3f}", _difference(long.difference)] if long else ["–"] * 3
            rows.append([*row, *(further if ends else [])])
    head = ["set", *(["model"] if several else []), f"end of {context} minus the eighth before"]
    caption = (
        "Is the loss still falling? Bits per byte over the last eighth of "
        f"{context} bytes minus those over the eighth before it."
    )
    if ends:
        end = " or ".join(map(str, ends))
        head += [f"around {context}", f"end of {end}", f"end of {end} minus around {context}"]
        caption += (
            f" Then, on {study['long_positions']:,} windows of {study['long_context']} bytes: around byte {context}, and "
            "over the last eighth of what the model reads."
        )
    return Table(head, rows, caption, texts=2 if several else 1)


def speed(battery: Battery) -> Table:
    """Speed and memory of every predictor."""
    rows = []
    for predictor in dict.fromkeys(record["predictor"] for record in battery.short):
        mine = [record for record in battery.short if record["predictor"] == predictor]
        rates = sorted(record["bytes_per_second"] for record in mine)
        peaks = [record["peak_bytes"] for record in mine if record["peak_bytes"] is not None]
        count, seconds = max(record["positions"] for record in mine), sum(record["seconds"] for record in mine)
        peak = f"{max(peaks) / 2**20:,.0f}" if peaks else "–"
        rows.append([predictor, quantity(rates[len(rates) // 2]), peak, f"{count:,}", f"{seconds:,.0f}"])
    caption = (
        "Speed: the median over sets; for compressors, of the bytes in all prefixes that were compressed. Memory: "
        "the most that the process had beyond what it held before, results included; the weights of a model and an "
        "accelerator's memory are not in it, and PPMd runs in other processes. Seconds: all sets, tuning included."
    )
    return Table(["predictor", "bytes per second", "MiB", "windows", "seconds"], rows, caption)


def sets_table(battery: Battery) -> Table:
    """What the sets hold."""
    rows = []
    for one in battery.sets:
        record = next(record for record in battery.short if record["set"] == one["name"])
        rows.append([one["name"], one["what"], "real" if one["real"] else "synthetic", f"{record['n_bytes']:,}"])
    return Table(["set", "what it is", "kind", "bytes in the test split"], rows, texts=3)


# ------------------------------------------------------------------ cells


def _bits(battery: Battery, name: str, predictors: Sequence[str], where: str, *, bold: bool = True) -> list[str]:
    """One cell a predictor: bits, of models with standard error, of Markov with its order; the lowest in bold."""
    records = [battery.record(name, predictor) for predictor in predictors]
    best = min((record[f"bits_{where}"] for record in records if record is not None), default=None)
    cells = []
    for predictor, record in zip(predictors, records, strict=True):
        if record is None:
            cells.append("–")
            continue
        text = f"{record[f'bits_{where}']:.3f}"
        if predictor in battery.labels:
            text += f" ± {record[f'se_{where}']:.3f}"
        elif predictor == "markov":
            text += f" ({record['order']})"
        cells.append(f"**{text}**" if bold and record[f"bits_{where}"] == best else text)
    return cells


def _differences(battery: Battery, name: str, baselines: Sequence[str], where: str) -> list[str]:
    return [
        _difference(battery.difference(name, label, baseline, where))
        for label in battery.labels
        for baseline in baselines
    ]


def _difference(difference: Difference | None) -> str:
    """Signed, with the ends of its interval; bold where all of it is below zero."""
    if difference is None:
        return "–"
    text = f"{minus(difference.value)} ({minus(difference.low, 2)} to {minus(difference.high, 2)})"
    return f"**{text}**" if below(difference) else text


def _difference_heads(battery: Battery, baselines: Sequence[str]) -> list[str]:
    shown = [NAMES[baseline].partition(" (")[0] for baseline in baselines]
    return [f"{label} − {baseline}" for label in battery.labels for baseline in shown]
