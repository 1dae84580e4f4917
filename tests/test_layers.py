"""The house keeps its order: a module imports lower layers and its own folder, never up, never a sibling room."""

import ast
from pathlib import Path

import pytest

import uprior

ROOT = Path(uprior.__file__).parent
LAYERS = {
    0: ("rng", "spec", "types", "errors", "files", "host", "progress"),
    1: ("sources", "corpora", "models"),
    2: ("data",),
    3: ("train", "transfer", "evals", "statistics", "fits", "environment"),
    4: ("experiment", "comparing", "warm_starts", "summary", "shipping", "report", "studies", "bench"),
    5: ("cli", "terminal", "__main__"),
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}
# The verbs and what they share are the one corridor of layer 4 and use each other; studies and the report build on them.
CORRIDOR = {"experiment", "comparing", "warm_starts", "summary"}
BESIDE = {("comparing", "report"), ("shipping", "studies"), ("cli", "terminal"), ("environment", "train")} | {
    (name, other) for name in ("studies", *CORRIDOR) for other in (*CORRIDOR, "report")
}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT)


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms of this package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "uprior" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("uprior."):
                yield name.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    own = room(path)
    for other in imported_rooms(path):
        # The ground floor is one room.
        allowed = other == own or LAYER[other] < LAYER[own] or LAYER[own] == 0 == LAYER[other] or (own, other) in BESIDE
        assert allowed, f"{path.relative_to(ROOT)} (layer {LAYER[own]}) imports {other} (layer {LAYER[other]})"


def test_every_file_has_a_layer_and_a_docstring():
    for path in MODULES:
        assert room(path) in LAYER, path
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_files_stay_short():
    long = {str(p.relative_to(ROOT)): n for p in MODULES if (n := len(p.read_text("utf-8").splitlines())) > 410}
    assert long == {}
