"""Addition: the reference and a checker of its rows."""

from references._arithmetic import reference, specs, validate
from uprior.sources import Addition

GOLDEN = (1, "c6fb4cd9bc8e44a7")
SPECS = specs(Addition)
__all__ = ["reference", "validate"]
