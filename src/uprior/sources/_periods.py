"""Whether a row repeats itself soon."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._exact import kernel


@kernel
def repeats(row: NDArray[np.unsignedinteger[Any]], most: int) -> bool:
    """Whether a row equals itself, shifted by 1 to ``most`` places (and has more tokens than the shift).

    >>> repeats(np.array([1, 2, 3, 1, 2], dtype=np.uint16), 3), repeats(np.array([1, 2, 3, 1, 2], dtype=np.uint16), 2)
    (True, False)
    """
    size = row.shape[0]
    for period in range(1, min(most, size - 1) + 1):
        t = period
        while t < size and row[t] == row[t - period]:
            t += 1
        if t >= size:
            return True
    return False
