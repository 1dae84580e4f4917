"""Model presets, named by family and size (parameters with a vocabulary of 256).

Any other causal model of ``transformers`` can be passed wherever a preset's name is taken: the loop only ever asks it for
``ids [B, T] -> logits [B, T, V]``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch

from uprior.errors import SpecError
from uprior.models.counting import COUNTING
from uprior.models.first_weights import FIRST_WEIGHTS, first_weights_of
from uprior.models.matching import MATCHING
from uprior.rng import digest


@dataclass(frozen=True)
class Preset:
    """Width H, depth, heads and inner width of one size of a family."""

    family: str
    width: int
    layers: int
    heads: int
    inner: int
    first_weights: str = ""  # "": random; else one of FIRST_WEIGHTS
    head_size: int = 0  # 0: width / heads


# Heads of 32 below width 512, of 64 from there and where contexts are matched: few dimensions tell few symbols apart. Gated MLPs
# are 8/3 wide as in Llama, plain ones 4 wide as in GPT-2. Where contexts are matched width and heads count most, layers and MLPs
# least (docs/LOG.md): one layer that fetches, one that looks up.
PRESETS: dict[str, Preset] = {
    "llama-tiny": Preset("llama", 32, 2, 2, 96),
    "llama-1m": Preset("llama", 128, 4, 4, 344),
    "llama-1m-matching": Preset("llama", 192, 3, 3, 512, MATCHING),
    "llama-3m-matching": Preset("llama", 512, 2, 8, 256, MATCHING),
    "llama-6m-counting": Preset("llama", 426, 2, 6, 1028, COUNTING, 256),
    "llama-5m": Preset("llama", 256, 6, 8, 688),
    "llama-7m-matching": Preset("llama", 384, 4, 6, 1024, MATCHING),
    "llama-30m": Preset("llama", 512, 9, 8, 1376),
    "llama-125m": Preset("llama", 768, 18, 12, 2048),
    "llama-350m": Preset("llama", 1024, 28, 16, 2752),
    "llama-1.3b": Preset("llama", 2048, 26, 32, 5504),
    "gpt2-tiny": Preset("gpt2", 32, 2, 2, 128),
    "gpt2-5m": Preset("gpt2", 256, 6, 8, 1024),
    "gpt2-small": Preset("gpt2", 768, 12, 12, 3072),
    "gpt-neox-5m": Preset("gpt-neox", 256, 6, 8, 1024),
    "gpt-neox-125m": Preset("gpt-neox", 768, 12, 12, 3072),
}


def fresh_like(model: Any, *, seed: int) -> Any:
    """A model of the same configuration with fresh weights, a pure function of configuration and seed."""
    return from_config(copy.deepcopy(model.config), seed)


def from_config(config: Any, seed: int, *, plain: bool = False) -> Any:
    """A fresh model of a ``transformers`` configuration, its weights a pure function of configuration and seed.

    Models whose configuration says so begin with weights that are made (``first_weights``), unless ``plain``; all others with
    random ones.
    """
    from transformers import AutoModelForCausalLM

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits of a QR decomposition depend on their number
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(digest("model weights", seed)[:7], "little"))
            model = AutoModelForCausalLM.from_config(config)
            if (start := first_weights_of(config)) and not plain:
                start.begin_(model)
    finally:
        torch.set_num_threads(threads)
    return model


def config_of(preset: Preset, vocab: int, context: int) -> Any:
    """The transformers configuration of a preset."""
    from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig

    # Matrices start at N(0, 1 / width), the scale that keeps activations of size one. The libraries' fixed 0.02 suits width
    # 2,500; at width 128 it made the first million tokens of warm-up nearly useless (docs/LOG.md).
    # A byte model has no special tokens.
    common = {
        "initializer_range": preset.width**-0.5,
        # One table for reading and writing: copying a symbol out of the context, the first thing random computation
        # teaches, then needs no map of its own for every symbol (docs/LOG.md has the measurement).
        "tie_word_embeddings": True,
        "vocab_size": vocab,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "use_cache": False,
    }
    if preset.family == "llama":
        config: Any = LlamaConfig(
            hidden_size=preset.width,
            num_hidden_layers=preset.layers,
            num_attention_heads=preset.heads,
            intermediate_size=preset.inner,
            head_dim=preset.head_size or None,
            max_position_embeddings=context,
            **common,
        )
        if preset.first_weights:
            FIRST_WEIGHTS[preset.first_weights].configure(config)
    elif preset.family == "gpt2":
        config = GPT2Config(
            n_embd=preset.width,
            n_layer=preset.layers,
            n_head=preset.heads,
            n_inner=preset.inner,
            n_positions=context,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **common,
        )
    else:
        config = GPTNeoXConfig(
            hidden_size=preset.width,
            num_hidden_layers=preset.layers,
            num_attention_heads=preset.heads,
            intermediate_size=preset.inner,
            max_position_embeddings=context,
            attention_dropout=0.0,
            hidden_dropout=0.0,
            **common,
        )
    return config


def context_of(model: Any) -> int | None:
    """The longest row a model takes, where its configuration says so."""
    config = model.config
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(getattr(config, name, None), int):
            return int(getattr(config, name))
    return None


def lengthened(model: Any, context: int) -> Any:
    """The same model for rows of up to ``context`` tokens: itself if it takes them already, else a copy that does.

    Rotary positions go on as they are, which says nothing about how well the model reads there before it is trained so.
    SpecError: positions that are a table of weights, or whose rotations depend on the longest row.
    """
    longest = context_of(model)
    if longest is None or context <= longest:
        return model
    rotation = (getattr(model.config, "rope_parameters", None) or {}).get("rope_type")
    if rotation != "default":
        what = f"rotations of kind {rotation}" if rotation else "a table of positions"
        raise SpecError(
            f"the model takes rows of at most {longest} tokens, by {what}; given: {context}; give a context of {longest} or "
            "less, or carry its parts into a model that is built for longer rows (uprior.transfer.carry)"
        )
    config = copy.deepcopy(model.config)
    config.max_position_embeddings = context
    longer = from_config(config, seed=0)
    longer.load_state_dict(model.state_dict())
    return longer.train(model.training)


def describe(model: Any) -> dict[str, Any]:
    """What a run records about a model: architecture, parameter count and the configuration that rebuilds it."""
    return {
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "config": model.config.to_diff_dict(),
    }


def flops_per_token(model: Any) -> int:
    """Training FLOPs per token, forward and backward: 6 per parameter that multiplies (embedding look-ups do not).

    Attention's own products are left out, as is usual (Kaplan et al. 2020, section 2.1); both arms of a study leave out the same.
    """
    tables = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    if head is not None:
        tables -= {head.weight}  # tied: it is read and multiplied
    counted = {p for p in model.parameters() if p.ndim >= 2} - tables
    return 6 * int(sum(p.numel() for p in counted))
