"""Does training wait for its data? Every source, trained on with the real loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from uprior.data.stream import Stream
from uprior.files import read_lines
from uprior.models.sizes import build
from uprior.sources import Source
from uprior.train import Training, fit

# The bar: at most this share of the time of steps may be spent waiting for data.
BAR = 0.03


def bench_wait(
    source: Source,
    *,
    model: str = "llama-1m",
    batch_size: int = 8,
    length: int = 256,
    steps: int = 64,
    precision: str = "auto",
) -> dict[str, Any]:
    """Trains ``model`` for ``steps`` steps; the source's kernels are compiled before.

    data_wait_share           of the time of the steps after the first, how much was spent waiting for a batch
    longest_wait_s            the longest of those waits
    first_wait_s              what the first step waited: the first block is written while the run is set up
    tokens_per_second         of training, by the median step
    generation_ns_per_token   processor time of one thread that writes batches, all included
    feeds_tokens_per_second   the speed of training that one thread feeds on a processor of its own; n threads feed n times that
    share_of_a_core           how much of such a thread this training needs
    """
    length = max(length, source.shortest_row)
    vocab = max(256, source.alphabet_size)
    source.block(0, 0, rows=256, length=length, split="validation")  # compiled now, every part of a mixture
    stream = Stream(source, batch_size=batch_size, length=length, vocab=vocab)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = Training(steps=steps, checkpoint_every=steps, precision=precision)
        fit(build(model, vocab=vocab, context=length), stream, settings, run, show=False)
        timing = read_lines(run / "timing.jsonl")
    waits, seconds = ([line[key] for line in timing[1:]] for key in ("data_wait", "seconds"))
    per_second = stream.tokens_per_step / statistics.median(seconds)
    cost = generation_seconds(stream)
    return {
        "model": model,
        "batch_size": batch_size,
        "length": length,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "data_wait_share": round(sum(waits) / sum(seconds), 4),
        "longest_wait_s": round(max(waits), 4),
        "first_wait_s": round(timing[0]["data_wait"], 3),
        "tokens_per_second": round(per_second),
        "generation_ns_per_token": round(cost * 1e9),
        "feeds_tokens_per_second": round(1 / cost),
        "share_of_a_core": round(per_second * cost, 4),
    }


def generation_seconds(stream: Stream, blocks: int = 3) -> float:
    """Processor seconds per token of writing batches, the median of ``blocks`` stretches that are each new blocks."""
    steps = max(1, -(-stream.block_rows // stream.batch_size))
    taken = []
    for part in range(1, blocks + 1):
        fresh = Stream.from_description(stream.describe())
        started = time.thread_time()
        for step in range(part * steps, (part + 1) * steps):
            fresh.batch(step)
        taken.append((time.thread_time() - started) / (steps * stream.tokens_per_step))
    return statistics.median(taken)


COLUMNS = ("wait %", "first wait s", "training tokens/s", "fed by a thread", "of a core")


def cells(record: dict[str, Any]) -> list[str]:
    """A record of ``bench_wait`` as the cells of a table, in the order of COLUMNS."""
    return [
        f"{100 * record['data_wait_share']:.1f}",
        f"{record['first_wait_s']:.2f}",
        f"{record['tokens_per_second']:,}",
        f"{record['feeds_tokens_per_second']:,}",
        f"{100 * record['share_of_a_core']:.1f} %",
    ]
