"""Room 3: one measurement per file. Nothing here imports torch or numba before it is used."""

from __future__ import annotations

import importlib
from typing import Any

from uprior.evals._base import PositionBits, Predictor, Uniform
from uprior.evals.bits_per_byte import BASELINES, SINGLE_ORDERS, baselines, evaluate

__all__ = [
    "BASELINES",
    "SINGLE_ORDERS",
    "ContextTreeWeighting",
    "Markov",
    "MarkovMix",
    "ModelPredictor",
    "PositionBits",
    "Predictor",
    "Uniform",
    "baselines",
    "evaluate",
    "length_generalisation",
    "minimal_pairs",
    "probe",
    "recall_by_gap",
    "retrieval",
    "score_answers",
]

_LAZY = {
    "ContextTreeWeighting": "ctw",
    "Markov": "markov",
    "MarkovMix": "markov",
    "ModelPredictor": "model",
    "length_generalisation": "probes",
    "minimal_pairs": "blimp",
    "probe": "probes",
    "recall_by_gap": "probes",
    "retrieval": "verbatim",
    "score_answers": "answers",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"uprior.evals.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
