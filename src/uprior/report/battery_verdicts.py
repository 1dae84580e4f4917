"""What was asked of a model in the zero-shot study, and whether it holds: each in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from uprior.report.battery_records import Battery, Difference, below, minus

REAL_SETS = 11
MARKOV_MUST, MARKOV_REAL = ("german", "javascript", "wikitext2"), 8
COMPRESSORS_REAL = 6
SYNTHETIC_MUST = ("toy2", "aut", "bitsflip")
PUBLISHED_SETS, PUBLISHED_SIZES = ("german", "javascript"), ("28 M", "428 M")
Z = 1.96  # of a 95 % interval

Found = Mapping[str, Difference | None]


@dataclass(frozen=True)
class Verdict:
    """What was asked, the answer (yes, no, open), and the numbers behind it."""

    asked: str
    answer: str
    numbers: str


def verdicts(battery: Battery, model: str) -> Iterator[Verdict]:
    """All of them, about one model, but those of which no set was measured."""
    real = battery.names(real=True)
    if real:
        yield _below_markov(battery, model, real)
        yield _below_compressors(battery, model, real)
    if set(PUBLISHED_SETS) & set(real):
        for size in PUBLISHED_SIZES:
            yield _below_published(battery, model, size)
    if set(SYNTHETIC_MUST) & set(battery.names(real=False)):
        yield _below_markov_synthetic(battery, model)
    if real:
        yield _falling(battery, model, real)
        yield _long(battery, model, real)


def _below_markov(battery: Battery, model: str, real: Sequence[str]) -> Verdict:
    found = {name: battery.difference(name, model, "markov", "last") for name in real}
    won = [name for name in real if below(found[name])]
    lost = [name for name in MARKOV_MUST if name in found and name not in won]
    asked = f"below in-context Markov on {', '.join(MARKOV_MUST)}, and on {MARKOV_REAL} of {REAL_SETS} real sets"
    holds = set(MARKOV_MUST) <= set(won) and len(won) >= MARKOV_REAL
    answer = _answer(holds, possible=not lost and len(won) + REAL_SETS - len(real) >= MARKOV_REAL)
    return Verdict(asked, answer, f"below on {len(won)} of {len(real)}: {_listed(found)}")


def _below_compressors(battery: Battery, model: str, real: Sequence[str]) -> Verdict:
    ppmd, ctw = ({name: battery.difference(name, model, other, "tail") for name in real} for other in ("ppmd", "ctw"))
    won = [name for name in real if below(ppmd[name]) and below(ctw[name])]
    asked = f"below PPMd and CTW, both, on {COMPRESSORS_REAL} real sets, over the last 32 bytes"
    unknown = REAL_SETS - len(real) + list(ppmd.values()).count(None)
    answer = _answer(len(won) >= COMPRESSORS_REAL, possible=len(won) + unknown >= COMPRESSORS_REAL)
    return Verdict(asked, answer, f"below both on {len(won)} of {len(real)}" + (f": {', '.join(won)}" if won else ""))


def _below_published(battery: Battery, model: str, size: str) -> Verdict:
    found: dict[str, Difference | None] = dict.fromkeys(PUBLISHED_SETS)
    targets = []
    for one in battery.sets:
        record = battery.record(one["name"], model)
        if one["name"] in found and record is not None:
            target = one["published"][size]
            value, half = record["bits_last"] - target, Z * record["se_last"]
            found[one["name"]] = Difference(value, value - half, value + half)
            targets.append(f"{one['name']} {target:.2f}")
    asked = f"below the published model of {size} parameters" + (f" ({', '.join(targets)})" if targets else "")
    return Verdict(asked, _every(found), _listed(found))


def _below_markov_synthetic(battery: Battery, model: str) -> Verdict:
    found = {name: battery.difference(name, model, "markov", "last") for name in SYNTHETIC_MUST}
    return Verdict(f"below in-context Markov on {', '.join(SYNTHETIC_MUST)}", _every(found), _listed(found))


def _falling(battery: Battery, model: str, real: Sequence[str]) -> Verdict:
    found = {name: fall.difference if (fall := battery.fall(name, model, long=False)) else None for name in real}
    asked = f"loss still falling at byte {battery.study['context']} on every real set"
    return Verdict(asked, _every(found, REAL_SETS), _counted(found))


def _long(battery: Battery, model: str, real: Sequence[str]) -> Verdict:
    end, asked_end = battery.longest(model), battery.study["long_context"]
    asked = f"lower at byte {asked_end} than at {battery.study['context']}, on every real set"
    if not end:
        return Verdict(asked, "open", "the model reads no further")
    found = {name: fall.difference if (fall := battery.fall(name, model, long=True)) else None for name in real}
    if end < asked_end:
        return Verdict(asked, "open", f"the model reads {end}; there it is lower {_counted(found)}")
    return Verdict(asked, _every(found, REAL_SETS), _counted(found))


# ------------------------------------------------------------------ words


def _answer(holds: bool, *, possible: bool) -> str:
    """Yes; no; open where what was not measured could still make it hold."""
    return "yes" if holds else "open" if possible else "no"


def _every(found: Found, wanted: int = 0) -> str:
    """Whether all are below zero: those measured, and so many as are wanted."""
    known = [difference for difference in found.values() if difference is not None]
    if not all(map(below, known)):
        return "no"
    return _answer(len(known) == len(found) and len(known) >= wanted, possible=True)


def _listed(found: Found) -> str:
    """Every set with its difference, told where the interval holds zero."""
    known = {name: difference for name, difference in found.items() if difference is not None}
    return ", ".join(f"{name} {minus(d.value, 2)}{_level(d)}" for name, d in known.items()) or "not measured"


def _level(difference: Difference) -> str:
    return " (level)" if difference.low <= 0 <= difference.high else ""


def _counted(found: Found) -> str:
    """On how many, and which not."""
    others = {name: difference for name, difference in found.items() if not below(difference)}
    text = f"on {len(found) - len(others)} of {len(found)}"
    return f"{text}; not: {_listed(others)}" if others else f"{text}: {_listed(found)}"
