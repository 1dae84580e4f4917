"""The one door to randomness.

Every random number in uprior comes from a generator keyed by *hashing* what it is for, never by adding to a seed:
neighbouring seeds, splits and indices then share nothing (NumPy's manual on parallel generation calls
``root_seed + worker_id`` unsafe; several published generators leak validation data that way).
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

Key = str | int


def digest(*key: Key) -> bytes:
    """32 bytes that depend on every part of the key and on the boundaries between parts.

    The key is hashed as a JSON list, so ("ab", "c") and ("a", "bc"), or 1 and "1", are different keys.
    """
    for part in key:
        # NumPy integers would be refused by json, and bool would pass as an int: both are bugs of ours.
        assert type(part) in (str, int), f"a key is made of str and int, not {type(part).__name__}"
    return hashlib.sha256(json.dumps(key).encode()).digest()


def generator(*key: Key) -> np.random.Generator:
    """A NumPy generator (Philox, counter-based) that is a pure function of the key."""
    words = np.frombuffer(digest(*key)[:16], dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=words))
