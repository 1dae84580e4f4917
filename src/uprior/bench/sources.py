"""How fast sources are, beside their plain Python references, and what they need in time and memory to start."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from uprior.sources import Source, entries, find
from uprior.sources._base import Draw

REFERENCES = Path("tests") / "references"

# What a fresh process runs: imports first, so that only this source's own kernels are timed.
_FIRST_CALL = """
import json, sys, time
from uprior import sources
import numba, uprior.sources._exact
source = sources.get(sys.argv[1])
started = time.perf_counter()
source.block(0, 0, rows=2, length=max(64, source.shortest_row))
print(json.dumps(time.perf_counter() - started))
"""


def texts_of(names: list[str] | None = None) -> list[str]:
    """What to bench, as texts that ``sources.get`` reads: the named sources (None: all), each followed by its presets."""
    texts = []
    for name in names or list(entries()):
        texts.append(name)
        if name in entries():
            texts += [f"{name}@{preset}" for preset in find(name).presets]
    return texts


def bench_source(
    source: Source,
    *,
    rows: int = 256,
    length: int = 256,
    seconds: float = 1.0,
    threads: int = 1,
    references: Path | None = None,
) -> dict[str, Any]:
    """Times blocks for about ``seconds`` (at least three), after a first one, on ``threads`` threads.

    tokens_per_second         by the median time of a block; with several threads by the time of all their blocks
    tokens_per_cpu_second     the same per second of processor time: what a busy neighbour cannot change (one thread only)
    scored_tokens_per_second  of tokens that count in the loss
    steps_per_second          steps of the machines, where the source counts them
    first_call_s              the first block in this process, compiled or loaded from the cache
    peak_mb                   most memory that arrays took while a block was written, 10^6 bytes
    reference_ratio           this source's speed over its plain Python reference's, timed by turns in the same run;
                              ``references`` is the folder of references, None or a missing file gives None
    """
    length = max(length, source.shortest_row)
    started = time.perf_counter()
    block = source.block(0, 0, rows=rows, length=length)
    first = time.perf_counter() - started
    steps = int(block.info["steps"].sum()) if "steps" in block.info else None
    share = 1.0 if block.scored is None else float(block.scored.mean())
    slow = _reference(source, references)
    wall, processor, reference = _times(source, rows, length, seconds, slow)
    per_second = rows * length / statistics.median(wall)
    if threads > 1:
        per_second = _threaded(source, rows, length, seconds, threads)
    record = {
        "rows": rows,
        "length": length,
        "tokens_per_second": round(per_second),
        "tokens_per_cpu_second": round(rows * length / statistics.median(processor)),
        "scored_tokens_per_second": round(per_second * share),
        "steps_per_second": None if steps is None else round(per_second * steps / (rows * length)),
        "threads": threads,
        "first_call_s": round(first, 3),
        "peak_mb": round(_peak_bytes(source, rows, length) / 1e6, 2),
        "blocks": len(wall),
        "reference_ratio": None,
    }
    if reference:
        record["reference_ratio"] = round(statistics.median(reference) / statistics.median(processor) * rows, 1)
    return record


def _times(
    source: Source, rows: int, length: int, seconds: float, slow: Callable[..., Any] | None
) -> tuple[list[float], list[float], list[float]]:
    """Wall and processor seconds per block, and processor seconds per *row* of the reference, taken by turns."""
    wall: list[float] = []
    processor: list[float] = []
    reference: list[float] = []
    while len(wall) < 3 or sum(wall) < seconds:
        start, cpu = time.perf_counter(), time.thread_time()
        source.block(0, len(wall) + 1, rows=rows, length=length)
        wall.append(time.perf_counter() - start)
        processor.append(time.thread_time() - cpu)
        if slow is not None and len(reference) < 3:
            draw = Draw((source.fingerprint, 0, "train", len(wall)), "train", len(wall))
            few, cpu = min(rows, 8), time.thread_time()
            slow(source, draw, few, length)
            reference.append((time.thread_time() - cpu) / few)
    return wall, processor, reference


def _threaded(source: Source, rows: int, length: int, seconds: float, threads: int) -> float:
    """Tokens per second of several threads that write different blocks of one source, each for about ``seconds``."""

    def work(thread: int) -> int:
        end, written = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            source.block(0, thread + threads * written, rows=rows, length=length)
            written += 1
        return written

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        blocks = sum(pool.map(work, range(threads)))
    return blocks * rows * length / (time.perf_counter() - started)


def _reference(source: Source, folder: Path | None) -> Callable[..., Any] | None:
    if folder is None or not (folder / f"{source.name}.py").exists():
        return None
    parent = str(folder.resolve().parent)
    if parent not in sys.path:
        sys.path.insert(0, parent)
    module = importlib.import_module(f"{folder.name}.{source.name}")
    found: Callable[..., Any] = module.reference
    return found


def _peak_bytes(source: Source, rows: int, length: int) -> int:
    tracemalloc.start()
    try:
        source.block(0, 0, rows=rows, length=length)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def first_calls(source_text: str) -> dict[str, float]:
    """{compile_s, warm_start_s}: the first small block in a fresh process, without and with kernels in the cache."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", _FIRST_CALL, source_text],
                env=os.environ | {"NUMBA_CACHE_DIR": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            seconds.append(float(json.loads(done.stdout.splitlines()[-1])))
    return {"compile_s": round(seconds[0], 3), "warm_start_s": round(seconds[1], 3)}


# The reference's column is empty where no plain Python reference was found (``--references``).
COLUMNS = ("M tokens/s", "per CPU s", "scored", "x reference", "MB", "first call s")
FIRST_CALL_COLUMNS = ("compile s", "cached s")


def cells(record: dict[str, Any]) -> list[str]:
    """A record as the cells of a table: COLUMNS, and FIRST_CALL_COLUMNS where ``first_calls`` is part of it."""
    ratio = record["reference_ratio"]
    started = [f"{record[name]:.2f}" for name in ("compile_s", "warm_start_s") if name in record]
    return [
        f"{record['tokens_per_second'] / 1e6:.2f}",
        f"{record['tokens_per_cpu_second'] / 1e6:.2f}",
        f"{record['scored_tokens_per_second'] / 1e6:.2f}",
        "" if ratio is None else f"{ratio:.0f}",
        f"{record['peak_mb']:.1f}",
        f"{record['first_call_s']:.2f}",
        *started,
    ]
