"""The files of one shard, in each format: what is written, and how rows are read back.

Numbers are little-endian. Rows follow each other without separators, so row r of a flat file starts at token r * T. The mask
of the ``scored`` positions, where any is not scored, is packed eight to a byte, lowest bit first, ceil(T / 8) bytes per row.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import MissingExtraError, SpecError, unknown_name
from uprior.types import SPLITS

Tokens = NDArray[np.int64]
Mask = NDArray[np.bool_]
Places = NDArray[np.integer[Any]]
Files = dict[str, dict[str, int | str]]
FORMATS = ("bin", "megatron", "nanogpt", "parquet")
MEGATRON_CODES = {"uint16": 8, "int32": 4}  # Megatron-LM's own numbering of data types
ROW_GROUP_TOKENS = 1 << 20  # Parquet is read by row group: large enough to compress, small enough to seek


def token_dtype(format: str, vocab: int) -> str:
    """Name of the integer type in which a format holds ids 0..vocab-1. Raises SpecError, or UnknownNameError for the format.

    >>> token_dtype("bin", 256), token_dtype("bin", 257), token_dtype("megatron", 256), token_dtype("bin", 65537)
    ('uint8', 'uint16', 'uint16', 'uint32')
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", "parquet")
    if format == "nanogpt" and vocab > 1 << 16:
        raise SpecError(
            f"a vocabulary of {vocab:,} does not fit nanoGPT's uint16, whose ids end at 65,535; "
            "give a smaller --vocab, or --format bin or megatron"
        )
    if format == "megatron":  # what its readers of every age know
        return "uint16" if vocab <= 1 << 16 else "int32"
    return "uint8" if vocab <= 1 << 8 and format != "nanogpt" else "uint16" if vocab <= 1 << 16 else "uint32"


def stem_of(format: str, split: str, shard: int, shards: int) -> str:
    """Name of a shard's files without suffix; nanoGPT looks for ``train`` and ``val``, undivided.

    >>> stem_of("bin", "train", 7, 10), stem_of("nanogpt", "validation", 0, 1), stem_of("nanogpt", "train", 0, 2)
    ('train-00007', 'val', 'train-00000')
    """
    assert split in SPLITS
    name = "val" if format == "nanogpt" and split == "validation" else split
    return name if format == "nanogpt" and shards == 1 else f"{name}-{shard:05d}"


class NewFile(io.RawIOBase):
    """A file under a temporary name, hashed while it is written; ``publish`` gives it its own name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.temporary, self.size = path, path.with_name(f".{path.name}.tmp"), 0
        self._hash = hashlib.sha256()
        self._file = self.temporary.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes

    def publish(self) -> dict[str, int | str]:
        """Everything to the disk, then the name; returns {bytes, sha256}."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.temporary.replace(self.path)
        return {"bytes": self.size, "sha256": self._hash.hexdigest()}

    def discard(self) -> None:
        """Leave nothing behind; whatever the disk says to that, the first error is the one to tell."""
        with contextlib.suppress(OSError):  # a full disk refuses what was still buffered
            self._file.close()
        self.temporary.unlink(missing_ok=True)


class FlatWriter:
    """``bin`` and ``nanogpt``: the ids and nothing else; ``megatron``: the same, with an index beside."""

    def __init__(self, stem: Path, format: str, dtype: str, length: int) -> None:
        self.stem, self.format, self.length, self.rows, self.all_scored = stem, format, length, 0, True
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.files: list[NewFile] = []
        self.tokens, self.mask = self._new(".bin"), self._new(".mask")

    def _new(self, suffix: str) -> NewFile:
        self.files.append(NewFile(path_of(self.stem, suffix)))
        return self.files[-1]

    def write(self, tokens: Tokens, scored: Mask) -> None:
        """Append [B, T] ids with the [B, T] mask of what is scored."""
        self.rows += len(tokens)
        self.tokens.write(np.ascontiguousarray(tokens, dtype=self.dtype).view(np.uint8))
        self.all_scored = self.all_scored and bool(scored.all())
        self.mask.write(np.packbits(scored, axis=1, bitorder="little"))

    def publish(self) -> Files:
        """Name -> {bytes, sha256} of the finished files."""
        if self.all_scored:
            self.mask.discard()
            self.mask.path.unlink(missing_ok=True)  # of a shard made anew
            self.files.remove(self.mask)
        if self.format == "megatron":
            self._new(".idx").write(megatron_index(self.rows, self.length, self.dtype))
        return {file.path.name: file.publish() for file in self.files}

    def discard(self) -> None:
        """Remove what was written."""
        for file in self.files:
            file.discard()


