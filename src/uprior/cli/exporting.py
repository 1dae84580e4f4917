"""``uprior export``: a source's rows as files, for other trainers."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uprior.terminal import print_json

if TYPE_CHECKING:
    from uprior.progress import Reporter


def add_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The command's options; ``count`` reads numbers such as 64M."""
    sub.add_argument("source", help="name, name@preset, name:field=value,..., module:Class, or a .json file")
    sub.add_argument("--tokens", type=count, required=True, help="how many, as in 20M or 1B; rounded up to whole rows")
    sub.add_argument("--format", default="bin", help="bin, megatron, nanogpt or parquet (bin)")
    sub.add_argument("--out", type=Path, required=True, help="folder to write to; again: only what is missing is made")
    sub.add_argument("--context", type=count, default=256, help="tokens per row (256)")
    sub.add_argument("--seed", type=int, default=0, help="seed (0)")
    sub.add_argument("--split", default="train", help="train, validation or test (train)")
    sub.add_argument("--vocab", type=count, default=256, help="ids in the model's vocabulary (256: bytes)")
    sub.add_argument(
        "--vocab-map", default="identity", help="symbols to ids: identity, fixed, per_row, zipf (identity)"
    )
    sub.add_argument("--shard-tokens", type=count, help="tokens per shard (64M; nanogpt: all in one file)")
    sub.add_argument(
        "--shard", metavar="i/n", help="make only shards i, i + n, ... (as SLURM or torchrun say; else all)"
    )
    sub.add_argument("--workers", type=count, default=1, help="shards written at once, by threads (1)")
    sub.add_argument("--ray", action="store_true", help="shards as tasks on a Ray cluster (extra ray)")
    sub.add_argument("--quiet", action="store_true", help="no progress")


def export(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import sources
    from uprior.data.export import export
    from uprior.data.partition import parse_part, part_of_environment
    from uprior.data.stream import Stream
    from uprior.data.vocabulary import Vocabulary

    if arguments.shard is not None:
        index, count, told = *parse_part(arguments.shard), ""
    else:
        index, count, told = part_of_environment(os.environ)
    if told:
        sys.stderr.write(f"{told}: this process makes shards {index}, {index + count}, ... ({index}/{count})\n")
    stream = Stream(
        sources.get(arguments.source), seed=arguments.seed, batch_size=256, length=arguments.context, split=arguments.split,
        vocab=Vocabulary(size=arguments.vocab, mapping=arguments.vocab_map),
    )  # fmt: skip
    result = export(
        stream, arguments.out, tokens=arguments.tokens, format=arguments.format, shard_tokens=arguments.shard_tokens,
        part=(index, count), workers=arguments.workers, ray=arguments.ray, say=_say,
        progress=None if arguments.quiet else _progress,
    )  # fmt: skip
    if arguments.json:
        print_json([result.to_dict()])
        return 0
    there = "complete" if result.missing == 0 else f"{result.missing} shards still to be made by other processes"
    print(f"{result.out}: {result.rows:,} rows, {result.tokens:,} tokens, {result.shards} shards "
          f"({result.made} made, {result.kept} kept); {there}")  # fmt: skip
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _progress(tokens: int) -> Reporter:
    from uprior.progress import Reporter

    return Reporter("export", tokens)
