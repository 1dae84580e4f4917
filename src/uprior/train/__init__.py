"""The training loop and its parts."""

from uprior.train.loop import Result, fit
from uprior.train.settings import Training

__all__ = ["Result", "Training", "fit"]
