"""What samples are compared with."""

import math

import numpy as np


def close(values, expected, errors=4.0, bias=0.0):
    """The mean of independent values is the expected one, within some standard errors (and a known bias)."""
    return abs(np.mean(values) - expected) < errors * np.std(values) / math.sqrt(len(values)) + bias + 1e-9


def entropy_bits(law):
    return float(-(law * np.log2(law)).sum())


def bits(p):
    return entropy_bits(np.array([p, 1 - p]))
