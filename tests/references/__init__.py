"""One file per source: NAME.py holds what the source of that name must equal, in plain Python, and a checker of its rows.

Each file has

    GOLDEN = (version, digest)                            of one block of SPECS[0]; the failing test shows the digest
    SPECS = [spec, ...]                                   worth comparing: the default first, presets, corners
    def reference(source, draw, rows, length) -> Block    the same block, slowly, from the same random numbers
    def validate(source, block) -> None                   asserts what rows must be, by other means than generating them

``tests/test_catalogue.py`` runs them over the whole catalogue; ``uprior bench`` times ``reference`` for its ratio.
"""
