"""What the zero-shot study recorded, by set and predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A difference in bits per byte with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fall:
    """Bits per byte at the end of a window and before it, and their difference."""

    before: float
    end: float
    difference: Difference


def below(difference: Difference | None) -> bool:
    """Whether all of the interval is below zero."""
    return difference is not None and difference.high < 0


def minus(value: float, digits: int = 3) -> str:
    """A signed number with a real minus sign.

    >>> minus(-0.5), minus(0.25, 2)
    ('−0.500', '+0.25')
    """
    return f"{value:+.{digits}f}".replace("-", "−")


class Battery:
    """The content of zero-shot.json, looked up. ``markov`` stands for the single order that is best at a set's last byte."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.study, self.sets, self.models = summary["study"], summary["sets"], summary["models"]
        self.labels = [model["label"] for model in self.models]
        self.hardware, self.versions = summary["hardware"], summary["versions"]
        self.commit, self.command = summary["commit"], summary["command"]
        self.short = [record for record in summary["records"] if not record["long"]]
        self.long = [record for record in summary["records"] if record["long"]]
        self.seconds = sum(record["seconds"] for record in summary["records"])
        self._differences, self._falls = summary["differences"], summary["falls"]

    def about(self, name: str) -> Mapping[str, Any]:
        """The set of that name."""
        found: Mapping[str, Any] = next(one for one in self.sets if one["name"] == name)
        return found

    def names(self, *, real: bool) -> list[str]:
        """The real sets, or the synthetic ones."""
        return [one["name"] for one in self.sets if one["real"] is real]

    def orders(self, name: str, *, long: bool = False) -> list[Mapping[str, Any]]:
        """The records of the Markov predictors of one order each."""
        records = self.long if long else self.short
        return [
            r
            for r in records
            if r["set"] == name and r["predictor"][:7] == "markov-" and r["predictor"] != "markov-mix"
        ]

    def record(self, name: str, predictor: str, *, long: bool = False) -> Mapping[str, Any] | None:
        """The record of a predictor on a set, None where it was not measured."""
        if predictor == "markov":
            return min(self.orders(name, long=long), key=lambda record: record["bits_last"], default=None)
        records = self.long if long else self.short
        return next((r for r in records if (r["set"], r["predictor"]) == (name, predictor)), None)

    def difference(self, name: str, model: str, baseline: str, where: str) -> Difference | None:
        """Model minus baseline at the ``last`` byte or over the ``tail``."""
        best = self.record(name, "markov")
        wanted = best["predictor"] if baseline == "markov" and best else baseline
        for found in self._differences:
            if (found["set"], found["model"], found["baseline"], found["where"]) == (name, model, wanted, where):
                return Difference(found["difference"], found["low"], found["high"])
        return None

    def fall(self, name: str, model: str, *, long: bool) -> Fall | None:
        """How a model's loss falls towards the end of the windows."""
        for found in self._falls:
            if (found["set"], found["model"], found["long"]) == (name, model, long):
                difference = Difference(found["difference"], found["low"], found["high"])
                return Fall(found["bits_before"], found["bits_end"], difference)
        return None

    def longest(self, model: str) -> int:
        """How many bytes of the long windows a model reads; 0 where it was not measured on them."""
        return max((found["context"] for found in self._falls if found["model"] == model and found["long"]), default=0)
