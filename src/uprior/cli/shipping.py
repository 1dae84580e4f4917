"""``uprior ship``: a finished run as a folder to give away."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The command's options; ``count`` reads numbers such as 12M."""
    sub.add_argument("run", type=Path, help="the --out of a finished pretrain run on a source")
    sub.add_argument("--out", type=Path, required=True, help="folder to write; its name is the model's")
    sub.add_argument(
        "--scores", nargs="+", type=Path, default=[], metavar="JSONL", help="what uprior eval --json printed"
    )
    sub.add_argument("--command", help="what makes the run again (the command that the run recorded)")
    sub.add_argument("--machine", help="what it was trained on, in words, for the card")
    sub.add_argument("--most-bytes", type=count, default=12_000_000, help="size allowed, all of the folder (12M)")


def ship(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.shipping import CARD, ship

    out = ship(
        arguments.run, arguments.out, scores=arguments.scores, command=arguments.command, machine=arguments.machine,
        most_bytes=arguments.most_bytes,
    )  # fmt: skip
    print(f"{out}: {sum(file.stat().st_size for file in out.iterdir()):,} bytes; card: {out / CARD}")
    return 0
