"""How fast things are: sources (``sources``), and training beside other people's loops (``train``)."""

from uprior.bench.sources import COLUMNS, FIRST_CALL_COLUMNS, REFERENCES, bench_source, cells, first_calls, texts_of

__all__ = ["COLUMNS", "FIRST_CALL_COLUMNS", "REFERENCES", "bench_source", "cells", "first_calls", "texts_of"]
