"""Exports: equal to the live stream in every format, shared between processes, one line for every mistake."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from export_tools import ENVIRONMENT, LENGTH, contents, live, make, run

import uprior
from uprior import sources
from uprior.data import CorpusStream, Stream, Vocabulary
from uprior.data.partition import part_of_environment
from uprior.data.shards import read_plan
from uprior.errors import CorpusError, MissingExtraError, SpecError, UnknownNameError
from uprior.progress import Reporter

FORMATS = ["bin", "megatron", "nanogpt", "parquet"]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in set(os.environ) - set(ENVIRONMENT):
        monkeypatch.delenv(name)


# ------------------------------------------------------------------ the bytes


def read_bin(stem, dtype="<u2"):
    return np.frombuffer(stem.with_name(f"{stem.name}.bin").read_bytes(), dtype=dtype).reshape(-1, LENGTH)


def read_megatron(stem):
    """An index as Megatron-LM's reader takes it apart, field by field; documents are what its boundaries say."""
    index, data = (stem.with_name(stem.name + suffix).read_bytes() for suffix in (".idx", ".bin"))
    magic, version, code, sequences, boundaries = struct.unpack_from("<9sQBQQ", index)
    assert (magic, version) == (b"MMIDIDX\x00\x00", 1)
    dtype = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 6: "f8", 7: "f4", 8: "u2"}[code]
    lengths = struct.unpack_from(f"<{sequences}i", index, 34)
    offsets = struct.unpack_from(f"<{sequences}q", index, 34 + 4 * sequences)
    ends = struct.unpack_from(f"<{boundaries}q", index, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * boundaries and ends == tuple(range(sequences + 1))
    rows = [np.frombuffer(data, f"<{dtype}", n, at) for n, at in zip(lengths, offsets, strict=True)]
    assert sum(row.nbytes for row in rows) == len(data)
    return np.stack(rows)


def read_parquet(stem):
    from pyarrow import parquet

    table = parquet.read_table(stem.with_name(f"{stem.name}.parquet"))
    assert str(table.schema.field("tokens").type) == f"fixed_size_list<element: uint16>[{LENGTH}]"
    return np.array(table.column("tokens").to_pylist())


READERS = {"bin": read_bin, "nanogpt": read_bin, "megatron": read_megatron, "parquet": read_parquet}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["uniform", "keyed_recall"])
def test_every_format_holds_the_live_streams_rows(tmp_path, format, name):
    stream = make(name, vocab=Vocabulary(size=5000, mapping="fixed"))
    done = uprior.export(stream, tmp_path, tokens=103 * LENGTH - 7, format=format, shard_tokens=32 * LENGTH, workers=2)
    assert (done.rows, done.shards, done.made, done.missing) == (103, 4, 4, 0)
    tokens, scored = live(stream, 103)
    assert scored.all() == (name == "uniform")
    # By a reader that shares no code with the writer.
    found = [READERS[format](tmp_path / f"train-{shard:05d}") for shard in range(4)]
    assert [len(part) for part in found] == [32, 32, 32, 7] and np.array_equal(np.concatenate(found), tokens)
    masks = sorted(tmp_path.glob("*.mask"))
    if masks:
        packed = np.concatenate([np.frombuffer(mask.read_bytes(), np.uint8).reshape(-1, 3) for mask in masks])
        assert all(packed[r, t // 8] >> t % 8 & 1 == scored[r, t] for r in range(103) for t in range(LENGTH))
    assert bool(masks) == (name == "keyed_recall" and format != "parquet")
    # By our own, in batches of another size and beyond the end, where the rows begin again.
    shards = uprior.read_shards(tmp_path, batch_size=50, checksums=True)
    again = [shards.batch(step) for step in range(3)]
    assert np.array_equal(np.concatenate([b.tokens for b in again]), np.concatenate([tokens, tokens[:47]]))
    assert np.array_equal(np.concatenate([b.scored for b in again]), np.concatenate([scored, scored[:47]]))
    numbers = np.array([102, 0, 31, 32, 99, 5])
    assert np.array_equal(shards.rows(numbers).tokens, tokens[numbers]) and len(shards) == 103
    assert shards.batch(0).tokens.dtype == np.int64 and shards.vocabulary.size == 5000


@pytest.mark.parametrize(
    ("format", "vocab", "dtype"),
    [("bin", 256, "uint8"), ("bin", 65536, "uint16"), ("bin", 70000, "uint32"), ("megatron", 70000, "int32")],
)
def test_the_vocabulary_decides_the_type_and_large_ids_survive(tmp_path, format, vocab, dtype):
    stream = make(vocab=Vocabulary(size=vocab, mapping="per_row"))
    uprior.export(stream, tmp_path, tokens=32 * LENGTH, format=format)
    tokens = live(stream, 32)[0]
    assert tokens.max() > vocab * 0.9
    assert read_plan(tmp_path, "train").dtype == dtype
    raw = np.frombuffer((tmp_path / "train-00000.bin").read_bytes(), np.dtype(dtype).newbyteorder("<"))
    assert np.array_equal(raw.reshape(-1, LENGTH), tokens)
    assert np.array_equal(uprior.read_shards(tmp_path, batch_size=32).batch(0).tokens, tokens)


def test_parquet_rows_are_found_across_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("uprior.data.formats.ROW_GROUP_TOKENS", 10 * LENGTH)
    uprior.export(make(), tmp_path, tokens=73 * LENGTH, format="parquet")
    tokens = live(make(), 73)[0]
    shards = uprior.read_shards(tmp_path)
    for numbers in ([72], [9, 10], [70, 3, 25, 71, 3], range(73)):
        assert np.array_equal(shards.rows(np.array(numbers)).tokens, tokens[list(numbers)])


def test_nanogpt_finds_one_file_per_split_in_one_folder(capsys, tmp_path):
    common = ["uniform", "--tokens", "7k", "--format", "nanogpt", "--context", LENGTH, "--out", tmp_path, "--quiet"]
    assert run(capsys, *common)[0] == run(capsys, *common, "--split", "validation")[0] == 0
    for name, split in (("train", "train"), ("val", "validation")):
        flat = np.fromfile(tmp_path / f"{name}.bin", dtype=np.uint16)  # as nanoGPT reads it
        stream = Stream(sources.get("uniform"), batch_size=50, length=LENGTH, split=split)
        assert np.array_equal(flat.reshape(-1, LENGTH), live(stream, 350)[0])
        assert len(uprior.read_shards(tmp_path, split=split)) == 350


def test_the_sidecar_says_what_the_file_is(tmp_path):
    stream = make("keyed_recall")
    uprior.export(stream, tmp_path, tokens=50 * LENGTH, shard_tokens=32 * LENGTH)
    record = json.loads((tmp_path / "train-00001.json").read_text())
    expected = {"format": "bin", "dtype": "uint8", "vocab": 256, "length": LENGTH, "shard": 1, "first_row": 32, "rows": 18,
                "tokens": 18 * LENGTH, "fingerprint": stream.fingerprint}  # fmt: skip
    assert expected.items() <= record.items()
    assert set(record["files"]) == {"train-00001.bin", "train-00001.mask"}
    assert record["files"]["train-00001.bin"]["bytes"] == 18 * LENGTH
    shown = subprocess.run(["sha256sum", tmp_path / "train-00001.bin"], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == record["files"]["train-00001.bin"]["sha256"]
    assert Stream.from_description(record["stream"]).hashes(4) == stream.hashes(4)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["complete"] and [s["state"] for s in manifest["shards"]] == ["complete"] * 2
    assert manifest["shards"][1]["files"] == record["files"] and manifest["rows"] == 50


def test_batch_size_and_threads_do_not_change_the_rows(tmp_path):
    for name, options, workers in (("a", {"batch_size": 8}, 1), ("b", {"batch_size": 7}, 3)):
        uprior.export(make(**options), tmp_path / name, tokens=500 * LENGTH, shard_tokens=112 * LENGTH, workers=workers)
    a, b = ({n: d for n, d in contents(tmp_path / name).items() if n.endswith(".bin")} for name in "ab")
    assert a == b and len(a) == 5


def test_an_export_can_be_written_again_in_another_format(tmp_path):
    uprior.export(make("keyed_recall"), tmp_path / "bin", tokens=100 * LENGTH, shard_tokens=640)
    uprior.export(uprior.read_shards(tmp_path / "bin"), tmp_path / "parquet", tokens=100 * LENGTH, format="parquet")
    again = uprior.read_shards(tmp_path / "parquet", batch_size=100).batch(0)
    assert all(map(np.array_equal, (again.tokens, again.scored), live(make("keyed_recall"), 100)))


def test_real_data_can_be_exported_too(tmp_path):
    from uprior import corpora

    (tmp_path / "words.txt").write_text(" ".join(map(str, range(3000))))
    stream = CorpusStream(corpora.get(str(tmp_path / "words.txt")), batch_size=5, length=LENGTH)
    uprior.export(stream, tmp_path / "out", tokens=33 * LENGTH)
    assert np.array_equal(uprior.read_shards(tmp_path / "out", batch_size=33).batch(0).tokens, live(stream, 33)[0])


def test_a_model_trains_from_shards_as_from_the_stream(tmp_path):
    stream = Stream(sources.get("pointwise"), batch_size=4, length=32)
    uprior.export(stream, tmp_path / "shards", tokens=256 * 32)
    weights = []
    for name, data in (("live", stream), ("read", uprior.read_shards(tmp_path / "shards", batch_size=4))):
        model = uprior.build("llama-tiny", vocab=256, context=32, seed=0)
        uprior.pretrain(model, data, steps=2, out=tmp_path / name, evaluate_on=(), show=False)
        weights.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


# ------------------------------------------------------------------ one line for every mistake

SMALL = ["--tokens", "1k", "--context", "16"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["unifrm", *SMALL], "did you mean 'uniform'?"),
        (["uniform", *SMALL, "--format", "parket"], "did you mean 'parquet'?"),
        (["uniform", "--tokens", "0"], "export: tokens = 0 is not allowed; allowed: 1 to"),
        (["uniform", "--tokens", "1e40"], "is not allowed; allowed: 1 to"),
        (
            ["uniform", "--tokens", "900000B", "--shard-tokens", "90000B"],
            "GB free, the shards to make need 900,000.0 GB",
        ),
        (
            ["uniform", "--tokens", "900B", "--shard-tokens", "1k"],
            "more than 100,000 files; give --shard-tokens 10M or more",
        ),
        (
            ["uniform", "--tokens", "1B", "--context", "100M"],
            "do not fit in memory at a time; allowed: at most 1,048,576",
        ),
        (
            ["uniform", *SMALL, "--vocab", "70k", "--format", "nanogpt"],
            "whose ids end at 65,535; give a smaller --vocab",
        ),
        (["uniform", *SMALL, "--vocab", "100"], "allowed: a vocabulary of at least 256"),
        (["uniform", *SMALL, "--shard", "2/2"], "--shard 2/2 is not allowed; allowed: i/n with i from 0 to n - 1"),
        (["uniform", *SMALL, "--shard", "one"], "--shard one is not allowed"),
        (["uniform", *SMALL, "--workers", "0"], "workers = 0 is not allowed"),
        (["uniform", *SMALL, "--split", "dev"], "split = 'dev' is not allowed"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, words, message):
    status, out, err = run(capsys, *words, "--out", tmp_path / "new")
    assert status == 2 and out == "" and len(err.strip().splitlines()) == 1 and message in err, err
    assert not list((tmp_path / "new").glob("train*"))


def test_a_folder_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, _, err = run(capsys, "uniform", *SMALL, "--out", tmp_path / "file" / "out")
    assert status == 2 and len(err.strip().splitlines()) == 1 and "cannot write" in err


def test_reading_what_is_no_export_is_one_line(tmp_path):
    with pytest.raises(
        CorpusError, match=r"manifest.json does not exist; type: uprior export SOURCE --tokens 1M --out"
    ):
        uprior.read_shards(tmp_path)
    uprior.export(make(), tmp_path, tokens=100)
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        uprior.read_shards(tmp_path, split="valdation")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for wrong in ({"dtype": "object"}, {"rows": 0}, {"format": "pickle"}, {"split": "../../x"}, {"vocab": "many"}):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | wrong))
        with pytest.raises(CorpusError, match="is not one of shards"):
            uprior.read_shards(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CorpusError, match="type the export command again"):
        uprior.read_shards(tmp_path)


@pytest.mark.parametrize(("package", "options"), [("pyarrow", {"format": "parquet"}), ("ray", {"ray": True})])
def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch, package, options):
    monkeypatch.setitem(sys.modules, package, None)
    extra = "parquet" if package == "pyarrow" else "ray"
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; type: pip install 'uprior\[{extra}\]'"):
        uprior.export(make(), tmp_path, tokens=100, **options)


