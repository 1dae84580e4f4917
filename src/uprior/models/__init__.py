"""Target models: presets of Hugging Face architectures, built from a configuration, saved so that anything opens them."""

from uprior.models.folder import load_model, save_model
from uprior.models.presets import PRESETS, lengthened
from uprior.models.sizes import build

__all__ = ["PRESETS", "build", "lengthened", "load_model", "save_model"]
