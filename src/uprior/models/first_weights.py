"""First weights that are made, not drawn: which there are, by the name that presets and configurations give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from uprior.models.counting import COUNTING, begin_as_counter_, counting_config
from uprior.models.matching import MATCHING, MATCHING_2, begin_as_matcher_, matching_config


class FirstWeights(NamedTuple):
    """A start.

    configure  sets what it needs in a configuration, before the model is made
    begin_     overwrites the weights of a fresh model; uses torch's generator
    do         what these weights do untrained, after "weights that"
    card       the same for model cards
    float32    whether it says nonsense when layers are computed in bfloat16 (weights may be rounded to it)
    """

    configure: Callable[[Any], None]
    begin_: Callable[[Any], None]
    do: str
    card: str
    float32: bool = False


_MATCHER = "random rotations that look up what followed similar contexts (uprior/models/matching.py)"
FIRST_WEIGHTS = {
    MATCHING: FirstWeights(
        lambda config: matching_config(config, MATCHING), begin_as_matcher_, "match contexts", _MATCHER
    ),
    MATCHING_2: FirstWeights(
        lambda config: matching_config(config, MATCHING_2),
        begin_as_matcher_,
        "match contexts",
        f"{_MATCHER}, version 2",
    ),
    COUNTING: FirstWeights(
        counting_config,
        begin_as_counter_,
        "count what followed contexts",
        "made: they count what followed similar contexts (uprior/models/counting.py)",
        float32=True,
    ),
}


def first_weights_of(config: Any) -> FirstWeights | None:
    """What models of this configuration begin as; None: random weights."""
    return FIRST_WEIGHTS.get(getattr(config, "first_weights", ""))


def needs_float32(model: Any) -> bool:
    """Whether bfloat16 arithmetic would ruin this model, as what it began as would."""
    start = first_weights_of(getattr(model, "config", None))
    return start is not None and start.float32
