"""Numbers as sentences, and honest ones: what did not help is said as plainly as what did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from uprior.report.records import Run, number

_ARM_WORDS = {
    "warmed": "the warmed model",
    "matched": "scratch that spends the warm-up's compute on more real steps",
}
# Of a comparison with a shipped model.
_SHIPPED_WORDS = {
    "warmed": "the shipped model",
    "scratch": "the same model from its own first weights",
    "random": "the same model from random weights",
    "shuffled": "the shipped model with its weights shuffled",
}
GLOSSARY = {
    "above the floor": "the training loss minus the floor: at 0 nats the model would know every machine perfectly.",
    "arm": "one way of training in a comparison; arms share seeds, first weights and real batches.",
    "bits per byte": "how many bits a predictor spends on a byte of a file, on average. Knowing nothing costs 8; less is better.",
    "context": "what the predictor has already seen of the row it predicts.",
    "data saving": "the share of the real tokens that the warmed arm does without to reach the loss that scratch ends with; "
    "negative where scratch is ahead.",
    "floor": "the loss of the predictor that knows the machine: nothing can do better.",
    "in-context Markov": "a predictor that counts what followed the last few bytes, within the same window only.",
    "machine": "one draw from a source: one random network, one grammar, one program.",
    "nats": "the unit of the training loss: 1 nat is 1.44 bits.",
    "real tokens": "tokens of the real corpus; one token is one byte here.",
    "row": "one sequence of tokens written by one machine.",
    "scratch": "the arm that starts without a warm-up.",
    "source": "a distribution over token sequences defined by random computation; no real data is in it.",
    "total compute": "floating-point operations of the whole arm, its warm-up included.",
    "zero-shot": "measured on real data of which the model has never been trained on a single byte.",
}


def quantity(value: float) -> str:
    """A count in words: 3.3 million, 512 thousand, 20."""
    for size, word in (
        (1e15, "quadrillion"),
        (1e12, "trillion"),
        (1e9, "billion"),
        (1e6, "million"),
        (1e3, "thousand"),
    ):
        if abs(value) >= size:
            return f"{value / size:.3g} {word}"
    return f"{value:.3g}" if math.isfinite(value) else "an unknown number of"


def bits(value: float, error: float = math.nan) -> str:
    """A number of bits with its standard error, to the digit that the error allows."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.3f} ± {error:.3f}" if math.isfinite(error) else f"{value:.3f}"


