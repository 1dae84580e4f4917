"""``uprior pairs``: how often a model finds the grammatical one of two sentences likelier (BLiMP)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from uprior.terminal import print_json, print_table


def add_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The command's options; ``count`` reads numbers such as 1k."""
    sub.add_argument("model", help="run directory, checkpoint folder, or shipped model (universal); it reads bytes")
    sub.add_argument("pairs", type=Path, metavar="FILE", help="JSON lines of sentence_good, sentence_bad, UID; .gz too")
    sub.add_argument("--limit", type=count, default=0, help="only the first so many pairs of each UID (0: all)")


def pairs(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.evals.blimp import minimal_pairs, read_pairs
    from uprior.models.folder import find_model, load_model

    find_model(arguments.model)
    number = len(read_pairs(arguments.pairs, arguments.limit))  # a bad file is told before torch is imported
    from uprior.train.threads import settle

    settle(arguments.threads)
    if not arguments.quiet:
        sys.stderr.write(f"pairs: {number:,}; a small model reads some hundreds a second\n")
    records = minimal_pairs(load_model(arguments.model), arguments.pairs, limit=arguments.limit)
    if arguments.json:
        print_json(records)
        return 0
    rows = [
        [r["level"], r["name"], f"{100 * r['accuracy']:.1f} ± {100 * r['se_accuracy']:.1f}", f"{r['pairs']:,}"]
        for r in records
    ]
    print_table(["", "", "accuracy, % ± s.e. (chance 50)", "pairs"], rows, right=False)
    return 0