def megatron_index(rows: int, length: int, dtype: np.dtype[Any]) -> bytes:
    """Megatron-LM's ``.idx``: every row is a sequence and a document. Offsets are 64 bits wide, lengths 32."""
    lengths = np.full(rows, length, dtype="<i4")
    offsets = np.arange(rows, dtype="<i8") * (length * dtype.itemsize)
    documents = np.arange(rows + 1, dtype="<i8")
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, MEGATRON_CODES[dtype.name], rows, rows + 1)
    return head + lengths.tobytes() + offsets.tobytes() + documents.tobytes()


class ParquetWriter:
    """Columns ``tokens`` and ``scored``, each a list of T values per row, in row groups of equal size, with zstd."""

    def __init__(self, stem: Path, format: str, dtype: str, length: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.file = NewFile(path_of(stem, ".parquet"))
        lists = {"tokens": pa.list_(pa.from_numpy_dtype(dtype), length), "scored": pa.list_(pa.bool_(), length)}
        self.writer = pq.ParquetWriter(self.file, pa.schema(lists), compression="zstd")
        self.group = np.empty((group_rows(length), length), dtype=dtype), np.empty((group_rows(length), length), bool)
        self.filled = 0

    def write(self, tokens: Tokens, scored: Mask) -> None:
        """Append [B, T] ids with the [B, T] mask of what is scored."""
        while len(tokens):
            count = min(len(tokens), len(self.group[0]) - self.filled)
            for kept, new in zip(self.group, (tokens, scored), strict=True):
                kept[self.filled : self.filled + count] = new[:count]
            self.filled, tokens, scored = self.filled + count, tokens[count:], scored[count:]
            if self.filled == len(self.group[0]):
                self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = [
            pa.FixedSizeListArray.from_arrays(pa.array(kept[: self.filled].reshape(-1)), kept.shape[1])
            for kept in self.group
        ]
        self.writer.write_table(pa.table(columns, schema=self.writer.schema), row_group_size=len(self.group[0]))
        self.filled = 0

    def publish(self) -> Files:
        """Name -> {bytes, sha256} of the finished file."""
        if self.filled:
            self._flush()
        self.writer.close()
        return {self.file.path.name: self.file.publish()}

    def discard(self) -> None:
        """Remove what was written."""
        self.writer.is_open = False  # else it would write its footer when it is collected
        self.file.discard()


def writer(stem: Path, format: str, dtype: str, length: int) -> FlatWriter | ParquetWriter:
    """What writes the files of one shard: ``write`` batches of rows, then ``publish``, or ``discard``."""
    return (ParquetWriter if format == "parquet" else FlatWriter)(stem, format, dtype, length)


def group_rows(length: int) -> int:
    """Rows in a Parquet row group."""
    return max(1, ROW_GROUP_TOKENS // length)


def path_of(stem: Path, suffix: str) -> Path:
    """The file of a shard with this suffix.

    >>> path_of(Path("out/train-00007"), ".bin").name
    'train-00007.bin'
    """
    return stem.with_name(stem.name + suffix)


def read_rows(stem: Path, format: str, dtype: str, length: int, places: Places) -> tuple[Tokens, Mask]:
    """([R, T] ids, [R, T] scored) of a shard's rows at ``places`` [R].

    A file is mapped anew for each call, so that neither memory in use nor open files grow with what was read before.
    """
    if format == "parquet":
        return _read_parquet(path_of(stem, ".parquet"), length, places)
    little = np.dtype(dtype).newbyteorder("<")
    tokens = np.memmap(path_of(stem, ".bin"), dtype=little, mode="r").reshape(-1, length)[places].astype(np.int64)
    packed = path_of(stem, ".mask")
    if not packed.exists():
        return tokens, np.ones(tokens.shape, dtype=np.bool_)
    bits = np.memmap(packed, dtype=np.uint8, mode="r").reshape(-1, -(-length // 8))[places]
    return tokens, np.unpackbits(bits, axis=1, count=length, bitorder="little").view(np.bool_)


def _read_parquet(path: Path, length: int, places: Places) -> tuple[Tokens, Mask]:
    size, changed = group_rows(length), path.stat().st_mtime_ns
    tokens = np.empty((len(places), length), dtype=np.int64)
    scored = np.empty((len(places), length), dtype=np.bool_)
    for group in np.unique(places // size):
        here = places // size == group
        held = _row_group(path, int(group), length, changed)
        tokens[here], scored[here] = (column[places[here] % size] for column in held)
    return tokens, scored


@functools.lru_cache(maxsize=8)  # batches are far smaller than row groups
def _row_group(path: Path, group: int, length: int, changed: int) -> tuple[NDArray[Any], Mask]:
    """([R, T] ids, [R, T] scored) of a row group of a file last changed at ``changed`` (ns)."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read_row_group(group)
    columns = (table.column(name).combine_chunks().flatten() for name in ("tokens", "scored"))
    tokens, scored = (column.to_numpy(zero_copy_only=False).reshape(-1, length) for column in columns)
    return tokens, scored
