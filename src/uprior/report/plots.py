"""Which curves a run's records make, and what is said below them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from uprior.report import words
from uprior.report.figures import Curve, Figure, draw
from uprior.report.records import Run, number, numbers

# A predictor and an arm have the same colour and dash in every figure. Dash 0, the solid line, is the model's and the arms'.
_BASELINES = {
    "uniform": (2, 2), "markov": (3, 1), "markov-mix": (3, 4), "ctw": (3, 6), "deflate": (4, 3), "brotli": (4, 5), "bz2": (5, 4),
    "lzma": (6, 5), "ppmd": (7, 6),
}  # fmt: skip
_ARMS = {"warmed": 0, "scratch": 1, "noise": 2, "matched": 3}
_BIT_LABEL = "bits per byte"


def pretrain_figures(run: Run, prefix: str) -> list[Figure]:
    """Per file: bits over training and over context; then the training loss."""
    drawn: list[Figure | None] = []
    for n, file in enumerate(words.files_of(run)):
        drawn.append(_over_training(run, file, f"{prefix}t{n}"))
        drawn.append(_over_context(run, file, f"{prefix}c{n}"))
    drawn.append(_training_loss(run, f"{prefix}l"))
    return [figure for figure in drawn if figure is not None]


def _over_training(run: Run, file: str, name: str) -> Figure | None:
    evals = [r for r in run.evals if str(r.get("file")) == file]
    baselines = [r for r in run.baselines if str(r.get("file")) == file]
    scale, unit = _unit([number(r.get("tokens")) for r in evals])
    y, error = ([number(r.get(key)) for r in evals] for key in ("bits_mean", "se_mean"))
    low, high = ([b + 2 * sign * e for b, e in zip(y, error, strict=True)] for sign in (-1, 1))
    x = [number(r.get("tokens")) / scale for r in evals]
    curves = [Curve("the model", x, y, low, high, value=_last(y))]
    levels = {str(r.get("predictor")): number(r.get("bits_mean")) for r in baselines}
    limits = _limits([*low, *high, *y], list(levels.values()), levels.get("uniform", 8.0))
    for predictor, level in sorted(levels.items(), key=lambda item: item[1]):
        colour, dash = _style(predictor)
        beyond = " (above the figure)" if limits and level > limits[1] else ""
        if math.isfinite(level):
            curves.append(Curve(predictor, [x[0]], [level], colour=colour, dash=dash, value=f"{level:.2f}{beyond}"))
    return draw(
        name,
        f"{file}, never trained on",
        curves,
        x_label=f"{unit}tokens of random computation",
        y_label=f"{_BIT_LABEL}, mean over windows",
        y_limits=limits,
        caption="Lower is better. Band: two standard errors either side. Dashed: predictors that see the same windows and learn "
        "nothing between them.",
    )


def _limits(curve: list[float], levels: list[float], chance: float) -> tuple[float, float] | None:
    """Room for the curve and for every baseline that beats chance; worse ones are told in the legend."""
    shown = [v for v in [*curve, *(level for level in levels if level <= chance + 0.05)] if math.isfinite(v)]
    if not shown:
        return None
    room = 0.06 * (max(shown) - min(shown)) or 0.1
    return max(0.0, min(shown) - room), max(shown) + room


def _over_context(run: Run, file: str, name: str) -> Figure | None:
    evals = [r for r in run.evals if str(r.get("file")) == file and r.get("curve_positions")]
    if not evals:
        return None
    records = [("the model, at the end", evals[-1], (0, 0))]
    if len(evals) > 1:
        records.append(("the model, at the start", evals[0], (1, 0)))
    baselines = [r for r in run.baselines if str(r.get("file")) == file and r.get("curve_positions")]
    records += [(str(r.get("predictor")), r, _style(str(r.get("predictor")))) for r in baselines]
    curves, positions = [], []
    for label, record, (colour, dash) in records:
        x, y, low, high = (numbers(record.get(f"curve_{key}")) for key in ("positions", "bits", "low", "high"))
        if len(x) != len(y):
            continue
        band = (low, high) if colour == 0 else ([], [])
        curves.append(Curve(label, x, y, band[0], band[1], colour=colour, dash=dash, value=_last(y)))
        positions += x
    finite = [p for p in positions if math.isfinite(p)]
    top = max((v for curve in curves[:2] for v in curve.y if math.isfinite(v)), default=8.0)
    bottom = min((v for curve in curves for v in curve.y if math.isfinite(v)), default=0.0)
    return draw(
        name,
        f"{file}, over context",
        curves,
        x_label="bytes of context",
        y_label=_BIT_LABEL,
        log_x=bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= 16,
        y_limits=(max(0.0, bottom - 0.3), max(top, 8.0) + 0.5),
        caption="A curve that falls from left to right learns while it reads. Band: 95 % interval. Numbers: the last point. "
        "What starts above the figure pays for headers or first guesses.",
    )


def _training_loss(run: Run, name: str) -> Figure | None:
    scale, unit = _unit([number(r.get("tokens")) for r in run.train])
    x = [number(r.get("tokens")) / scale for r in run.train]
    loss, above = ([number(r.get(key)) for r in run.train] for key in ("loss_nats", "above_floor_nats"))
    curves = [
        Curve("loss", x, loss, value=_last(loss)),
        Curve("above the floor", x, above, colour=1, value=_last(above)),
    ]
    return draw(
        name,
        "Training loss",
        curves,
        x_label=f"{unit}tokens of random computation",
        y_label="nats per token",
        caption="On what the source writes. The floor is known for some sources only; their rows make the second curve.",
    )


# ------------------------------------------------------------------ comparisons


def compare_figures(run: Run, prefix: str) -> list[Figure]:
    """Bits over real tokens, over total compute, and the differences to scratch."""
    # "matched" is scratch gone on with: the same curve up to scratch's end, so it is drawn first, below it.
    arms = sorted(dict.fromkeys(str(line.get("arm")) for line in run.lines), key=lambda arm: arm != "matched")
    data = str(run.config.get("corpus") or run.config.get("data") or "real data")
    seeds = len({line.get("seed") for line in run.lines})
    band = f"Band: lowest to highest of {seeds} seeds; thin lines: the seeds; thick: their mean."
    over_compute = _curves_over(
        run, arms, "total_flops", f"{prefix}f", f"{data}, over total compute", "operations",
        "The warm-up's compute is charged, so warmed arms begin further right. " + band,
    )  # fmt: skip
    figures = [
        _curves_over(run, arms, "tokens", f"{prefix}x", f"{data}, over real tokens", "real tokens", band),
        over_compute if "matched" in arms else None,  # a shipped model's would begin far beyond the others' ends
        _differences(run, arms, f"{prefix}d", band),
    ]
    return [figure for figure in figures if figure is not None]


def _curves_over(
    run: Run, arms: Sequence[str], key: str, name: str, title: str, x_name: str, caption: str
) -> Figure | None:
    scale, unit = _unit([number(line.get(key)) for line in run.lines])
    curves: list[Curve] = []
    for arm in arms:
        by_seed = _by_seed(run, arm, lambda line: number(line.get(key)) / scale)
        curves += _family(arm, by_seed, _arm_colour(arm, arms))
    return draw(
        name, title, curves, x_label=f"{unit}{x_name}", y_label=_BIT_LABEL, caption="Lower is better. " + caption
    )


def _differences(run: Run, arms: Sequence[str], name: str, caption: str) -> Figure | None:
    """Every arm minus scratch, seed by seed, at the real tokens that both were evaluated at."""
    if "scratch" not in arms:
        return None
    scale, unit = _unit([number(line.get("tokens")) for line in run.lines])
    scratch = _by_seed(run, "scratch", lambda line: number(line.get("tokens")) / scale)
    curves: list[Curve] = []
    for arm in arms:
        if arm == "scratch":
            continue
        own = _by_seed(run, arm, lambda line: number(line.get("tokens")) / scale)
        paired = {
            seed: {x: y - scratch[seed][x] for x, y in points.items() if x in scratch[seed]}
            for seed, points in own.items()
            if seed in scratch
        }
        curves += _family(arm, paired, _arm_colour(arm, arms), sign="+")
    return draw(
        name,
        "Difference to scratch",
        curves,
        x_label=f"{unit}real tokens",
        y_label=f"{_BIT_LABEL}, arm minus scratch",
        zero_line=True,
        caption="Below the zero line the arm is ahead of scratch with the same real data; where a curve crosses it, the lead "
        "changes. " + caption,
    )


def _by_seed(run: Run, arm: str, x_of: Callable[[dict[str, Any]], float]) -> dict[Any, dict[float, float]]:
    """seed -> {x: bits} of an arm."""
    found: dict[Any, dict[float, float]] = {}
    for line in run.lines:
        x, y = x_of(line), number(line.get("bits_mean"))
        if str(line.get("arm")) == arm and math.isfinite(x) and math.isfinite(y):
            found.setdefault(line.get("seed"), {})[x] = y
    return {seed: dict(sorted(points.items())) for seed, points in found.items()}


def _family(arm: str, by_seed: dict[Any, dict[float, float]], colour: int, sign: str = "") -> list[Curve]:
    """Thin lines per seed, and their mean with the band between the lowest and highest seed where all seeds have a value."""
    if not by_seed:
        return []
    shared = sorted(set.intersection(*(set(points) for points in by_seed.values())))
    values = np.array([[points[x] for x in shared] for points in by_seed.values()])
    seeds = [Curve(arm, list(p), list(p.values()), colour=colour, thin=True) for p in by_seed.values()]
    if not shared or len(by_seed) < 2:
        return [Curve(c.label, c.x, c.y, colour=colour, value=_last(c.y, sign)) for c in seeds]
    mean, low, high = (values.mean(0).tolist(), values.min(0).tolist(), values.max(0).tolist())
    return [*seeds, Curve(arm, shared, mean, low, high, colour=colour, value=_last(mean, sign))]


def _arm_colour(arm: str, arms: Sequence[str]) -> int:
    others = [name for name in arms if name not in _ARMS]
    return _ARMS[arm] if arm in _ARMS else len(_ARMS) + others.index(arm)


def _style(predictor: str) -> tuple[int, int]:
    """(colour, dash) of a baseline: its own, or one by its name."""
    if predictor in _BASELINES:
        return _BASELINES[predictor]
    return 2 + sum(predictor.encode()) % 6, 1 + sum(predictor.encode()) % 6


def _unit(values: Sequence[float]) -> tuple[float, str]:
    """(divisor, its name with a space) that makes the largest value easy to read."""
    largest = max((v for v in values if math.isfinite(v)), default=0.0)
    for size, word in (
        (1e15, "quadrillion "),
        (1e12, "trillion "),
        (1e9, "billion "),
        (1e6, "million "),
        (1e3, "thousand "),
    ):
        if largest >= size:
            return size, word
    return 1.0, ""


def _last(values: Sequence[float], sign: str = "") -> str:
    finite = [v for v in values if math.isfinite(v)]
    return f"{finite[-1]:{sign}.2f}".replace("-", "−") if finite else ""
