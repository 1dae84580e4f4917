"""The mean of several checkpoints' weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from uprior.errors import CheckpointError, SpecError
from uprior.transfer.fitting import differences
from uprior.transfer.roles import ROLES, check_model


def average(models: Sequence[Any]) -> Any:
    """A new model, in evaluation mode, each parameter the mean of the models' (Wortsman et al. 2022, arXiv 2203.05482).

    Summed in float64 and rounded once. Averages of one run's checkpoints, or of runs from one start, make sense; of runs from
    different random weights they rarely do. Raises SpecError (no models), CheckpointError (models not of one shape).
    """
    if not models:
        raise SpecError("there are no models to average; give at least one")
    for model in models:
        check_model(model, "a model to average")
    first = models[0]
    for number, model in enumerate(models[1:], start=2):
        wrong = next(_differing(first, model), None)
        if wrong is not None:
            raise CheckpointError(
                f"model {number} has another {wrong} than model 1; average checkpoints of one configuration"
            )
    made = copy.deepcopy(first)
    each = [dict(model.named_parameters()) for model in models]
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            total = sum(own[name].detach().double().to(parameter.device) for own in each)
            parameter.copy_(total / len(models))
    return made.eval()


def _differing(first: Any, second: Any) -> Iterator[str]:
    """Fields of the configuration, and tensors, that are not alike."""
    if first.config.model_type != second.config.model_type:
        yield "architecture"
    for role in ROLES:
        yield from (field for field, _, _ in differences(first, second, role, rotation=True))
    shapes = [{name: parameter.shape for name, parameter in model.named_parameters()} for model in (first, second)]
    yield from sorted(
        name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)
    )
