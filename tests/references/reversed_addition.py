"""ReversedAddition: the reference and a checker of its rows."""

from references._arithmetic import reference, specs, validate
from uprior.sources import ReversedAddition

GOLDEN = (1, "beae5ff2a45ad4fc")
SPECS = specs(ReversedAddition)
__all__ = ["reference", "validate"]
