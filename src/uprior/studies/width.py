"""Does a learning rate carry over to a wider model? The coordinate check and a sweep, with muP and without."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from uprior.data.stream import Stream
from uprior.files import locked, read_lines, write_bytes, write_json, write_text
from uprior.models.mup import rescale_
from uprior.models.presets import Preset, config_of, from_config
from uprior.report.width import coordinates_picture, sweep_picture, width_page
from uprior.sources import Source
from uprior.sources.dyck import Dyck
from uprior.spec import parameter
from uprior.studies import Study
from uprior.train.coordinates import coordinates, slopes, train_steps
from uprior.train.settings import Training

CONTEXT = 64


@dataclass(frozen=True)
class Width(Study):
    """Does a learning rate carry over to a wider model? Coordinate check and sweep, with muP and without (11 minutes).

    Llama models of one depth and one head size, tied, on ``dyck``, batches of 8 x 64 tokens, float32. "Standard" is what the
    presets do: matrices start at N(0, 1/width), one learning rate for all. At the base width both are the same, so it runs once.
    Leaves coordinates.jsonl, sweep.jsonl, width.json (slopes and best rates), the figures as SVG and report.html in ``out``.
    """

    name: ClassVar[str] = "width"
    source: Source = field(default=Dyck(), metadata={"text": "what the models are trained on"})
    layers: int = parameter(2, "layers of every model", low=1)
    head_size: int = parameter(32, "size of an attention head", low=1)
    seeds: int = parameter(2, "runs of each setting", low=1)
    check_widths: tuple[int, ...] = parameter(
        (32, 64, 128, 256), "widths of the coordinate check; the first is the base"
    )
    check_rate: float = parameter(0.01, "its learning rate", low=0.0)
    check_steps: int = parameter(5, "its steps", low=1)
    sweep_widths: tuple[int, ...] = parameter((64, 256), "widths of the sweep; the first is the base")
    rates: tuple[float, ...] = parameter(tuple(2.0**-k for k in range(12, 4, -1)), "learning rates of the sweep")
    steps: int = parameter(200, "steps of each run of the sweep", low=1)

    def run(self, out: Path) -> None:
        with locked(out):
            checked = self._check()
            write_text(out / "coordinates.jsonl", "".join(json.dumps(record) + "\n" for record in checked))
            swept = self._sweep(out / "sweep.jsonl")
            summary = {"slopes_of_change": self._slopes(checked), "best_learning_rate": self._best(swept)}
            write_json(out / "width.json", summary)
            pictures = {
                "How far activations move, against the width": coordinates_picture(checked),
                "Loss against learning rate": sweep_picture(swept),
            }
            for name, svg in zip(("width-coordinates.svg", "width-sweep.svg"), pictures.values(), strict=True):
                write_bytes(out / name, svg)
            write_text(out / "report.html", width_page(self._facts(summary), pictures))

    def _model(self, width: int, base_width: int, seed: int) -> Any:
        preset = Preset("llama", width, self.layers, max(1, width // self.head_size), 4 * width)
        model = from_config(config_of(preset, 256, CONTEXT), seed)
        if base_width:
            rescale_(model, base_width)
        return model

    def _stream(self, seed: int) -> Stream:
        return Stream(self.source, seed=seed, batch_size=8, length=CONTEXT)

    def _check(self) -> list[dict[str, Any]]:
        records = []
        for parametrisation, base_width in (("standard", 0), ("mup", self.check_widths[0])):
            training = Training(learning_rate=self.check_rate, warmup_steps=0, base_width=base_width)
            for width in self.check_widths:
                for seed in range(self.seeds):
                    model, batch = self._model(width, base_width, seed), self._stream(0).batch(0)
                    found = coordinates(model, batch, training, steps=self.check_steps)
                    records += [{"parametrisation": parametrisation, "seed": seed, **record} for record in found]
        return records

    def _sweep(self, path: Path) -> list[dict[str, Any]]:
        """One record per run; those already in the file are not run again."""
        records = read_lines(path)
        done = {json.dumps(record["run"]) for record in records}
        base = self.sweep_widths[0]
        for seed in range(self.seeds):
            for width in self.sweep_widths:
                for parametrisation in ("standard", "mup") if width != base else ("both",):
                    for rate in self.rates:
                        run = [parametrisation, width, rate, seed, self.steps, self.source.fingerprint]
                        if json.dumps(run) in done:
                            continue
                        loss = self._loss(width, base if parametrisation == "mup" else 0, rate, seed)
                        names = ("parametrisation", "width", "learning_rate", "seed")
                        records.append({"run": run, **dict(zip(names, run, strict=False)), "loss_nats": loss})
                        write_text(path, "".join(json.dumps(record) + "\n" for record in records))
                        sys.stderr.write(
                            f"width  {parametrisation} {width}, rate {rate:.3g}, seed {seed}: {loss:.4f} nats\n"
                        )
        return records

    def _loss(self, width: int, base_width: int, rate: float, seed: int) -> float:
        """Mean training loss in nats over the last quarter of the steps; every batch is new, so nothing is seen twice."""
        training = Training(steps=self.steps, learning_rate=rate, base_width=base_width)
        batches = self._stream(seed).batches(0, self.steps)
        losses = list(train_steps(self._model(width, base_width, seed), batches, training))
        last = losses[-max(1, self.steps // 4) :]
        return sum(last) / len(last)

    def _slopes(self, records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """parametrisation -> place -> slope of the change after the last step."""
        found = {}
        for parametrisation in ("standard", "mup"):
            mine = slopes([r for r in records if r["parametrisation"] == parametrisation], "change")
            found[parametrisation] = {
                where: round(s, 3) for (step, where), s in mine.items() if step == self.check_steps
            }
        return found

    def _best(self, records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Per parametrisation and width: the best rate of the means over seeds, of every seed, and the loss there."""
        best = {}
        for parametrisation, width in dict.fromkeys((r["parametrisation"], r["width"]) for r in records):
            mine = [r for r in records if (r["parametrisation"], r["width"]) == (parametrisation, width)]
            by_rate = {rate: [r["loss_nats"] for r in mine if r["learning_rate"] == rate] for rate in self.rates}
            means = {rate: sum(losses) / len(losses) for rate, losses in by_rate.items()}
            rate = min(means, key=means.__getitem__)
            per_seed = [min(self.rates, key=lambda rate: by_rate[rate][seed]) for seed in range(self.seeds)]
            best[f"{parametrisation} {width}"] = {"rate": rate, "loss_nats": means[rate], "per_seed": per_seed}
            best[f"{parametrisation} {width}"]["loss_nats_by_rate"] = {
                f"{rate:.6g}": mean for rate, mean in means.items()
            }
        return best

    def _facts(self, summary: dict[str, Any]) -> list[str]:
        facts = []
        for parametrisation, found in summary["slopes_of_change"].items():
            text = ", ".join(f"{where} {slope:+.2f}" for where, slope in found.items())
            facts.append(
                f"Slope of the change against width, {parametrisation} (0 is flat, 1 doubles with the width): {text}."
            )
        facts.append(
            "Under muP the logits may shrink: what a random readout adds to them fades as 1/sqrt(width), by design."
        )
        best = summary["best_learning_rate"]
        base = best[f"both {self.sweep_widths[0]}"]["rate"]
        for name, found in best.items():
            moved = math.log2(found["rate"] / base)
            seeds = ", ".join(f"{rate:.3g}" for rate in found["per_seed"])
            facts.append(
                f"{name}: best rate {found['rate']:.3g} ({moved:+.0f} doublings from the base width; seeds: {seeds}), "
                f"{found['loss_nats']:.4f} nats."
            )
        facts.append(
            f"Rates are a factor of 2 apart, {self.seeds} seeds, {self.steps} steps: a best rate is known to about one doubling."
        )
        return facts
