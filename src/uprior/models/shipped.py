"""The trained models that come with the package: one folder each in ``uprior/checkpoints``, named by the folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uprior.errors import CheckpointError

FOLDER = Path(__file__).parent.parent / "checkpoints"


def shipped(folder: Path | None = None) -> dict[str, Path]:
    """name -> checkpoint folder of every model that is shipped, sorted by name; ``folder`` is where to look (the package's own).

    What is unfinished (its name begins with a dot) or holds no configuration is passed over.
    """
    found = (FOLDER if folder is None else folder).glob("[!._]*/config.json")
    return {path.parent.name: path.parent for path in sorted(found)}


@dataclass(frozen=True)
class Spent:
    """What a model that ``uprior ship`` wrote took: tokens, FLOPs (its data's writing included); and its weights' SHA-256."""

    tokens: int
    flops: float
    sha256: str


def spent_on(folder: Path) -> Spent:
    """What a folder's recipe says of its making. Raises CheckpointError where there is none."""
    recipe: dict[str, Any] = {}
    try:
        recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
        compute, sha256 = recipe["compute"], recipe["sha256"]["model.safetensors"]
        flops = compute["training_flops"] + (compute["generation_flops"] or 0)
        return Spent(int(compute["tokens"]), float(flops), str(sha256))
    except (OSError, ValueError, KeyError) as error:
        lacks = f"has no recipe that says what it took ({error})"
        if "built" in recipe:
            lacks = "is untrained, as uprior build wrote it"
        raise CheckpointError(
            f"{folder} {lacks}; give a shipped model, as in universal, or a folder that uprior ship wrote"
        ) from error
