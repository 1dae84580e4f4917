"""Multiplication: the reference and a checker of its rows."""

from references._arithmetic import reference, specs, validate
from uprior.sources import Multiplication

GOLDEN = (1, "442ff4a5f447bd3d")
SPECS = specs(Multiplication)
__all__ = ["reference", "validate"]
