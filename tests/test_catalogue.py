"""Every source of the catalogue equals its slow reference, passes its own checker, and has not changed silently."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest

from uprior.sources import entries
from uprior.sources._base import Draw
from uprior.sources._check_process import block_digest

FOLDER = Path(__file__).parent / "references"
# Sources whose references stand in a test file of their own, or that are compositions of others with nothing of their own.
ELSEWHERE = {
    "buffered": "tests/test_chains.py",
    "iterated": "tests/test_chains.py",
    "mixture": "tests/test_stream.py",
    "random_lstm": "tests/test_neural_sources.py",
    "random_transformer": "tests/test_neural_sources.py",
    "universal": "a mixture",
}
NAMES = sorted(set(entries()) - set(ELSEWHERE))


def of(name):
    return importlib.import_module(f"references.{name}")


def cases():
    for name in NAMES:
        if (FOLDER / f"{name}.py").exists():
            for i, spec in enumerate(of(name).SPECS):
                yield pytest.param(name, spec, id=f"{name}-{i}")


def shapes(spec):
    return [(5, max(48, spec.shortest_row)), (3, max(130, spec.shortest_row + 1)), (2, spec.shortest_row)]


@pytest.mark.parametrize("name", NAMES)
def test_source_has_a_reference(name):
    assert (FOLDER / f"{name}.py").exists(), (
        f"write tests/references/{name}.py; its __init__.py says what belongs in it"
    )


def test_every_reference_has_a_source():
    assert {path.stem for path in FOLDER.glob("[!_]*.py")} == set(NAMES)
    assert set(ELSEWHERE) <= set(entries())


@pytest.mark.parametrize(("name", "spec"), list(cases()))
def test_equals_its_reference(name, spec):
    for index, ((rows, length), split) in enumerate(zip(shapes(spec), ("train", "test", "validation"), strict=True)):
        draw = Draw((spec.fingerprint, 7, split, index), split, index)
        made = spec._generate(draw, rows, length)
        expected = of(name).reference(spec, draw, rows, length)
        np.testing.assert_array_equal(made.tokens, expected.tokens)
        np.testing.assert_array_equal(made.machine, expected.machine)
        assert (made.scored is None) == (expected.scored is None)
        if made.scored is not None:
            np.testing.assert_array_equal(made.scored, expected.scored)
        assert (made.floor_nats is None) == (expected.floor_nats is None)
        if made.floor_nats is not None:
            np.testing.assert_allclose(made.floor_nats, expected.floor_nats, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "spec"), list(cases()))
def test_rows_are_what_they_should_be(name, spec):
    for index, (rows, length) in enumerate(shapes(spec)):
        of(name).validate(spec, spec.block(11, index, rows=rows, length=length))


@pytest.mark.parametrize("name", [name for name in NAMES if (FOLDER / f"{name}.py").exists()])
def test_golden(name):
    spec = of(name).SPECS[0]
    block = spec.block(0, 0, rows=5, length=max(48, spec.shortest_row))
    # Without the floats, whose last bits may differ between processors.
    exact = dataclasses.replace(block, floor_nats=None, info={})
    assert (spec.version, block_digest(exact)[:16]) == of(name).GOLDEN, (
        "a new source: put the digest into GOLDEN; changed rows: raise version too"
    )
