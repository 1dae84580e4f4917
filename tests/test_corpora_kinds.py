"""Corpora with a format of their own (jsonl, fasta, idx), test data by size, and training and test data that come apart."""

import gzip
import json
import struct

import pytest

from uprior import corpora
from uprior.errors import CorpusError, SpecError


def message(text):
    """The one line that reading this corpus ends in."""
    with pytest.raises(CorpusError) as caught:
        _ = corpora.get(text).content
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ jsonl


def test_jsonl_is_the_text_of_the_fields_with_escapes_undone(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"q": "Caf\\u00e9, 2+2?", "a": "2+2=4\\n#### 4", "id": 7}\n\n{"a": "9", "q": "Next?"}\n')
    corpus = corpora.get(f"jsonl:path={path},fields=(q,a)")
    assert bytes(corpus.content) == "Café, 2+2?\n2+2=4\n#### 4\n\nNext?\n9\n".encode()
    assert corpora.revive(corpus.to_dict()) == corpus and corpus.label == "problems.jsonl"
    assert bytes(corpora.get(f"jsonl:path={path},fields=(a)").content) == b"2+2=4\n#### 4\n\n9\n"


def test_jsonl_by_path_alone_takes_the_field_text_and_reads_gz(tmp_path):
    path = tmp_path / "a, b=c.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "one"}\n{"text": "two"}'))
    assert bytes(corpora.get(f"jsonl:{path}").content) == b"one\n\ntwo\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "a"', "line 2: is no JSON"),
        ("[1, 2]", "line 2: is no JSON object"),
        ('{"txt": "a"}', "line 2: unknown field 'text'; did you mean 'txt'?"),
        ('{"text": 4}', "line 2: field 'text' is not text"),
    ],
)
def test_jsonl_says_which_line_is_wrong(tmp_path, line, words):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    assert words in message(f"jsonl:{path}")


def test_jsonl_needs_fields(tmp_path):
    with pytest.raises(SpecError, match=r"fields = \(\) is not allowed"):
        corpora.get(f"jsonl:path={tmp_path / 'x'},fields=()")


# ------------------------------------------------------------------ fasta


def test_fasta_is_letters_one_record_a_line(tmp_path):
    path = tmp_path / "p.fasta"
    path.write_bytes(b">one some words\nMPSF\nLHN\n; a comment\n>empty\n\n>two\r\nYKQ\r\nAA\r\n")
    assert bytes(corpora.get(f"fasta:{path}").content) == b"MPSFLHN\nYKQAA\n"
    path.write_bytes(b"MPSF\n>one\nLHN\n")
    assert "does not begin with a header" in message(f"fasta:{path}")


def test_fasta_of_nucleotides_keeps_masking_and_unknown_letters(tmp_path):
    """Two chromosomes as genomes come: wrapped lines, repeats in lower case, runs of N, codes for either of two letters."""
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(gzip.compress(b">chr1 assembled\nACGTAcgt\nacNNNNGT\nRYA\n\n>chr2\nnnnnACGU\nT-\n"))
    assert bytes(corpora.get(f"fasta:{path}").content) == b"ACGTAcgtacNNNNGTRYA\nnnnnACGUT-\n"


# ------------------------------------------------------------------ idx


def idx(kind, sizes, data):
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + data


def test_idx_is_the_array_without_its_header(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(8, (2, 2, 3), bytes(range(12)))))
    corpus = corpora.get(f"idx:{path}")
    assert bytes(corpus.content) == bytes(range(12)) and corpus.align == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\x00", "not in the IDX format"),
        (b"text that is no array", "not in the IDX format"),
        (bytes([0, 0, 8, 3]) + bytes(4), "not in the IDX format"),
        (idx(13, (2,), bytes(8)), "numbers of type 0x0d; allowed: 0x08"),
        (idx(8, (2, 2), bytes(3)), "has 3 bytes for an array of 2 x 2; it is cut short"),
    ],
)
def test_idx_refuses_other_files(tmp_path, data, words):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert words in message(f"idx:{path}")


# ------------------------------------------------------------------ what is tested on


def test_the_last_bytes_of_a_file_are_for_testing_and_the_fractions_divide_the_rest(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(100)))
    corpus = corpora.get(f"file:path={path},test_bytes=10,train_fraction=0.4,validation_fraction=0.2")
    assert [bytes(corpus.data(s))[0] for s in ("train", "validation", "test")] == [0, 60, 90]
    assert [corpus.data(s).size for s in ("train", "validation", "test")] == [60, 30, 10]
    with pytest.raises(CorpusError, match="10 of them in its test split; a window of 64 is longer; give --context 8"):
        corpus.windows("test", 1, 64)
    everything = corpora.get(f"file:path={path},test_bytes=100")
    assert everything.data("test").size == 100 and everything.data("train").size == 0
    assert "test_bytes = 101 does not fit" in message(f"file:path={path},test_bytes=101")


def test_a_file_without_test_bytes_is_split_as_ever(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(100))
    assert [corpora.get(str(path)).data(s).size for s in ("train", "validation", "test")] == [80, 10, 10]


def test_separate_tests_on_all_of_the_second(tmp_path):
    first, second = tmp_path / "valid.txt", tmp_path / "test.jsonl"
    first.write_bytes(b"abcdefghi")
    second.write_text(json.dumps({"q": "Q?", "a": "A."}))
    corpus = corpora.get(f"separate:train=(file:{first}),test=(jsonl:path={second},fields=(q,a))")
    assert bytes(corpus.data("test")) == b"Q?\nA.\n" and corpus.label == "test.jsonl"
    assert (bytes(corpus.data("train")), bytes(corpus.data("validation"))) == (b"abcdefgh", b"i")
    assert corpora.revive(corpus.to_dict()) == corpus
    assert "no file or folder" in message(f"separate:train=(file:{first}x),test=(file:{second})")
