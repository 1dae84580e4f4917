"""A file in the IDX format (MNIST's) as a corpus: the bytes of its array, without the header."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes
from uprior.corpora.file import OneFile, read_bytes
from uprior.errors import CorpusError

UNSIGNED_BYTES = 0x08


@dataclass(frozen=True)
class Idx(OneFile):
    """The array of an IDX file of unsigned bytes, such as the images of MNIST: pixel after pixel, row after row.

    Write ``idx:PATH``. The header is two zero bytes, the type of the numbers, how many dimensions, and each dimension as a
    big-endian 32-bit number; it is checked and left out. Windows start anywhere, not only where an image starts. A name that ends
    in .gz is read through. Raises CorpusError for another format, other numbers than unsigned bytes, and a wrong length.
    """

    name: ClassVar[str] = "idx"

    def _read(self) -> Bytes:
        data = read_bytes(self.path)
        head = data[:4].tolist()
        if len(head) < 4 or head[:2] != [0, 0] or head[3] == 0 or data.size < 4 + 4 * head[3]:
            raise CorpusError(f"'{self.path}' is not in the IDX format; give file:{self.path} to take it as it is")
        if head[2] != UNSIGNED_BYTES:
            raise CorpusError(f"'{self.path}' holds numbers of type 0x{head[2]:02x}; allowed: 0x08, unsigned bytes")
        start = 4 + 4 * head[3]
        sizes = np.frombuffer(data[4:start].tobytes(), dtype=">u4").tolist()
        if data.size - start != math.prod(sizes):
            given = " x ".join(map(str, sizes))
            raise CorpusError(f"'{self.path}' has {data.size - start:,} bytes for an array of {given}; it is cut short")
        return data[start:]
