"""A folder of files as one corpus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes, Corpus
from uprior.corpora.file import missing_path, read_bytes
from uprior.errors import CorpusError
from uprior.spec import parameter

# A file with a NUL byte among its first ones is taken as binary, as git and grep do.
LOOK_FOR_NUL_IN_BYTES = 8192


@dataclass(frozen=True)
class Folder(Corpus):
    """The files of a folder and its subfolders, joined in the order of their paths.

    Write ``folder:PATH``, or ``folder:path=PATH,glob=*.py``. A pattern without a slash matches file names at any depth.
    Left out: hidden files and folders (their name begins with a dot), empty files and, unless ``binary=true``, files with a
    NUL byte among their first 8192. A text file that does not end a line is followed by one newline, so that the last word of
    one file does not run into the first of the next; with ``binary=true`` nothing is added. Gzipped files are read through.
    Links to files are followed, links to folders are not. The order is that of the paths' bytes, on every machine the same.
    """

    name: ClassVar[str] = "folder"
    takes_path: ClassVar[bool] = True
    path: str = parameter(text="the folder")
    glob: str = parameter("*", "which files, as in *.txt")
    binary: bool = parameter(False, "take binary files too, and add nothing between files")
    max_bytes: int = parameter(1_000_000_000, "stop after this many bytes", low=1)

    def validate(self) -> None:
        super().validate()
        if not self.glob or Path(self.glob).is_absolute() or ".." in Path(self.glob).parts:
            self.reject("glob", "a pattern inside the folder, as in *.txt or notes/*.md")

    @property
    def label(self) -> str:
        return Path(os.path.abspath(os.path.expanduser(self.path))).name + "/"

    def _read(self) -> Bytes:
        parts, held = [], 0
        for content in self._contents():
            parts.append(content[: self.max_bytes - held])
            held += parts[-1].size
            if held >= self.max_bytes:
                break
        if not parts:
            kind = "files" if self.binary else "text files"
            raise CorpusError(
                f"'{self.path}' holds no {kind} that match '{self.glob}'; give another folder or glob=..."
            )
        return np.concatenate(parts)

    def _contents(self) -> Iterator[Bytes]:
        for path in self._files():
            content = read_bytes(str(path))
            if content.size and (self.binary or not (content[:LOOK_FOR_NUL_IN_BYTES] == 0).any()):
                yield content
                if not self.binary and content[-1] != ord("\n"):
                    yield np.frombuffer(b"\n", dtype=np.uint8)

    def _files(self) -> list[Path]:
        """The matching files that are not hidden, sorted."""
        root = Path(os.path.expanduser(self.path))
        if not os.path.exists(root):
            raise missing_path(self.path)
        if not root.is_dir():
            raise CorpusError(f"'{self.path}' is a file, not a folder; write file:{self.path}")
        try:
            os.listdir(root)  # rglob passes over what it may not read without a word
            found = [p for p in root.rglob(self.glob) if p.is_file()]
        except (OSError, ValueError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CorpusError(f"cannot list '{self.path}' ({reason}); give a folder that you may read") from error
        visible = [p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts)]
        return sorted(visible, key=lambda p: os.fsencode(p.relative_to(root).as_posix()))
