"""A FASTA file as a corpus: protein or nucleotide sequences without their headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes
from uprior.corpora.file import OneFile, read_bytes
from uprior.errors import CorpusError


@dataclass(frozen=True)
class Fasta(OneFile):
    """The sequences of a FASTA file: their letters alone, one record a line.

    Write ``fasta:PATH``. Header lines (from ``>``) and comments (from ``;``) are left out and the lines of a record joined, so
    that line breaks every 60 letters, which are the format's and not the organism's, cannot be predicted. Letters stay as they
    are: lower case (soft-masked repeats), N and the other codes of nucleotides not known, gaps. A name that ends in .gz is
    read through. Raises CorpusError for a file that does not begin with a header.
    """

    name: ClassVar[str] = "fasta"

    def _read(self) -> Bytes:
        records: list[list[bytes]] = []
        for line in read_bytes(self.path).tobytes().splitlines():
            if line.startswith(b">"):
                records.append([])
            elif line.strip() and not line.startswith(b";"):
                if not records:
                    raise CorpusError(f"'{self.path}' does not begin with a header line '>...'; give file:{self.path}")
                records[-1].append(line.strip())
        text = b"".join(b"".join(record) + b"\n" for record in records if record)
        return np.frombuffer(text, dtype=np.uint8)
