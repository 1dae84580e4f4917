"""The zero-shot study as a page: what was asked and whether it holds, tables, figures, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uprior.report.battery_figures import bits_picture, curves_picture
from uprior.report.battery_records import Battery
from uprior.report.battery_tables import (
    against_compressors,
    at_the_last_byte,
    beside_published,
    over_the_context,
    sets_table,
    speed,
    synthetic_sets,
)
from uprior.report.battery_verdicts import verdicts
from uprior.report.document import Block, Heading, Picture, Table, pages
from uprior.report.words import quantity

TITLE = "Zero-shot: real data, predicted by models that were never shown any"
NOTES = (
    "Windows are drawn from the test split with the seed, all different as long as there are enough, and the same for "
    "everyone. Nothing is remembered between windows. Models run in evaluation mode; bfloat16 changes a mean by less "
    "than 0.002 bits. Baselines are tuned on what comes before the test split: the set's own earlier part, for "
    "wikitext2 the validation file, for gsm8k the training file. Markov predictors of a single order know which bytes "
    "occur in the set, as the published ones did, and the best of them is chosen with hindsight: both only help them. "
    "Intervals are over windows; where a test split is short, windows overlap, which the intervals do not know."
)


def battery_pages(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> content, from that of zero-shot.json: zero-shot.md, its figures, and report.html with everything inside."""
    return pages("zero-shot", TITLE, _blocks(Battery(summary)))


def _blocks(battery: Battery) -> list[Block]:
    study, real, synthetic = battery.study, battery.names(real=True), battery.names(real=False)
    lead = (
        "Bits per byte on data that the models were never trained on. Every predictor reads the same "
        f"{study['positions']:,} windows of {study['context']} bytes of a set's test split, each on its own, and is "
        "judged by what the last byte costs. Knowing nothing costs 8 bits; less is better; the best of a row is "
        "**bold**."
    )
    blocks: list[Block] = [lead, Heading("What was asked, and the answer"), _verdicts(battery)]
    if real:
        blocks += [Heading("At the last byte"), at_the_last_byte(battery, real), _bits_figure(battery)]
        published = beside_published(battery)
        blocks += [Heading("Beside the published numbers"), published] if published else []
        blocks += [Heading("Against compressors"), against_compressors(battery, real)]
    if synthetic:
        blocks += [Heading("Synthetic sets"), synthetic_sets(battery, synthetic)]
    if real:
        blocks += [Heading("Over the context"), _curves_figure(battery, real), over_the_context(battery, real)]
    blocks += [Heading("Speed and memory"), speed(battery)]
    return [
        *blocks,
        Heading("The sets"),
        sets_table(battery),
        Heading("How it was made"),
        _origin(battery),
        NOTES,
    ]


def _verdicts(battery: Battery) -> Table:
    several = len(battery.labels) > 1
    of_models = [[(label, verdict) for verdict in verdicts(battery, label)] for label in battery.labels]
    rows = [
        [verdict.asked, *([label] if several else []), f"**{verdict.answer}**", verdict.numbers]
        for same_question in zip(*of_models, strict=True)
        for label, verdict in same_question
    ]
    head = ["asked", *(["model"] if several else []), "holds", "numbers: differences in bits"]
    caption = (
        "A difference counts where all of its 95 % interval lies on one side of zero; else it is called level. "
        "Open: not all of the sets that are asked for were measured."
    )
    return Table(head, rows, caption, texts=len(head))


def _bits_figure(battery: Battery) -> Picture:
    title = "bits at the last byte of the window, by set and predictor"
    caption = "Bars: 95 % intervals of the models. PPMd: the last 32 bytes, per byte."
    return Picture("zero-shot-bits.svg", bits_picture(battery), title, caption)


def _curves_figure(battery: Battery, names: Sequence[str]) -> Picture:
    study = battery.study
    title = "bits per byte against the bytes already read, a panel a set"
    caption = (
        f"Up to byte {study['context']}: all {study['positions']:,} windows; from there on: "
        f"{study['long_positions']:,} longer ones. Markov: the best order at every position. Bands: 95 % intervals "
        "of the models."
    )
    return Picture("zero-shot-curves.svg", curves_picture(battery, names), title, caption)


def _origin(battery: Battery) -> Table:
    hardware = battery.hardware
    processor = f"{hardware['processor']}, {hardware['threads']} of {hardware['cores']} cores"
    rows = [
        ["command", f"`{battery.command}`"],
        ["commit", battery.commit or "unknown"],
        ["machine", hardware.get("accelerator") or processor],
        ["time", f"{battery.seconds / 60:.0f} minutes for everything on this page"],
        ["seed of the windows", str(battery.study["seed"])],
        ["versions", ", ".join(f"{name} {version}" for name, version in battery.versions.items())],
        *([f"model {model['label']}", _model_words(model)] for model in battery.models),
    ]
    return Table(["", ""], rows, texts=2)


def _model_words(model: Mapping[str, Any]) -> str:
    trained = model["trained"]
    words = [f"{quantity(model['parameters'])} parameters", f"run in {model['precision']}"]
    if built := trained.get("built"):
        command = f"uprior build {built['model']} --seed {built['seed']} --context {built['context']}"
        words.append(f"untrained: {built['weights']}, as `{command}` writes them")
    if "tokens" in trained:
        words.append(
            f"trained on {quantity(trained['tokens'])} tokens of `{trained['source']}`, seed {trained['seed']}"
        )
    for key, name in (("training_flops", "training"), ("generation_flops", "writing the data")):
        if key in trained:
            words.append(f"{trained[key]:.3g} FLOPs of {name}")
    if "hours" in trained:
        words.append(f"{trained['hours']:.2g} hours")
    return ", ".join([*words, f"weights `{model['sha256'][:12]}`"])
