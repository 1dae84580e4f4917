"""A folder with small stand-ins for a few evaluation sets, and studies that may not train."""

import pytest

from uprior.rng import generator
from uprior.studies import _short_runs

DEVELOPMENT = {"moby_dick": "text_en_mobydick.txt", "spanish": "text_es_xquad.txt"}
REAL = {"hindi": "text_hi_xquad.txt", "python": "code_python_stdlib311.txt", "arabic": "text_ar_xquad.txt"}


def write_data(folder):
    """Files of words, each file from its own few words; returns the folder as text."""
    folder.mkdir()
    for name in (*DEVELOPMENT.values(), *REAL.values()):
        rng = generator("words", name)
        words = [bytes(rng.integers(97, 123, rng.integers(2, 8)).tolist()) for _ in range(20)]
        (folder / name).write_bytes(b" ".join(words[i] for i in rng.integers(0, 20, 3000)))
    return str(folder)


def refuse_to_train(monkeypatch):
    """From here on a run that is not there already fails the test."""

    def refuse(*_arguments, **_options):
        pytest.fail("a finished run was trained again")

    monkeypatch.setattr(_short_runs, "fit", refuse)
