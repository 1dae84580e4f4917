"""How fast sources are: median tokens per second of whole blocks, in this process, on one thread."""

from __future__ import annotations

import statistics
import time
from typing import Any

from uprior.sources import Source


def bench_source(source: Source, *, rows: int = 256, length: int = 256, seconds: float = 1.0) -> dict[str, Any]:
    """Times blocks for about ``seconds`` (at least three) after a first one that compiles kernels.

    Returns {name, preset, rows, length, tokens_per_second, milliseconds_per_block, first_block_seconds, blocks}.
    """
    started = time.perf_counter()
    source.block(0, 0, rows=rows, length=length)
    first = time.perf_counter() - started
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        source.block(0, len(times) + 1, rows=rows, length=length)
        times.append(time.perf_counter() - started)
    median = statistics.median(times)
    return {
        "name": source.name,
        "preset": next((name for name in source.presets if source.preset(name) == source), None),
        "rows": rows,
        "length": length,
        "tokens_per_second": round(rows * length / median),
        "milliseconds_per_block": round(median * 1e3, 3),
        "first_block_seconds": round(first, 3),
        "blocks": len(times),
    }
