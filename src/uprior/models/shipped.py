"""The trained models that come with the package: one folder each in ``uprior/checkpoints``, named by the folder."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "checkpoints"


def shipped(folder: Path | None = None) -> dict[str, Path]:
    """name -> checkpoint folder of every model that is shipped, sorted by name; ``folder`` is where to look (the package's own).

    What is unfinished (its name begins with a dot) or holds no configuration is passed over.
    """
    found = (FOLDER if folder is None else folder).glob("[!._]*/config.json")
    return {path.parent.name: path.parent for path in sorted(found)}
