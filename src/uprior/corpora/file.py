"""A file as a corpus: text or anything else, plain or gzipped; its bytes as they are."""

from __future__ import annotations

import difflib
import gzip
import os
import stat
import zlib
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes, Corpus
from uprior.errors import CorpusError
from uprior.spec import parameter

# Plain files from this size on are mapped into memory instead of read, so that a window of a 100 GB file costs a window.
MAP_FROM_BYTES = 1 << 26


@dataclass(frozen=True)
class OneFile(Corpus):
    """What all corpora have in common that are read from one file."""

    takes_path: ClassVar[bool] = True
    path: str = parameter(text="the file; .gz is read through")

    @property
    def label(self) -> str:
        return Path(self.path).name or self.path


@dataclass(frozen=True)
class File(OneFile):
    """The bytes of one file; a name that ends in .gz is decompressed first.

    Write ``file:PATH``, or ``file:path=PATH,train_fraction=0.5``, or ``file:path=PATH,test_bytes=70000``, which makes the last so
    many bytes the test split; the two fractions then divide what is before them. ``~`` is the home folder. Nothing is decoded:
    UTF-8, Latin-1, audio and protein sequences are all just bytes. Plain files of 64 MiB and more are memory-mapped; a gzipped
    one is held in memory whole.
    """

    name: ClassVar[str] = "file"
    _: KW_ONLY
    test_bytes: int = parameter(0, "so many bytes at the end are for testing; 0: as the fractions say", low=0)

    @property
    def tested_bytes(self) -> int:
        return self.test_bytes

    def _read(self) -> Bytes:
        content = read_bytes(self.path)
        if self.test_bytes > content.size:
            raise CorpusError(f"{self.label} has {content.size:,} bytes; test_bytes = {self.test_bytes} does not fit")
        return content


def read_bytes(path: str) -> Bytes:
    """[n] uint8: the bytes of a file, decompressed if its name ends in .gz. Raises CorpusError in one line."""
    full = os.path.expanduser(path)
    try:
        mode = os.stat(full).st_mode
        if stat.S_ISDIR(mode):
            raise CorpusError(f"'{path}' is a folder, not a file; write folder:{path}")
        if not stat.S_ISREG(mode):  # a pipe or a device might never end
            raise CorpusError(f"'{path}' is not a regular file; copy its content to a file first")
        if full.endswith(".gz"):
            with gzip.open(full, "rb") as stream:
                return np.frombuffer(stream.read(), dtype=np.uint8)
        if os.path.getsize(full) >= MAP_FROM_BYTES:
            return np.memmap(full, dtype=np.uint8, mode="r")
        return np.fromfile(full, dtype=np.uint8)
    except CorpusError:  # those above: a CorpusError is a ValueError too
        raise
    except FileNotFoundError:
        raise missing_path(path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(
            f"'{path}' is not a whole gzip file ({error}); unpack it, or take .gz from its name"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"cannot read '{path}' ({reason}); give a file that you may read") from error


def missing_path(path: str) -> CorpusError:
    """The error for a path that does not exist, with the nearest name in its folder."""
    full = Path(os.path.expanduser(path))
    try:
        names = os.listdir(full.parent)
    except (OSError, ValueError):
        names = []
    near = difflib.get_close_matches(full.name, names, n=1, cutoff=0.6)
    advice = f"did you mean '{Path(path).with_name(near[0])}'?" if near else "give a path that exists"
    return CorpusError(f"there is no file or folder '{path}'; {advice}")
