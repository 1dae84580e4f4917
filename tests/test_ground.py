"""The ground floor: randomness, specs, errors, files."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior import sources
from uprior.errors import CheckpointError, RunDirectoryError, SpecError, UnknownNameError
from uprior.files import CHECKSUMS, locked, new_folder, read_lines, verify_folder, write_text
from uprior.rng import digest, generator
from uprior.sources import Constant, Mixture, Pointwise, Uniform
from uprior.sources._base import Draw, interleave
from uprior.spec import Spec, parameter, split_text

KEYS = st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4)


@given(KEYS, KEYS)
def test_digests_are_equal_only_for_equal_keys(a, b):
    assert (digest(*a) == digest(*b)) == (a == b)


def test_a_key_tells_numbers_from_texts_and_where_parts_end():
    assert len({digest("1"), digest(1), digest("ab", "c"), digest("a", "bc"), digest("a", "b", "c")}) == 5


def test_neighbouring_seeds_share_no_numbers():
    a, b = (set(generator("x", seed).integers(0, 2**62, 10_000).tolist()) for seed in (0, 1))
    assert a.isdisjoint(b)


def test_the_generator_is_pinned():
    # Philox keyed by SHA-256 of the JSON list; if this changes, every stream of every version changes.
    assert generator("golden", 1).integers(0, 1000, 5).tolist() == [404, 7, 918, 467, 386]


def test_small_machine_spaces_are_divided_between_splits_whatever_the_seed():
    parts = [set(Draw(("seed", s), split, 0).own_machines("rules", 256).tolist()) for s, split in
             ((0, "train"), (1, "validation"), (2, "test"))]  # fmt: skip
    assert parts[0].isdisjoint(parts[1]) and parts[0].isdisjoint(parts[2]) and parts[1].isdisjoint(parts[2])
    assert set.union(*parts) == set(range(256))
    assert [len(p) for p in parts] == [192, 32, 32]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_interleaving_is_exact(shares):
    order = interleave(tuple(shares))
    assert np.bincount(order, minlength=len(shares)).tolist() == shares


@dataclass(frozen=True)
class Plain(Spec):
    name: ClassVar[str] = "plain"
    count: int = parameter(3, "how many", low=1, high=9)
    rate: float = parameter(0.5, "how often", low=0.0, high=1.0)
    kind: str = parameter("a", "which", choices=("a", "b"))
    shares: tuple[int, ...] = parameter((1, 2), "parts", low=1)
    on: bool = True
    presets: ClassVar = {"paper": {"count": 7}}


def test_equal_meaning_has_equal_fingerprints():
    assert Plain(rate=1).fingerprint == Plain(rate=1.0).fingerprint
    assert Plain(shares=[1, 2]).fingerprint == Plain().fingerprint
    assert Plain(count=4).fingerprint != Plain().fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 0}, "plain: count = 0 is not allowed; allowed: 1 to 9"),
        ({"count": True}, "plain: count = True is not allowed; allowed: a whole number"),
        ({"count": "x"}, "plain: count = 'x' is not allowed; allowed: a whole number"),
        ({"rate": float("nan")}, "plain: rate = nan is not allowed; allowed: finite numbers"),
        ({"kind": "c"}, "plain: kind = 'c' is not allowed; allowed: one of a, b"),
        ({"shares": (0,)}, "plain: shares = (0,) is not allowed; allowed: 1 or more"),
        ({"on": 1}, "plain: on = 1 is not allowed; allowed: true or false"),
    ],
)
def test_an_invalid_spec_cannot_exist(fields, message):
    with pytest.raises(SpecError) as caught:
        Plain(**fields)
    assert str(caught.value) == message


def test_presets_and_unknown_presets():
    assert Plain.preset("paper", rate=0.1) == Plain(count=7, rate=0.1)
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        Plain.preset("papr")


def test_specs_are_read_from_one_line():
    assert split_text("a@p:x=1,y=(b:z=2,w=3)") == ("a", "p", {"x": "1", "y": "(b:z=2,w=3)"})
    mixture = sources.get("mixture:sources=(uniform:alphabet_size=4,pointwise),shares=2/1")
    assert mixture == Mixture(sources=(Uniform(alphabet_size=4), Pointwise()), shares=(2, 1))
    several = sources.get(
        "mixture:sources=(noisy:substitution=0.1,source=(uniform:alphabet_size=4),pointwise),shares=2/1"
    )
    assert [source.name for source in several.sources] == ["noisy", "pointwise"]  # a spec keeps its own commas
    assert several.sources[0].source == Uniform(alphabet_size=4)


def test_specs_survive_json():
    spec = Mixture(sources=(Uniform(), Pointwise(max_symbols=5)), shares=(3, 1))
    again = sources.revive(json.loads(json.dumps(spec.to_dict())))
    assert again == spec and again.fingerprint == spec.fingerprint


def test_json_of_another_version_or_with_unknown_fields_is_refused():
    with pytest.raises(SpecError, match="recorded with version 99"):
        sources.revive(Uniform().to_dict() | {"version": 99})
    with pytest.raises(UnknownNameError, match="did you mean 'alphabet_size'"):
        sources.revive(Uniform().to_dict() | {"alphabet_siz": 4})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unifrm", "did you mean 'uniform'"),
        ("uniform:alphabet=4", "did you mean 'alphabet_size'"),
        ("uniform:alphabet_size=1", "allowed: 2 to"),
        ("uniform@paper", "unknown preset of uniform"),
        ("mixture:sources=()", "at least one source"),
        ("nosuchmodule:Name", "cannot import source"),
        ("uprior.rng:generator", "is not a source"),
        ("missing.json", "cannot read a source from missing.json"),
    ],
)
def test_bad_source_texts_end_in_one_line(text, message):
    with pytest.raises(ValueError) as caught:
        sources.get(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_bad_block_arguments_end_in_one_line():
    for arguments in ({"seed": -1}, {"index": -1}, {"rows": 0}, {"length": 1}):
        with pytest.raises(SpecError, match=f"{next(iter(arguments))} = "):
            Uniform().block(**({"seed": 0, "index": 0, "rows": 1, "length": 2} | arguments))
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        Uniform().block(0, 0, rows=1, length=2, split="valid")


def test_errors_inside_a_source_say_where():
    class Broken(Uniform):
        def _generate(self, draw, rows, length):
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError) as caught:
        Broken().block(3, 5, rows=2, length=4)
    assert caught.value.__notes__ == ["while writing uniform: seed 3, split train, block 5, 2 x 4"]


def test_listing_the_catalogue_does_not_import_torch_or_numba():
    code = (
        "import sys, uprior.sources as s, uprior, uprior.cli; s.entries(); "
        "print([m for m in ('torch', 'numba', 'scipy', 'transformers') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_mixture_proportions_are_exact_across_blocks():
    mixture = Mixture(sources=(Uniform(), Constant(), Pointwise()), shares=(5, 2, 1))
    seen = np.concatenate([mixture.block(0, i, rows=12, length=4).info["component"] for i in range(6)])
    assert all(np.bincount(seen[i : i + 8], minlength=3).tolist() == [5, 2, 1] for i in range(len(seen) - 7))


def test_two_equal_components_of_a_mixture_write_different_rows():
    block = Mixture(sources=(Uniform(), Uniform())).block(0, 0, rows=20, length=16)
    assert len({row.tobytes() for row in block.tokens}) == 20


def test_a_mixture_passes_on_what_its_sources_record():
    block = Mixture(sources=(Uniform(), Pointwise(max_symbols=4))).block(0, 0, rows=8, length=16)
    symbols, ours = block.info["symbols"], block.info["component"] == 1
    assert np.isnan(symbols[~ours]).all() and set(symbols[ours]) <= {2.0, 3.0, 4.0}


# ------------------------------------------------------------------ files


def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("half")
        1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_folder_is_old_or_new_but_never_mixed(tmp_path):
    for text in ("old", "new"):
        with new_folder(tmp_path / "a") as folder:
            (folder / text).write_text(text)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [CHECKSUMS, "new"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damage_is_found_and_the_file_is_named(tmp_path, damage):
    with new_folder(tmp_path / "a") as folder:
        (folder / "weights").write_bytes(bytes(range(100)))
    verify_folder(tmp_path / "a")
    file = tmp_path / "a" / "weights"
    if damage == "flip":
        file.write_bytes(bytes([1]) + file.read_bytes()[1:])
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:50])
    else:
        file.unlink()
    with pytest.raises(CheckpointError, match=r"weights is (damaged|missing)"):
        verify_folder(tmp_path / "a")


def test_a_run_directory_has_one_user(tmp_path):
    code = f"import uprior.files as f, pathlib\nwith f.locked(pathlib.Path({str(tmp_path)!r})): print('held')"
    with locked(tmp_path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"in use by another process (number {os.getpid()})" in other.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "held\n"


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunDirectoryError, match=r"cannot write .*a\.txt: No space left on device; what was saved before"
    ):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_lines(tmp_path / "x.jsonl") == [{"a": 1}, {"a": 2}]
    assert read_lines(tmp_path / "none.jsonl") == []
