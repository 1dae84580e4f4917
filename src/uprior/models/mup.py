"""Width transfer: maximal update parametrisation (muP) of any causal model of ``transformers``, without touching its code.

A learning rate found at a small *base* width is then near the best one at a larger width, because every activation moves
by the same amount per step at every width (Yang et al. 2022, Tensor Programs V, arXiv 2203.03466). What a parameter gets,
under AdamW, with r = base width / width and s = the base model's initial standard deviation / this model's:

| parameter | initial weights x | learning rate x |
|---|---|---|
| embedding tables (tokens, positions) | s | 1 |
| vectors (biases, gains of norms) | 1 | 1 |
| hidden matrices | s sqrt(r) | r |
| readout of its own | s r | r |
| last norm, where the readout is the embedding table (tied) | r | r |
| what makes the queries, where heads grow with the width | sqrt(base head size / head size) | the same |

These are the paper's tables 3 and 8 with every multiplier folded into weights and learning rates: AdamW moves a parameter by
its learning rate whatever the size of its gradient, so scaling a weight and its rate alike *is* the multiplier. A tied table
cannot be scaled so (as an input it must move by the full rate), but the gain and bias of the last norm can: scaled by r,
they are the readout multiplier. In the same way the factor between 1/sqrt(d) and 1/d attention goes into the queries. So the
saved checkpoint holds everything, and plain ``transformers`` computes the same logits. At the base width every factor is 1.

Width is what transfers. Depth, batch size and number of steps are not covered; inner width and number of heads should keep their
proportion to the width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from uprior.errors import SpecError
from uprior.models.first_weights import first_weights_of


class Factors(NamedTuple):
    """What one parameter's initial weights and its learning rate are multiplied by."""

    initial: float
    rate: float


def factors(
    model: Any, base_width: int, *, base_head_size: int = 0, base_std: float | None = None
) -> dict[str, Factors]:
    """Parameter name -> Factors (the table above); a shared parameter stands once, under its first name.

    ``base_width``       hidden size of the model that the learning rate was found on
    ``base_head_size``   size of its attention heads; 0 means as here, more heads instead of larger ones
    ``base_std``         its initial standard deviation. None: 1/sqrt(base width) if this model's is 1/sqrt(width), as in the
                         presets; else the same as this model's, as in configurations of ``transformers`` (0.02)

    Raises SpecError for a model that does not consist of plain embeddings, linear layers and vectors, or whose width the
    model's own code corrects.
    """
    width = _width(model, base_width)
    ratio = base_width / width
    scale = _base_std(model, base_width, base_std) / model.config.initializer_range
    kinds = {
        "table": Factors(scale, 1.0),
        "vector": Factors(1.0, 1.0),
        "matrix": Factors(scale * math.sqrt(ratio), ratio),
        "readout": Factors(scale * ratio, ratio),
        "last norm": Factors(ratio, ratio),
    }
    found = {name: kinds[kind] for name, kind in _kinds(model, width)}
    attention = _attention_factor(model, base_head_size)
    if attention != 1.0:
        for name in _query_names(model):
            found[name] = Factors(found[name].initial * attention, found[name].rate * attention)
    return found


def rescale_(model: Any, base_width: int, *, base_head_size: int = 0, base_std: float | None = None) -> None:
    """Give a fresh model the initial weights of muP, in place, before training. Arguments as in ``factors``.

    Raises SpecError if the weights are not fresh (trained, or rescaled before), or if the factor on the last norm does
    not come out as a factor on the logits; the model is then as it was.
    """
    found = factors(model, base_width, base_head_size=base_head_size, base_std=base_std)
    width = _width(model, base_width)
    last = {name for name, kind in _kinds(model, width) if kind == "last norm"}
    parameters = dict(model.named_parameters())
    _check_fresh(model, [parameters[name] for name in last])
    with torch.no_grad():
        before = _probe(model)
        for name in last:
            parameters[name].mul_(found[name].initial)
        if last and not _close(_probe(model), before * (base_width / width)):
            for name in last:
                parameters[name].div_(found[name].initial)
            raise SpecError(
                f"width transfer: in {type(model).__name__} the gain of the last norm ({min(last)}) is no factor on the "
                "logits; untie the readout: tie_word_embeddings=False"
            )
        for name in found.keys() - last:
            parameters[name].mul_(found[name].initial)


