"""Corpora: bytes as they are, splits by position, windows by key, one-line errors, and the synthetic sets' recipes."""

from __future__ import annotations

import gzip
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprior import corpora
from uprior.corpora import _base, file
from uprior.corpora.synthetic import AUTOMATON, SETS
from uprior.errors import CorpusError, SpecError, UnknownNameError, UpriorError

TEXT = "Füße, one two three.\n".encode() * 60


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_bytes(TEXT)
    return path


def message(text: str) -> str:
    """The one line that reading this corpus ends in."""
    with pytest.raises(UpriorError) as caught:
        _ = corpora.get(text).content
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ splits and windows


@given(
    size=st.integers(1, 400),
    train=st.integers(0, 100).map(lambda percent: percent / 100),
    share_of_rest=st.integers(0, 100).map(lambda percent: percent / 100),
)
def test_splits_are_consecutive_and_cover_the_data(size: int, train: float, share_of_rest: float) -> None:
    class Numbers(corpora.Corpus):
        name = "numbers"

        def _read(self) -> np.ndarray:
            return (np.arange(size) % 256).astype(np.uint8)

    corpus = Numbers(train_fraction=train, validation_fraction=round((1 - train) * share_of_rest, 4))
    parts = [corpus.data(split) for split in ("train", "validation", "test")]
    assert np.array_equal(np.concatenate(parts), corpus.content)
    assert abs(parts[0].size - size * train) <= 1 and abs(parts[1].size - size * corpus.validation_fraction) <= 1


def test_default_splits_are_80_10_10_and_read_only(text_file: Path) -> None:
    corpus = corpora.get(str(text_file))
    assert [corpus.data(s).size for s in ("train", "validation", "test")] == [1104, 138, 138]
    with pytest.raises(ValueError, match="read-only"):
        corpus.data("test")[0] = 0
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        corpus.data("tst")


def test_fractions_are_fields_and_must_fit(text_file: Path) -> None:
    corpus = corpora.get(f"file:path={text_file},train_fraction=0.5,validation_fraction=0.25")
    assert corpus.data("train").size == 690
    assert corpora.revive(corpus.to_dict()) == corpus
    with pytest.raises(SpecError, match=r"validation_fraction = 0\.3 is not allowed"):
        corpus.replace(train_fraction=0.8, validation_fraction=0.3)


