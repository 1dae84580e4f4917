"""Bytes of a file as text that does no harm on a terminal or a page, and from which the bytes can be told."""

from __future__ import annotations

import unicodedata

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def pieces(data: bytes) -> list[tuple[str, int]]:
    """(text, number of bytes) for every character of valid UTF-8, and for every byte that is none: ``\\xff``.

    Characters that do not print (controls, marks of direction, other spaces) and the backslash are written as escapes.

    >>> pieces("é\\n".encode() + bytes([27, 255]))
    [('é', 2), ('\\\\n', 1), ('\\\\x1b', 1), ('\\\\xff', 1)]
    """
    return [_piece(character) for character in data.decode("utf-8", errors="surrogateescape")]


def visible(data: bytes) -> str:
    """The bytes as one line of text.

    >>> visible(b"a\\tb")
    'a\\\\tb'
    """
    return "".join(text for text, _ in pieces(data))


def visible_name(name: str) -> str:
    """A file's name as one line: the system may have given characters that move the cursor, or bytes that are no text."""
    return visible(name.encode("utf-8", errors="surrogateescape")).replace("\\\\", "\\")


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: 2 for wide characters, 0 for marks that go on top of one.

    >>> columns("aé漢")
    4
    """
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _piece(character: str) -> tuple[str, int]:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as surrogateescape hands it on
        return f"\\x{code - 0xDC00:02x}", 1
    size = len(character.encode())
    if character in _NAMED:
        return _NAMED[character], size
    if character.isprintable():
        return character, size
    form = "\\x{:02x}" if code < 0x80 else "\\u{:04x}" if code < 0x10000 else "\\U{:08x}"
    return form.format(code), size