# ------------------------------------------------------------------ whose part is whose


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (1, 3)),
        ({"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (1, 3)),
        # A batch script of three tasks that did not use srun is one process, and makes everything.
        ({"SLURM_JOB_ID": "9", "SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, (0, 1)),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "5"}, (2, 4)),
        ({"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "2",
          "SLURM_ARRAY_TASK_STEP": "2"}, (3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (4, 6)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
    ],
)  # fmt: skip
def test_the_part_is_read_from_slurm_and_torchrun(environment, part):
    *found, said = part_of_environment(environment)
    assert tuple(found) == part and bool(said) == (part[1] > 1)


def test_every_shard_of_an_array_of_jobs_is_somebodys():
    parts = [
        part_of_environment({"SLURM_ARRAY_TASK_ID": str(job), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1",
                             "SLURM_PROCID": str(task), "SLURM_NTASKS": "2"})[:2]
        for job in (1, 2, 3) for task in (0, 1)
    ]  # fmt: skip
    assert sorted(parts) == [(i, 6) for i in range(6)]


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"},
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "one", "WORLD_SIZE": "4"},
    ],
)
def test_a_part_that_cannot_be_is_refused(environment):
    with pytest.raises(SpecError, match="give --shard i/n"):
        part_of_environment(environment)


# ------------------------------------------------------------------ what the user sees


def test_progress_counts_tokens_to_the_last(tmp_path, capsys):
    uprior.export(make(), tmp_path, tokens=2000, workers=2, shard_tokens=640, progress=lambda n: Reporter("export", n))
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("export  2000/2000  ") and "M tokens/s" in last and last.endswith("left 0:00")


def test_a_finished_export_says_so_and_is_not_made_again(capsys, tmp_path):
    words = ["uniform", *SMALL, "--out", tmp_path]
    assert "63 rows, 1,008 tokens, 1 shards (1 made, 0 kept); complete" in run(capsys, *words)[1]
    status, out, err = run(capsys, *words)
    assert status == 0 and err == "" and "(0 made, 1 kept); complete" in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom uprior.cli import main\ntry:\n    main(['export', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numba', 'pyarrow', 'ray', 'transformers') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert shown.stdout.startswith("usage: uprior export") and shown.stdout.strip().endswith("[]")
