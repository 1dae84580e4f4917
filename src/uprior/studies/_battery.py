"""The evaluation sets of zero-shot prediction: eleven real ones, nine synthetic ones, and six to decide on.

    real_sets("data")         # {"german": "file:path=data/text_de_frauenfrage.txt,test_bytes=221413", ...}

The texts are corpora: ``corpora.get(text)``, ``evaluate(model, text)``, ``pretrain(..., evaluate_on=[text])``. Nothing of REAL or
SYNTHETIC may be looked at while anything is tuned; that is what DEVELOPMENT is for, which is never reported.

Baselines are tuned on what comes before the test split, never on it: the file's own earlier part, or the published training
or validation file where the whole test file is tested on (``corpora.Separate``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uprior.errors import CorpusError, SpecError, unknown_name


@dataclass(frozen=True)
class EvaluationSet:
    """One set: its name, what it holds, the files it needs, the corpus as text with ``{0}``, ``{1}`` for them.

    ``published`` holds figures of Bloem 2025 (arXiv 2506.20057) in bits at the last byte of windows of 512, where his data are
    these very bytes or follow this very recipe: "markov" in the context, models of 28 M and 428 M parameters.
    """

    name: str
    what: str
    text: str
    files: tuple[str, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)

    def corpus(self, folder: str | Path = "") -> str:
        """The corpus as text, with the files in this folder."""
        return self.text.format(*(Path(folder) / name for name in self.files))


def _file(name: str, what: str, file: str, kind: str = "file") -> EvaluationSet:
    return EvaluationSet(name, what, f"{kind}:{{0}}", (file,))


_GSM8K = "(jsonl:path={{{}}},fields=(question,answer))"

REAL = (
    EvaluationSet(
        "german",
        "German prose, 1901",
        # His last 218,419 characters, counted with the byte order mark that his file begins with.
        "file:path={0},test_bytes=221413",
        ("text_de_frauenfrage.txt",),
        {"markov": 4.480, "28 M": 4.06, "428 M": 3.89},
    ),
    EvaluationSet(
        "javascript",
        "minified JavaScript",
        "file:path={0},test_bytes=69703",
        ("code_js_d3_min.txt",),
        {"markov": 4.492, "28 M": 3.70, "428 M": 3.44},
    ),
    EvaluationSet(
        "wikitext2",
        "English Wikipedia, WikiText-2 test",
        "separate:train=(file:{0}),test=(file:{1})",
        ("text_en_wikitext2_valid.txt", "text_en_wikitext2_test.txt"),
    ),
    _file("c", "C, the Linux kernel", "code_c_linux61.txt"),
    _file("python", "Python, its standard library", "code_python_stdlib311.txt"),
    EvaluationSet(
        "gsm8k",
        "word problems with answers, GSM8K test",
        f"separate:train={_GSM8K.format(0)},test={_GSM8K.format(1)}",
        ("math_gsm8k_train.jsonl", "math_gsm8k_test.jsonl"),
    ),
    _file("hindi", "Hindi Wikipedia, questions", "text_hi_xquad.txt"),
    _file("arabic", "Arabic Wikipedia, questions", "text_ar_xquad.txt"),
    _file("protein", "proteins of a bacterium, amino acids", "bio_protein_UP000184216.fasta", "fasta"),
    _file("sensors", "transformer temperatures as text", "ts_etth1.csv"),
    _file("images", "MNIST digits, bytes of pixels", "img_mnist_t10k-images-idx3-ubyte.gz", "idx"),
)

# The tables behind toy, toy2 and aut are ours (see corpora.Synthetic), so published figures do not carry over to those.
SYNTHETIC = tuple(
    EvaluationSet(name, what, f"synthetic:{name}", published=published)
    for name, what, published in (
        ("champ", "numbers in hexadecimal, counted up", {"markov": 2.425}),
        ("dyck", "brackets", {"markov": 1.008}),
        ("ndfa", "repeated words", {"markov": 0.372}),
        ("toy", "sentences of a grammar", {}),
        ("toy2", "arithmetic expressions", {}),
        ("bits", "five-bit words and their logic", {"markov": 1.188}),
        ("bitsrep", "three bits, three times", {"markov": 0.692}),
        ("bitsflip", "six bits and their mirror", {"markov": 1.007, "28 M": 1.13, "428 M": 1.09}),
        ("aut", "walks on an automaton", {}),
    )
)

DEVELOPMENT = (
    _file("moby_dick", "English prose, 1851", "text_en_mobydick.txt"),
    _file("javascript_packages", "JavaScript, not minified", "code_js_npm.txt"),
    _file("spanish", "Spanish Wikipedia, questions", "text_es_xquad.txt"),
    _file("russian", "Russian Wikipedia, questions", "text_ru_xquad.txt"),
    _file("sunspots", "monthly numbers as text", "ts_r_sunspot_month.csv"),
    _file("digits", "digits of 8 x 8 pixels as text", "img_digits8x8.csv"),
)


def real_sets(folder: str | Path, names: Sequence[str] = ()) -> dict[str, str]:
    """name -> corpus as text, of the real sets (or those ``names``) whose files lie in ``folder``.

    What is missing is told on stderr in one line. Raises CorpusError when nothing is left, UnknownNameError, SpecError.
    """
    return present(REAL, folder, names)


def development_sets(folder: str | Path, names: Sequence[str] = ()) -> dict[str, str]:
    """The same, of the six sets on which every tuning decision is made."""
    return present(DEVELOPMENT, folder, names)


def present(sets: Iterable[EvaluationSet], folder: str | Path, names: Sequence[str] = ()) -> dict[str, str]:
    """name -> corpus as text of the sets whose files are there; see ``real_sets``."""
    if any(sign in str(folder) for sign in "(),="):
        raise SpecError(f"'{folder}': a folder of evaluation sets must have no ( ) , or = in its path; rename it")
    by_name = {one.name: one for one in sets}
    for name in names:
        if name not in by_name:
            raise unknown_name("evaluation set", name, by_name)
    chosen = [one for one in by_name.values() if not names or one.name in names]
    missing = {file: one.name for one in chosen for file in one.files if not (Path(folder) / file).is_file()}
    left = {one.name: one.corpus(folder) for one in chosen if one.name not in missing.values()}
    if missing:
        absent = ", ".join(f"{file} ({name})" for file, name in missing.items())
        if not left:
            raise CorpusError(f"'{folder}' lacks all of {absent}; give --data FOLDER, where these files are")
        sys.stderr.write(f"'{folder}' lacks {absent}; going on with {', '.join(left)}\n")
    return left