def interval(low: float, high: float, *, percent: bool = False) -> str:
    """ "(95 % interval a to b)", or "" where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "(no interval: too few seeds)"
    if percent:
        return f"(95 % interval {_percent(low)} to {_percent(high)} %)"
    return f"(95 % interval {low:+.3f} to {high:+.3f})".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}".replace("-0", "0").replace("-", "−")


def files_of(run: Run) -> list[str]:
    """The evaluated files, in the order of their first evaluation."""
    return list(dict.fromkeys(str(r.get("file")) for r in run.evals))


def zero_shot(run: Run, file: str, field: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """First and last evaluation of the model on a file that have the field."""
    of_file = [r for r in run.evals if str(r.get("file")) == file and math.isfinite(number(r.get(field)))]
    return (of_file[0], of_file[-1]) if of_file else ({}, {})


def pretrain_claim(run: Run, file: str) -> str:
    """One sentence or two about a file: where the model began, where it is, against chance and the best baseline."""
    first, last = zero_shot(run, file, "bits_mean")
    if not last:
        return ""
    start, end, error = number(first.get("bits_mean")), number(last.get("bits_mean")), number(last.get("se_mean"))
    margin = 2 * error if math.isfinite(error) else 0.0
    seen = quantity(number(last.get("tokens")))
    means = {str(r.get("predictor")): number(r.get("bits_mean")) for r in run.baselines if str(r.get("file")) == file}
    chance = means.pop("uniform", 8.0)
    if first is last:
        text = f"On {file} the model spends {bits(end, error)} bits per byte after {seen} tokens; there is one evaluation only."
    elif end > start - margin:
        text = (
            f"Training on {seen} tokens of random computation did not help on {file}: "
            f"{bits(start)} bits per byte before, {bits(end, error)} after."
        )
    else:
        text = (
            f"After {seen} tokens of random computation, and no real data, the model predicts {file} with {bits(end, error)} "
            f"bits per byte, down from {bits(start)} before training."
        )
    if end > chance - margin:
        text += f" That is no better than guessing uniformly ({bits(chance)})."
    else:
        text += f" Guessing uniformly needs {bits(chance)}"
        known = {name: value for name, value in means.items() if math.isfinite(value)}
        best = min(known, key=known.__getitem__, default="")
        verdict = "better than" if best and known[best] < end else "behind"
        text += f"; the best baseline, {best}, needs {bits(known[best])}, {verdict} the model." if best else "."
    return text


def compare_claims(run: Run) -> list[str]:
    """What the comparison says, in sentences; differences are arm minus baseline, so negative means the arm is better."""
    summary, data = run.summary, str(run.config.get("corpus") or run.config.get("data") or "the real data")
    if not summary:
        return [f"The comparison on {data} is not finished: its closing summary is not there yet."]
    told = {
        "baseline": "scratch",
        "value": summary.get("data_saving"),
        "low": summary.get("low"),
        "high": summary.get("high"),
    }
    savings = summary.get("savings")
    known = [one for one in savings if isinstance(one, dict)] if isinstance(savings, list) else [told]
    shipped = bool(run.config.get("shipped"))
    names = _SHIPPED_WORDS if shipped else _ARM_WORDS
    claims = [_saving_claim(one, summary, data, names) for one in known]
    # The questions a reader has; the other pairs stand in the page's table.
    asked = [
        pair
        for pair in _pairs(summary)
        if pair.get("arm") == "warmed" and pair.get("baseline") in ("scratch", "matched", "random", "shuffled")
    ]
    claims += [_pair_claim(pair, names) for pair in asked]
    return [*claims, _cost_claim(summary)] if shipped else claims


def _cost_claim(summary: dict[str, Any]) -> str:
    """What a warm-up took that no arm could spend on real data instead."""
    tokens, real = number(summary.get("warmup_tokens")), number(summary.get("real_tokens"))
    if not (math.isfinite(tokens) and real > 0):
        return ""
    return (
        f"The shipped weights took {quantity(tokens)} tokens, {quantity(tokens / real)} times the real ones here; they were made "
        "once, and are the same for every seed, so intervals do not cover other models made by the same recipe."
    )


def _saving_claim(saving: dict[str, Any], summary: dict[str, Any], data: str, names: Mapping[str, str]) -> str:
    value, low, high = (number(saving.get(key)) for key in ("value", "low", "high"))
    seeds = quantity(number(summary.get("seeds")))
    warmed, baseline = (names.get(name, name) for name in ("warmed", str(saving.get("baseline"))))
    if not math.isfinite(value):
        return f"On {data} no data saving can be told: one of the two arms never reached the other's final loss."
    range_ = interval(low, high, percent=True)
    if math.isfinite(low) and low <= 0 <= high:
        return (
            f"On {data} {seeds} seeds cannot tell whether the warm-up saves real data against {baseline}: "
            f"measured saving {_percent(value)} % {range_}, which includes none."
        )
    if value > 0:
        fewer = f"with {_percent(value)} % fewer real tokens {range_}"
        return f"On {data} {warmed} reaches the final loss of {baseline} {fewer}."
    if value < 0:
        return (
            f"The warm-up did not help on {data}: {baseline} reaches the final loss of {warmed} with "
            f"{_percent(-value)} % fewer real tokens {interval(-high, -low, percent=True)}."
        )
    return f"On {data} the warm-up neither saves nor costs real data against {baseline} {range_}."


def _pair_claim(pair: dict[str, Any], names: Mapping[str, str]) -> str:
    arm, baseline = (names.get(str(pair.get(key)), str(pair.get(key))) for key in ("arm", "baseline"))
    difference, low, high = (number(pair.get(key)) for key in ("difference_bits", "low", "high"))
    if not math.isfinite(difference):
        return f"At the end, {arm} and {baseline} cannot be compared."
    size = f"{abs(difference):.3f} bits per byte"
    range_ = f"difference {interval(low, high)[1:-1]}" if math.isfinite(low) else "no interval: too few seeds"
    if math.isfinite(low) and low <= 0 <= high:
        better = "fewer" if difference < 0 else "more"
        return f"At the end, {arm} needs {size} {better} than {baseline}, which these seeds cannot tell from none ({range_})."
    return f"At the end, {arm} is {'better' if difference < 0 else 'worse'} than {baseline} by {size} ({range_})."


def _pairs(summary: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = summary.get("pairs")
    return [pair for pair in pairs if isinstance(pair, dict)] if isinstance(pairs, list) else []
