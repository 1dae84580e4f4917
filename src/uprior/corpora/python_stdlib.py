"""The running interpreter's own library source: real code, on every machine, nothing downloaded."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes, Corpus
from uprior.errors import CorpusError
from uprior.spec import parameter

# Left out wherever they occur in a path: what is not the library (installed packages), tests, and tables that a program
# wrote (code pages in `encodings`, the help texts in `pydoc_data`). Applications go too, since distributions leave them out
# or package them apart, and `distutils` and `lib2to3`, which later versions dropped.
NOT_LIBRARY = {"site-packages", "dist-packages", "_vendor", "__pycache__", "__phello__", "test", "tests", "idle_test"}
TABLES_AND_APPLICATIONS = {
    "encodings",
    "pydoc_data",
    "idlelib",
    "turtledemo",
    "tkinter",
    "ensurepip",
    "lib2to3",
    "distutils",
}
SKIPPED_FOLDERS = NOT_LIBRARY | TABLES_AND_APPLICATIONS


@dataclass(frozen=True)
class PythonStdlib(Corpus):
    """The source of the Python standard library of the interpreter that runs.

    Every .py file of the library's folder in the order of their paths, each after a line ``# ==== path``, up to ``max_bytes``;
    about 7 MB with CPython 3.11. It is a real corpus of code written by people, but another one with each version of
    Python: ``sha256`` tells them apart. Raises CorpusError where an interpreter comes without its source.
    """

    name: ClassVar[str] = "python_stdlib"
    max_bytes: int = parameter(8_000_000, "stop after this many bytes", low=1)

    def _read(self) -> Bytes:
        root = Path(sysconfig.get_path("stdlib"))
        parts, held = [], 0
        for path in _files(root):
            parts.append(b"# ==== " + path.relative_to(root).as_posix().encode() + b"\n" + path.read_bytes())
            held += len(parts[-1])
            if held >= self.max_bytes:
                break
        if not parts:
            raise CorpusError("this Python comes without its library's source; give file:PATH instead of python_stdlib")
        return np.frombuffer(b"".join(parts)[: self.max_bytes], dtype=np.uint8)


def _files(root: Path) -> list[Path]:
    """The library's own .py files, sorted; never walks into installed packages, which may be a hundred times larger."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        # The build's settings, with the paths of whoever built it, are not library either.
        found += [
            Path(folder, name) for name in files if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    return sorted(found, key=lambda p: p.relative_to(root).as_posix().encode())
