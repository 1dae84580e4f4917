"""Saving a model as a folder that ``from_pretrained`` opens anywhere, and opening one without trusting it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uprior.errors import CheckpointError
from uprior.files import new_folder, verify_folder


def save_model(model: Any, folder: Path) -> None:
    """Write configuration, safetensors weights, a byte tokenizer (if the vocabulary has 256 ids or more) and checksums.

    The folder appears complete or not at all.
    """
    with new_folder(folder) as temporary, _no_progress_bars():
        model.save_pretrained(temporary)
        if model.config.vocab_size >= 256:
            byte_tokenizer().save_pretrained(temporary)


def load_model(path: str | Path) -> Any:
    """The model of a checkpoint folder or of a finished run directory, in float32, on the CPU, in evaluation mode.

    Only safetensors are read, nothing is downloaded, and checksums are verified where they were recorded. Raises
    CheckpointError: no such folder, not a checkpoint, damaged (names the file), or an architecture that does not fit.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    folder = find_model(Path(path))
    verify_folder(folder)
    try:
        with _no_progress_bars():
            model, info = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"cannot open {folder} as a causal language model: {reason}") from error
    wrong = [*info.get("missing_keys", ()), *(key for key, *_ in info.get("mismatched_keys", ()))]
    if wrong:
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json ({len(wrong)} tensors, the first is {sorted(wrong)[0]}); "
            "use weights and configuration of one model"
        )
    return model.eval()


def find_model(path: Path) -> Path:
    """The folder with config.json and safetensors that a path means: itself, or ``model`` inside a run directory."""
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; give a checkpoint folder, or the --out of a finished pretrain run"
        )
    for folder in (path / "model", path):
        if not (folder / "config.json").is_file():
            continue
        if next(folder.glob("*.safetensors"), None) is not None:
            return folder
        if next(folder.glob("*.bin"), None) is not None:
            raise CheckpointError(
                f"{folder} holds pickled weights (.bin), which uprior never opens; save it as safetensors"
            )
    if _is_unfinished_run(path):
        raise CheckpointError(f"{path} is a run that has not finished; type the command that started it again to go on")
    raise CheckpointError(f"{path} is not a checkpoint: it needs config.json and a .safetensors file")


def _is_unfinished_run(path: Path) -> bool:
    try:
        return bool(json.loads((path / "config.json").read_text("utf-8")).get("kind") == "pretrain")
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """transformers draws bars for work of milliseconds; ours is the progress that users watch."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def byte_tokenizer() -> Any:
    """A tokenizer whose ids are the bytes of UTF-8 text, for users of the checkpoint; no download, no special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(vocab={char: byte for byte, char in enumerate(_printable_bytes())}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False)


def _printable_bytes() -> list[str]:
    """The character by which byte-level tokenizers (Radford et al. 2019) write each byte: itself if printable in
    Latin-1, else the next unused code point from 256."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]
