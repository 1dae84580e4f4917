"""``uprior build``: an untrained model as a folder, for every command that takes a trained one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from uprior.errors import RunDirectoryError


def add_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The command's options; ``count`` reads numbers such as 4k."""
    sub.add_argument("model", help="preset, as in llama-6m-counting, or a size, as in 128x4")
    sub.add_argument("--out", type=Path, required=True, help="folder to write: safetensors, configuration, tokenizer")
    sub.add_argument("--context", type=count, default=4096, help="tokens it reads at most (4,096)")
    sub.add_argument("--vocab", type=count, default=256, help="ids in its vocabulary (256: bytes)")
    sub.add_argument("--seed", type=int, default=0, help="seed of its weights (0)")


def build(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    out = arguments.out
    if out.is_file() or (out.exists() and any(out.iterdir())):  # never a trained model's place
        raise RunDirectoryError(f"{out} is there already; give --out a folder that is new or empty")
    from uprior.files import new_folder, write_json
    from uprior.models import build
    from uprior.models.first_weights import first_weights_of
    from uprior.models.folder import write_model

    made = {name: getattr(arguments, name) for name in ("model", "vocab", "context", "seed")}
    model = build(arguments.model, vocab=arguments.vocab, context=arguments.context, seed=arguments.seed)
    start = first_weights_of(model.config)
    weights = f"weights that {start.do}" if start else "random weights"
    with new_folder(out) as folder:
        write_model(model, folder)
        write_json(folder / "recipe.json", {"built": made | {"weights": weights}})
    print(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters, {weights}, untrained")
    return 0
