"""Results on stdout: JSON lines for programs; for people plain tables, which read the same in a terminal and a log."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uprior.files import read_lines


def print_json(records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        print(json.dumps(_plain_floats(record), ensure_ascii=False), flush=True)


def _plain_floats(value: Any) -> Any:
    """NaN (an interval that one seed cannot give) is null in JSON."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: _plain_floats(v) for key, v in value.items()}
    return [_plain_floats(v) for v in value] if isinstance(value, list | tuple) else value


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = True) -> None:
    """Columns as wide as their widest cell; all but the first are right-aligned unless they hold text."""
    table = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [
            c.ljust(w) if i == 0 or not right else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def print_records(run: Path) -> None:
    """What the runs below a folder came to: zero-shot bits at start, middle and end beside baselines, then comparisons."""
    for log in sorted(run.glob("*/log.jsonl")):
        evaluated = [line for line in read_lines(log) if line["event"] == "eval"]
        steps = sorted({line["step"] for line in evaluated})
        chosen = [steps[0], steps[len(steps) // 2], steps[-1]] if steps else []
        lines = [(f"model, step {line['step']}", line) for line in evaluated if line["step"] in chosen]
        lines += [(line["predictor"], line) for line in read_lines(log.parent / "baselines.jsonl")]
        files = list(dict.fromkeys(line["file"] for _, line in lines))
        names = list(dict.fromkeys(name for name, _ in lines))
        bits = {(name, line["file"]): f"{line['bits_mean']:.2f} ± {line['se_mean']:.2f}" for name, line in lines}
        print(f"\n{log.parent}: zero-shot bits per byte on data never trained on, mean over windows of "
              f"{evaluated[0]['context']} bytes ± s.e.")  # fmt: skip
        print_table(["", *files], [[name, *(bits.get((name, file), "") for file in files)] for name in names])
    for records in sorted(run.glob("*/compare.jsonl")):
        print()
        print_comparison(read_lines(records)[-1])


def print_comparison(summary: dict[str, Any]) -> None:
    """The closing record of a comparison, for people."""
    bits, rates = summary["final_bits"], summary["learning_rates"]
    more = " (matched: more)" if "matched" in bits else ""
    print(f"bits per byte on held-out real data after {summary['real_tokens']:,} real tokens{more}, "
          f"mean of {summary['seeds']} seeds")  # fmt: skip
    tried = summary["learning_rates_tried"]
    ends = {min(tried), max(tried)} if len(tried) > 2 else set()  # of two rates, both are ends
    notes = {name: "  (an end of the rates tried)" if rate in ends else "" for name, rate in rates.items()}
    rows = [[name, f"{b:.3f}", f"{rates[name]:g}{notes[name]}"] for name, b in bits.items()]
    print_table(["arm", "bits", "learning rate"], rows, right=False)
    print()
    rows = [
        [f"{p['arm']} - {p['baseline']}", f"{p['difference_bits']:+.3f}", f"{p['low']:+.3f} to {p['high']:+.3f}",
         " ".join(f"{d:+.3f}" for d in p["per_seed"])]
        for p in summary["pairs"]
    ]  # fmt: skip
    print_table(["difference, bits", "mean", "95 % over seeds", "each seed"], rows)
    print()
    for saving in summary["savings"]:
        each = " ".join(f"{100 * s:.0f} %" for s in saving["per_seed"])
        print(f"data saving, warmed against {saving['baseline']}: {100 * saving['value']:.0f} % "
              f"(95 % bootstrap {100 * saving['low']:.0f} to {100 * saving['high']:.0f} %; each seed {each})")  # fmt: skip
    took, times = summary["warmup_tokens"], summary["warmup_tokens"] / summary["real_tokens"]
    told = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
    print(f"negative: the warm-up cost real tokens. It took {took:,} tokens, {told} times the real ones")


def plot_lines(
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, width: int, rows: int, x_end: float
) -> list[str]:
    """Curves (mark, x, y), x increasing, as lines of text over log x from 1 to ``x_end``; where they meet, the last is seen.

    ``rows`` lines from the whole number above the largest y down to the one below the smallest, then the axis and its numbers.
    """
    values = [value for _, _, ys in curves for value in ys]
    low, high = math.floor(min(values)), max(math.ceil(max(values)), math.floor(min(values)) + 1)
    margin, columns = len(str(high)) + 2, width - len(str(high)) - 2
    grid = [[" "] * columns for _ in range(rows)]
    end = math.log(max(2.0, x_end))
    for mark, xs, ys in curves:
        logs = [math.log(max(1.0, x)) for x in xs]
        first, last = (round((columns - 1) * at / end) for at in (logs[0], logs[-1]))
        for column in range(first, last + 1):
            value = _between(logs, ys, end * column / (columns - 1))
            grid[round((rows - 1) * (high - value) / (high - low))][column] = mark
    numbers = {0: str(high), rows - 1: str(low)}
    lines = [f"{numbers.get(row, ''):>{margin - 2}} |{''.join(grid[row])}".rstrip() for row in range(rows)]
    ticks = [" "] * width
    for power in range(int(math.log2(max(2.0, x_end))) + 1):
        label, column = str(1 << power), margin + round((columns - 1) * math.log(1 << power) / end)
        column = min(column, width - len(label))
        if "".join(ticks[column - 1 : column + len(label)]).isspace():
            ticks[column : column + len(label)] = label
    return [*lines, " " * (margin - 1) + "+" + "-" * columns, "".join(ticks).rstrip()]


def _between(xs: Sequence[float], ys: Sequence[float], at: float) -> float:
    """The value at a point of the line through the points; outside, that of the nearest."""
    right = next((n for n, x in enumerate(xs) if x >= at), len(xs) - 1)
    left = max(0, right - 1)
    span = xs[right] - xs[left]
    share = min(1.0, max(0.0, (at - xs[left]) / span)) if span else 1.0
    return ys[left] + (ys[right] - ys[left]) * share
