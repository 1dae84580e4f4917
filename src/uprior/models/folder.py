"""Saving a model as a folder that ``from_pretrained`` opens anywhere, and opening one without trusting it."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uprior.errors import CheckpointError
from uprior.files import new_folder, verify_folder
from uprior.models.guard import inspect
from uprior.models.presets import PRESETS
from uprior.models.shipped import shipped

# Formats that run code when they are opened.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def save_model(model: Any, folder: Path) -> None:
    """Write configuration, safetensors weights, a byte tokenizer (where the ids are 256, as bytes are) and checksums.

    The folder appears complete or not at all.
    """
    with new_folder(folder) as temporary:
        write_model(model, temporary)


def write_model(model: Any, folder: Path) -> None:
    """The files of ``save_model`` but for the checksums, into a folder that is there."""
    with _quiet():
        model.save_pretrained(folder)
        write_tokenizer(model.config, folder)


def write_tokenizer(config: Any, folder: Path) -> None:
    """The byte tokenizer, where ids can be bytes: in a vocabulary of 256."""
    if config.vocab_size == 256:
        byte_tokenizer().save_pretrained(folder)


def load_model(path: str | Path) -> Any:
    """The model of a checkpoint folder, of a finished run directory, or shipped by that name (``universal``), in evaluation mode.

    On the CPU and in float32, whatever the weights are stored in. A path that exists comes before a shipped name. Only
    safetensors are read, no code of the checkpoint is run, nothing is downloaded, and checksums are verified where they were
    recorded. Raises CheckpointError: no such folder, not a checkpoint, asking for more than its own numbers
    (``uprior.models.guard``), damaged (names the file), or an architecture that does not fit.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder = find_model(path)
    try:
        with _quiet():
            inspect(folder)
            verify_folder(folder)
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, by name
                dtype=torch.float32,
            )
    except CheckpointError:
        raise
    except Exception as error:  # a folder from elsewhere makes the library raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"cannot open {folder} as a causal language model: {reason}") from error
    wrong = [*info.get("missing_keys", ()), *(key for key, *_ in info.get("mismatched_keys", ()))]
    if wrong:
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json ({len(wrong)} tensors, the first is {sorted(wrong)[0]}); "
            "use weights and configuration of one model"
        )
    return model.eval()


def find_model(given: str | Path) -> Path:
    """The folder with config.json and safetensors that a text means: the path itself, or ``model`` inside a run directory.

    Where there is no such path, the shipped model of that name; ``./NAME`` is always a path.
    """
    path = Path(given)
    if not path.exists():
        return _find_shipped(str(given))
    if path.is_file():
        raise CheckpointError(f"{path} is a file; give the folder that holds config.json and the safetensors")
    for folder in (path / "model", path):
        if not (folder / "config.json").is_file():
            continue
        if next(folder.glob("*.safetensors"), None) is not None:
            return folder
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        if pickled:
            raise CheckpointError(
                f"{folder} holds pickled weights ({pickled[0]}), which uprior never opens; save it as safetensors"
            )
    if _is_unfinished_run(path):
        raise CheckpointError(f"{path} is a run that has not finished; type the command that started it again to go on")
    hidden = (
        "; the shipped model of that name is hidden by it: work in another folder" if str(given) in shipped() else ""
    )
    raise CheckpointError(f"{path} is not a checkpoint: it needs config.json and a .safetensors file{hidden}")


def _find_shipped(name: str) -> Path:
    """The folder of a shipped model; CheckpointError says which there are, the nearest first."""
    names = shipped()
    if name in names:
        return names[name]
    if name in PRESETS:
        raise CheckpointError(
            f"{name} is a preset, of which there is no folder yet; type: uprior build {name} --out FOLDER, and give that folder"
        )
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? Or " if near else ""
    known = f", or the name of a shipped model ({', '.join(names)})" if names else ""
    raise CheckpointError(
        f"{name} does not exist; {hint}give a checkpoint folder, or the --out of a finished pretrain run{known}"
    )


def _is_unfinished_run(path: Path) -> bool:
    try:
        return bool(json.loads((path / "config.json").read_text("utf-8")).get("kind") == "pretrain")
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers draws bars for work of milliseconds and prints tables about what our errors say in a line."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
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