@given(size=st.integers(4, 60), context=st.integers(2, 8), count=st.integers(1, 150), align=st.integers(1, 5))
def test_windows_lie_in_the_data_and_repeat_only_when_they_must(
    size: int, context: int, count: int, align: int
) -> None:
    data = np.arange(size, dtype=np.uint8)  # a window's first byte is its start
    if size < context:
        with pytest.raises(CorpusError):
            corpora.windows(data, count, context, "key", align=align)
        return
    out = corpora.windows(data, count, context, ("key", 1), align=align)
    assert out.shape == (count, context) and (np.diff(out.astype(int), axis=1) == 1).all()
    starts = out[:, 0].astype(int)
    possible = len(range(0, size - context + 1, align))
    assert corpora.possible_windows(size, context, align) == possible
    assert (starts % align == 0).all()
    times = np.bincount(starts // align, minlength=possible)
    assert times.size == possible and times.max() - times.min() <= 1


def test_windows_are_reproducible_and_keyed() -> None:
    data = np.random.default_rng(0).integers(0, 256, 10_000, dtype=np.uint8)
    first = corpora.windows(data, 50, 16, "a")
    assert np.array_equal(first, corpora.windows(data, 50, 16, ("a",)))
    other = corpora.windows(data, 50, 16, "b")
    assert {w.tobytes() for w in first}.isdisjoint({w.tobytes() for w in other})
    with pytest.raises(SpecError, match="count = 0"):
        corpora.windows(data, 0, 16, "a")


def test_a_too_short_file_says_what_would_fit_and_that_fits(tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_bytes(b"x" * 90)
    whole = corpora.get(f"file:path={short},train_fraction=0,validation_fraction=0")
    with pytest.raises(CorpusError) as caught:
        whole.windows("test", 10, 256, "key")
    assert str(caught.value) == (
        "short.txt has 90 bytes, 90 of them in its test split; a window of 256 needs at least 257 bytes; "
        "give --context 64 or a longer file"
    )
    assert whole.windows("test", 3, 64).shape == (3, 64)
    with pytest.raises(
        CorpusError, match=r"9 of them in its test split.*at least 2,570 bytes; give --context 8"
    ) as caught:
        corpora.get(str(short)).windows("test", 10, 256)
    needed = int(re.search(r"at least ([\d,]+) bytes", str(caught.value))[1].replace(",", ""))
    short.write_bytes(b"x" * needed)
    assert corpora.get(str(short)).windows("test", 1, 256).shape == (1, 256)
    with pytest.raises(CorpusError, match=r"0 of them in its test split; give other fractions"):
        whole.replace(train_fraction=1.0).windows("test", 1, 64)
    with pytest.raises(CorpusError, match="9 bytes are shorter than one window of 16; give --context 8"):
        corpora.windows(np.zeros(9, np.uint8), 1, 16, "key")


# ------------------------------------------------------------------ files and folders


def test_gzip_equals_plain_and_memory_mapping_equals_reading(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = text_file.with_name("notes.txt.gz")
    packed.write_bytes(gzip.compress(TEXT))
    plain, unpacked = corpora.get(str(text_file)), corpora.get(f"file:{packed}")
    assert plain.content.tobytes() == unpacked.content.tobytes() == TEXT
    assert plain.sha256 == unpacked.sha256 and plain.fingerprint != unpacked.fingerprint
    monkeypatch.setattr(file, "MAP_FROM_BYTES", 1)
    mapped = corpora.get(str(text_file))
    assert isinstance(mapped.content, np.memmap) and not mapped.content.flags.writeable
    assert mapped.sha256 == plain.sha256 and mapped.data("test").tobytes() == plain.data("test").tobytes()


def test_bytes_are_never_decoded(tmp_path: Path) -> None:
    every = bytes(range(256)) * 2
    (tmp_path / "any.npy").write_bytes(every)  # a name that a loader of arrays would try to unpickle
    assert corpora.get(str(tmp_path / "any.npy")).content.tobytes() == every


def test_a_path_may_hold_what_specs_use(tmp_path: Path) -> None:
    odd = tmp_path / "a=b,c:d.txt"
    odd.write_bytes(TEXT)
    assert corpora.get(f"file:{odd}").content.tobytes() == TEXT
    assert corpora.get(str(odd)) == corpora.get(f"file:{odd}") and corpora.get(odd).label == "a=b,c:d.txt"


def test_folder_joins_visible_text_files_in_order(tmp_path: Path) -> None:
    files = {
        "b.txt": b"two",
        "a/z.txt": b"one\n",
        "c.bin": b"\0\1",
        "d.md": b"four",
        ".git/x.txt": b"no",
        ".e.txt": b"no",
    }
    for name, content in {**files, "empty.txt": b""}.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "data" / "e.txt.gz").write_bytes(gzip.compress(b"five"))
    os.symlink(tmp_path / "data", tmp_path / "data" / "a" / "loop")
    folder = tmp_path / "data"
    assert corpora.get(str(folder)).content.tobytes() == b"one\ntwo\nfour\nfive\n"
    assert corpora.get(f"folder:{folder}").label == "data/"
    assert corpora.get(f"folder:path={folder},glob=*.txt").content.tobytes() == b"one\ntwo\n"
    assert corpora.get(f"folder:path={folder},binary=true").content.tobytes() == b"one\ntwo\0\1fourfive"
    assert corpora.get(f"folder:path={folder},max_bytes=6").content.tobytes() == b"one\ntw"


def test_one_line_errors_about_paths(tmp_path: Path, text_file: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "torn.gz").write_bytes(gzip.compress(TEXT)[:-9])
    (tmp_path / "lie.gz").write_bytes(TEXT)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    expected = {
        f"{tmp_path}/note.txt": f"did you mean '{text_file}'?",
        f"file:{tmp_path}/nowhere/at/all": "nowhere/at/all'; give a path that exists",
        f"{tmp_path}/empty": "empty is empty (0 bytes)",
        f"{tmp_path}/torn.gz": "is not a whole gzip file",
        f"{tmp_path}/lie.gz": "is not a whole gzip file",
        f"file:{tmp_path}/folder": f"'{tmp_path}/folder' is a folder, not a file; write folder:",
        f"folder:{text_file}": "is a file, not a folder; write file:",
        f"folder:{tmp_path}/folder": "holds no text files that match '*'",
        f"folder:{tmp_path}/foldr": "did you mean",
        f"{tmp_path}/pipe": f"'{tmp_path}/pipe' is not a regular file",
        f"file:{tmp_path}/a\0b": "cannot read",
        "file": "file: path is missing; write file:path=...",
        f"folder:path={tmp_path},glob=../*": "folder: glob = '../*' is not allowed",
    }
    for text, part in expected.items():
        assert part in message(text), text
        assert not part.startswith("'") or message(text).startswith(part)  # not one error wrapped in another


def test_an_unreadable_file_is_told(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "fromfile", refuse)  # the tests may run as root, whom no permission stops
    assert message(str(text_file)) == f"cannot read '{text_file}' (Permission denied); give a file that you may read"


def test_names_and_nearest_names() -> None:
    assert {"file", "folder", "python_stdlib", "synthetic"} <= set(corpora.entries())
    assert corpora.File is corpora.find("file")
    assert "did you mean 'python_stdlib'?" in message("python_stlib")
    assert "unknown option 'sede'" in message("synthetic:dyck,sede=1").replace("option of synthetic", "option")
    assert "one of champ, dyck" in message("synthetic:dick")
    assert corpora.get("synthetic:dyck,seed=1") == corpora.Synthetic("dyck", seed=1)


def test_python_stdlib_is_this_interpreters_source() -> None:
    corpus = corpora.get("python_stdlib")
    text = corpus.content.tobytes()
    assert b"# ==== json/decoder.py\n" in text and Path(os.__file__).read_bytes() in text
    names = re.findall(rb"^# ==== (.+)$", text, re.M)
    assert names == sorted(names) and len(names) > 200
    for folder in (b"site-packages/", b"/test/", b"pydoc_data/", b"encodings/"):
        assert not any(folder in b"/" + name for name in names)
    assert 3_000_000 < corpus.content.size <= 8_000_000
    assert corpora.get("python_stdlib").sha256 == corpus.sha256
    assert corpora.get("python_stdlib:max_bytes=1000").content.tobytes() == text[:1000]


# ------------------------------------------------------------------ the synthetic sets, by independent readers

GOLDEN = {
    "champ": "23d8fc0be5718110",
    "dyck": "eaf5635437ec041c",
    "ndfa": "4ad81f1450345a31",
    "toy": "820f628a295c22f6",
    "toy2": "2f89e56b3df22e22",
    "bits": "ecbde50da1a636f2",
    "bitsrep": "80fd832cc22e7598",
    "bitsflip": "03b0a71cf01941a5",
    "aut": "40106ef5a3a25aea",
    "rep-1": "3e5fc58115f9c8c3",
    "rep-3": "7fb6d94d34c10001",
    "rep-10": "04eea40eed315d29",
}


def items(name: str) -> list[str]:
    """The whole items of a set with a delimiter."""
    text = corpora.get(f"synthetic:{name}").content.tobytes().decode("ascii")
    assert len(text) == 100_000
    return text.split("|")[:-1]


def rate(bits: float, whole_items: list[str]) -> float:
    """Bits per character, delimiters included."""
    return bits / sum(len(item) + 1 for item in whole_items)


def ideal(name: str) -> float:
    return corpora.get(f"synthetic:{name}").ideal_bits


def test_champ_counts_up() -> None:
    lengths = []
    for item in items("champ"):
        starts = [item[:digits] for digits in range(1, 7)]
        runs = ["".join(f"{int(s, 16) + i:x}" for i in range(256)) for s in starts]
        assert item in runs
        lengths.append(len(item) + 1)
    assert ideal("champ") == pytest.approx(24 / np.mean(lengths), rel=0.01)
    # Nearly all numbers have six digits, one in sixteen has fewer: 256 * (6 - 1/16 - 1/256 - ...) + 1 characters.
    assert ideal("champ") == pytest.approx(24 / (256 * (6 - 1 / 15) + 1), rel=1e-4)


def test_dyck_balances_only_at_the_end() -> None:
    bits = 0.0
    for item in items("dyck"):
        depths = np.cumsum([{"(": 1, ")": -1}[c] for c in item])
        assert depths[-1] == 0 and (depths[:-1] > 0).all()
        bits -= (item.count("(") - 1) * math.log2(7 / 16) + item.count(")") * math.log2(9 / 16)
    assert ideal("dyck") == pytest.approx(rate(bits, items("dyck")), rel=0.03)
    assert ideal("dyck") == pytest.approx(8 * 0.98869940828 / 10)


def test_ndfa_repeats_one_word() -> None:
    bits, times = 0.0, []
    for item in items("ndfa"):
        found = re.fullmatch(r"s((abc!|uvw!|klm!)\2*)?s", item)
        assert found
        times.append(len(found[1] or "") // 4)
        bits -= times[-1] * math.log2(3 / 4) + math.log2(1 / 4) - (math.log2(3) if times[-1] else 0)
    assert 0 in times and np.mean(times) == pytest.approx(3, rel=0.05)
    assert ideal("ndfa") == pytest.approx(rate(bits, items("ndfa")), rel=0.03)


def test_toy_sentences_follow_the_grammar() -> None:
    noun_phrase = r"(?:a|the|some|every)( (?:old|green|quick|happy|tiny|broken|famous|loud))? \w+"
    verb = "(?:sees|likes|finds|paints|follows|forgets|visits|warns)"
    sentence = rf"{noun_phrase} (?:slept|{verb} {noun_phrase}( (?:near|under|behind|without) {noun_phrase})?)"
    # A noun phrase: a determiner of 4, with or without an adjective of 8, a noun of 12.
    bits = 0.0
    for item in items("toy"):
        found = re.fullmatch(sentence, item)
        assert found, item
        phrases = 1 if item.endswith(" slept") else 3 if found[3] else 2
        adjectives = len(re.findall(r"\b(?:old|green|quick|happy|tiny|broken|famous|loud)\b", item))
        bits += math.log2(3) + phrases * (2 + 1 + math.log2(12)) + 3 * adjectives
        bits += 3 * (phrases > 1) + 2 * (phrases > 2)
    assert ideal("toy") == pytest.approx(rate(bits, items("toy")), rel=0.01)


def test_toy2_expressions_are_well_formed_with_the_given_probabilities() -> None:
    costs = {"x": 0.6 * 0.5, "y": 0.6 * 0.3, "z": 0.6 * 0.2, "+": 0.16, "-": 0.08, "*": 0.08, "/": 0.04, "^": 0.04}
    bits = 0.0
    for item in items("toy2"):
        reduced = item
        while "(" in reduced:
            shorter = re.sub(r"\([xyz][-+*/^][xyz]\)", "x", reduced)
            assert shorter != reduced, item
            reduced = shorter
        assert reduced in ("x", "y", "z")
        bits -= sum(math.log2(costs[c]) for c in item if c not in "()")
    assert ideal("toy2") == pytest.approx(rate(bits, items("toy2")), rel=0.03)


def test_bits_are_consistent() -> None:
    whole = items("bits")
    assert len(set(whole)) > 900  # of 1024
    for item in whole:
        assert len(item) == 30
        a, b, *rest = (item[i : i + 5] for i in range(0, 30, 5))
        rules = (lambda p, q: p != q, lambda p, q: p == q == "1", lambda p, q: "1" in (p, q), lambda p, q: p == q)
        assert rest == ["".join("01"[rule(p, q)] for p, q in zip(a, b, strict=True)) for rule in rules]
    assert ideal("bits") == 10 / 31


def test_bitsrep_and_bitsflip() -> None:
    for name, word, parts in (("bitsrep", 3, 3), ("bitsflip", 6, 2)):
        text = corpora.get(f"synthetic:{name}").content.tobytes().decode("ascii")
        size, seen = word * parts, set()
        for start in range(0, len(text) - size + 1, size):
            item = text[start : start + size]
            head = item[:word]
            assert item == (head * 3 if name == "bitsrep" else head + "".join(reversed(head)))
            seen.add(head)
        assert len(seen) == 2**word
    assert ideal("bitsrep") == 1 / 3 and ideal("bitsflip") == 1 / 2


def test_aut_walks_one_automaton() -> None:
    text = corpora.get("synthetic:aut").content.tobytes().decode("ascii")
    assert len(AUTOMATON) == 5 and {symbol for edges in AUTOMATON for symbol, _ in edges} == {"a", "b", "c"}
    bits = 0.0
    for start in range(0, len(text), 512):
        state = 0
        for symbol in text[start : start + 512]:
            edges = dict(AUTOMATON[state])
            assert len(edges) == len(AUTOMATON[state])  # the symbol tells the next state
            bits += math.log2(len(edges))
            state = edges[symbol]
    assert ideal("aut") == pytest.approx(bits / len(text), rel=0.01)


@pytest.mark.parametrize("word", [1, 3, 10])
def test_rep_windows_begin_with_the_word(word: int) -> None:
    corpus = corpora.get(f"synthetic:rep-{word}")
    got = corpus.windows("test", 40, 512, "key")
    assert np.array_equal(got, got[:, np.arange(512) % word])
    assert len({w.tobytes() for w in got}) > 30  # 40 different rows; of one byte, some are the same
    assert all(len(np.unique(w[:word])) > word // 2 for w in got)
    with pytest.raises(CorpusError, match="give --context 512 or less"):
        corpus.windows("test", 4, 513)


@pytest.mark.parametrize("name", SETS)
def test_synthetic_sets_are_fixed_by_their_seed(name: str) -> None:
    corpus = corpora.get(f"synthetic:{name}")
    assert corpus.label == name and corpus.content.size == 100_000 and corpus.data("test").size in range(49_900, 50_600)
    assert corpus.sha256[:16] == GOLDEN[name], "another text needs another version"
    assert corpus.replace(seed=1).sha256 != corpus.sha256


def test_way_out_is_a_context_that_fits() -> None:
    for held in range(4, 200):
        context = int(re.search(r"--context (\d+)", _base.way_out(held))[1])
        assert context <= held < 2 * context
    assert _base.way_out(3) == "give a longer file"
