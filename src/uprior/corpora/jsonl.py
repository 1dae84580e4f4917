"""A file of JSON lines as a corpus: the text of some fields, without the JSON around it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uprior.corpora._base import Bytes
from uprior.corpora.file import OneFile, read_bytes
from uprior.errors import CorpusError, unknown_name
from uprior.spec import parameter


@dataclass(frozen=True)
class Jsonl(OneFile):
    """The named fields of every line of a JSONL file, as plain UTF-8 text.

    Write ``jsonl:PATH``, or ``jsonl:path=PATH,fields=(question,answer)``. The fields of one line are joined by a newline, in the
    order given; records are separated by a blank line, and the last one ends a line. Escapes are undone, so that a model
    reads what people wrote. A name that ends in .gz is read through; blank lines are skipped.
    Raises CorpusError for a line that is no JSON object, and for a field that is absent or not text.
    """

    name: ClassVar[str] = "jsonl"
    _: KW_ONLY
    fields: tuple[str, ...] = parameter(("text",), "names of the fields, in the order of the text")

    def validate(self) -> None:
        super().validate()
        if not self.fields or not all(self.fields):
            self.reject("fields", "one or more names, as in fields=(question,answer)")

    def _read(self) -> Bytes:
        instead = f"name fields that are text, or give file:{self.path} to take it as it is"
        records = ["\n".join(record[f] for f in self.fields) for record in records_of(self.path, self.fields, instead)]
        text = "\n\n".join(records) + ("\n" if records else "")
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def records_of(path: str | Path, fields: Sequence[str], instead: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines in order, all with these fields as text; blank lines are skipped, .gz is read through.

    Raises CorpusError that names the line and ends in what to do ``instead``.
    """
    for number, line in enumerate(read_bytes(str(path)).tobytes().split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"'{path}', line {number}"
        try:
            record: Any = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{where}: is no JSON ({error}); {instead}") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{where}: is no JSON object; {instead}")
        for field in fields:
            if field not in record:
                raise CorpusError(f"{where}: {unknown_name('field', field, record)}")
            if not isinstance(record[field], str):
                raise CorpusError(f"{where}: field '{field}' is not text; {instead}")
        yield record
