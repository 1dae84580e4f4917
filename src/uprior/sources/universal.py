"""The default mixture: what to pre-train on when nothing is known about the data to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from uprior.sources._base import Source
from uprior.sources.constant import Constant
from uprior.sources.context_tree import ContextTree
from uprior.sources.iterated import Iterated
from uprior.sources.mixture import Mixture
from uprior.sources.pointwise import Pointwise
from uprior.sources.random_language import RandomLanguage
from uprior.sources.random_lstm import RandomLSTM
from uprior.sources.random_transformer import RandomTransformer
from uprior.spec import parameter


@dataclass(frozen=True)
class Universal(Mixture):
    """The default mixture: random languages, staged chains of random networks, random trees, and a little of the simple.

    Machine: one of a component's. Floor: NaN in rows of components that do not know theirs. Cost: mostly the networks'. The
    shares say which kinds of regularity a row may hold, most to those with structure on several scales, a twentieth each to
    what a predictor must not forget (single symbols, plain frequencies). They were set before any model was trained.
    """

    name: ClassVar[str] = "universal"
    sources: tuple[Source, ...] = parameter(
        (
            RandomLanguage(),
            Iterated(source=RandomLSTM()),
            ContextTree(),
            Iterated(source=RandomTransformer()),
            Pointwise(),
            Constant(),
        ),
        "the sources",
    )
    shares: tuple[int, ...] = parameter((7, 6, 4, 1, 1, 1), "rows of each source per cycle", low=1, high=10_000)
