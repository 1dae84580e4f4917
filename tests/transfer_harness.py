"""Small models of three families, trained ones no tensor of which is fresh, and what two models have in common."""

import torch

from uprior.models.presets import Preset, config_of, from_config
from uprior.transfer import members

FAMILIES = ("llama", "gpt2", "gpt-neox")
OUTPUTS = ("o_proj", "attn.c_proj", "attention.dense")
WIDTH, HEADS, VOCAB, CONTEXT = 16, 2, 12, 8


def model_of(family, *, seed=0, layers=2, vocab=VOCAB, context=CONTEXT, tied=True, **changes):
    config = config_of(Preset(family, WIDTH, layers, HEADS, 4 * WIDTH), vocab, context)
    config.tie_word_embeddings = tied
    for field, value in changes.items():
        setattr(config, field, value)
    return from_config(config, seed, plain=True)


def trained_of(family, **arguments):
    """A model no tensor of which is what a fresh one has, biases and norms included."""
    model = model_of(family, **{"seed": 7, **arguments})
    numbers = torch.Generator().manual_seed(arguments.get("seed", 7))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=numbers)
    return model


def values(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(first, second):
    return {
        name for name in first if first[name].shape == second[name].shape and torch.equal(first[name], second[name])
    }


def named(model, *roles, layers=None):
    return {m.name for m in members(model) if m.role in roles and (layers is None or m.layer in layers)}


def said(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text