def _kinds(model: Any, width: int) -> Iterator[tuple[str, str]]:
    """(parameter name, kind) for every parameter, by the module that holds it; never by a checkpoint's names."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, its weight transposed

    readout = model.get_output_embeddings()
    tied = readout is None or readout.weight is model.get_input_embeddings().weight
    last_norm = _last_norm(model, width) if tied else None
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        if getattr(module, "embed_scale", 1.0) != 1.0:
            raise SpecError(
                f"width transfer: {type(model).__name__} scales its embeddings by the width in its own code ({prefix}); "
                "train without --base-width"
            )
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            name = f"{prefix}.{leaf}" if prefix else leaf
            if module is last_norm:
                yield name, "last norm"
            elif parameter.ndim < 2:
                yield name, "vector"
            elif isinstance(module, nn.Embedding):
                yield name, "table"
            elif module is readout:
                yield name, "readout"
            elif isinstance(module, nn.Linear | Conv1D):
                yield name, "matrix"
            else:
                raise SpecError(
                    f"width transfer: {name} of {type(model).__name__} is neither an embedding nor a linear layer but in a "
                    f"{type(module).__name__}; train without --base-width"
                )


def _last_norm(model: Any, width: int) -> nn.Module:
    """The norm that the readout reads: the last module with a gain per channel outside the stack of blocks."""
    stacks = tuple(name + "." for name, module in model.named_modules() if isinstance(module, nn.ModuleList))
    norms: list[nn.Module] = [
        module
        for name, module in model.named_modules()
        if not name.startswith(stacks) and tuple(getattr(getattr(module, "weight", None), "shape", ())) == (width,)
    ]
    if not norms:
        raise SpecError(
            f"width transfer: {type(model).__name__} reads out with its embedding table and has no last norm whose gain "
            "could hold the factor; untie the readout: tie_word_embeddings=False"
        )
    return norms[-1]


def _query_names(model: Any) -> Iterator[str]:
    """Parameters by which all queries are proportional: a norm's gain on them, else the weights and bias that make them."""
    makers = {"q_proj", "query", "q_norm"}
    by_parent: dict[str, dict[str, nn.Module]] = {}
    for name, module in model.named_modules():
        parent, _, leaf = name.rpartition(".")
        if leaf in makers:
            by_parent.setdefault(parent, {})[leaf] = module
    if not by_parent:
        raise SpecError(
            f"width transfer: {type(model).__name__} makes queries, keys and values with one matrix, so heads must keep "
            f"their size; use a base model with heads of {head_size(model)}"
        )
    for parent, found in by_parent.items():
        leaf = "q_norm" if "q_norm" in found else next(iter(found))
        gains = list(found[leaf].parameters())
        if leaf == "q_norm" and not all(bool((gain != 0).all()) for gain in gains):  # written as 1 + weight
            raise SpecError(
                f"width transfer: the gain of {parent}.q_norm is not a factor; use a base model with heads of {head_size(model)}"
            )
        yield from (f"{parent}.{leaf}.{name}" for name, _ in found[leaf].named_parameters(recurse=False))


def head_size(model: Any) -> int:
    """Channels of one attention head."""
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _attention_factor(model: Any, base_head_size: int) -> float:
    """What turns 1/sqrt(d) attention into 1/d, equal at the base head size: sqrt(base head size / head size)."""
    if base_head_size < 0:
        raise SpecError(
            f"width transfer: base_head_size = {base_head_size} is not allowed; allowed: 0 (as here), 1, 2, ..."
        )
    return math.sqrt(base_head_size / head_size(model)) if base_head_size else 1.0


def _width(model: Any, base_width: int) -> int:
    if not isinstance(base_width, int) or base_width < 1:
        raise SpecError(f"width transfer: base_width = {base_width!r} is not allowed; allowed: a whole number from 1")
    width = int(model.config.hidden_size)
    if tuple(model.get_input_embeddings().weight.shape)[1:] != (width,):
        raise SpecError(
            f"width transfer: the embeddings of {type(model).__name__} are not as wide as its blocks ({width}); "
            "train without --base-width"
        )
    return width


def _base_std(model: Any, base_width: int, given: float | None) -> float:
    own = getattr(model.config, "initializer_range", None)
    if not isinstance(own, float) or own <= 0:
        raise SpecError(
            f"width transfer: the configuration of {type(model).__name__} has initializer_range = {own!r}; "
            "allowed: the standard deviation that its weights were drawn with"
        )
    if given is not None:
        return given
    return base_width**-0.5 if math.isclose(own, model.config.hidden_size**-0.5) else own


def _check_fresh(model: Any, last_norm: list[torch.Tensor]) -> None:
    """The tables must have the configured scale, and the gain of a last norm that is to hold a factor must be constant."""
    if start := first_weights_of(model.config):
        raise SpecError(
            f"width transfer: this model begins with weights that {start.do}, with sizes that rescaling would break; "
            "leave --base-width away, or take a preset without -matching or -counting"
        )
    expected = model.config.initializer_range
    tables = [model.get_input_embeddings().weight] + ([] if last_norm else [model.get_output_embeddings().weight])
    for table in tables:
        found = float(table.detach().float().std())
        if abs(found / expected - 1) > 0.05 + 4 / math.sqrt(2 * table.numel()):
            raise SpecError(
                f"width transfer: an embedding table or readout has standard deviation {found:.4g}, fresh ones have "
                f"{expected:.4g}: it is trained, or rescaled before; rescale a fresh model, once"
            )
    for values in last_norm:
        if not bool(((values == 1) | (values == 0)).all()):
            raise SpecError(
                "width transfer: the last norm's gain is not 1 everywhere: it is trained, or rescaled before; "
                "rescale a fresh model, once"
            )


def _probe(model: Any) -> torch.Tensor:
    """Logits [1, 2, V] of the two ids 0 and 1, without dropout."""
    training = model.training
    logits: torch.Tensor = model.eval()(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=False).logits
    model.train(training)
    return logits


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max())
