"""A look at what a source writes: a few numbers, and rows as coloured text, as HTML, or as a picture."""

from __future__ import annotations

import base64
import colorsys
import dataclasses
import functools
import html
import os
import shutil
import struct
import sys
import time
import typing
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Source
from uprior.sources._complexity import block_entropy_bits, deflate_ratio, lempel_ziv_bits
from uprior.spec import Spec

Tokens = NDArray[np.unsignedinteger[Any]]

# One glyph per token: ASCII without space, quotes and HTML's special characters, then Latin letters. Larger alphabets show
# as blocks.
_GLYPHS = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    + "!#$%()*+,-./:;=?@[]^_{|}~"
    + "".join(chr(code) for code in range(0xC0, 0x180) if chr(code).isalpha())
)[:256]
_COLOURS = 256


def look(source: Source, rows: int, length: int, seed: int) -> dict[str, Any]:
    """What a first look shows, as plain JSON values. Measures of rows are means over rows, each row by itself.

    source                the spec in one line
    rows                  the rows themselves, lists of token ids
    alphabet_size         number of symbols
    entropy_bits          empirical entropy of single tokens, bits per token
    block_entropies_bits  the same of 1, 2, 3 and 4 neighbouring tokens, bits per block
    deflate_ratio         raw deflate's size over the row's own (one byte per token up to 256 symbols)
    lempel_ziv_bits       Lempel-Ziv complexity (1976), bits per token
    floor_bits            mean floor where known, bits per token; None where the source knows none
    scored_share          share of the tokens that count in the loss
    machines              number of machines that wrote the rows
    info                  name -> [least, greatest] of what the source records per row
    """
    block = source.block(seed, 0, rows=rows, length=max(length, source.shortest_row))
    floor = block.floor_nats
    known = None if floor is None or np.isnan(floor).all() else float(np.nanmean(floor) / np.log(2))
    sizes = [size for size in (1, 2, 3, 4) if size <= block.tokens.shape[1]]
    blocks = [float(np.mean([block_entropy_bits(row, size) for row in block.tokens])) for size in sizes]
    return {
        "source": describe(source),
        "rows": block.tokens.tolist(),
        "alphabet_size": source.alphabet_size,
        "entropy_bits": blocks[0],
        "block_entropies_bits": blocks,
        "deflate_ratio": float(np.mean([deflate_ratio(row, source.alphabet_size) for row in block.tokens])),
        "lempel_ziv_bits": float(np.mean([lempel_ziv_bits(row) for row in block.tokens])),
        "floor_bits": known,
        "scored_share": 1.0 if block.scored is None else float(block.scored.mean()),
        "machines": len(np.unique(block.machine)),
        "info": {name: _range(values) for name, values in block.info.items()},
    }


def _range(values: NDArray[Any]) -> list[float] | None:
    """[least, greatest] of what is known (an entry that a row's source does not record is NaN); None if nothing is."""
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return [known.min().item(), known.max().item()] if len(known) else None


def render(source: Source, *, rows: int, length: int, seed: int) -> None:
    """Write a look to standard output: the rows, as wide as the terminal where there is one, and the numbers below them."""
    seen = look(source, rows, length, seed)
    length = len(seen["rows"][0])
    on_terminal = sys.stdout.isatty()
    width = min(length, shutil.get_terminal_size().columns) if on_terminal else length
    tokens: Tokens = np.array(seen["rows"], dtype=np.uint32)[:, :width]
    floor = "not known" if seen["floor_bits"] is None else f"{seen['floor_bits']:.3f} bits per token"
    lines = [seen["source"], *terminal_lines(tokens, source.alphabet_size)]
    if width < length:
        lines.append(f"(the first {width} of {length} tokens; a wider terminal shows more)")
    facts = {
        "alphabet": f"{seen['alphabet_size']} symbols, {np.log2(seen['alphabet_size']):.2f} bits",
        "entropy": f"{seen['entropy_bits']:.3f} bits per token",
        "block entropies": ", ".join(f"{bits:.3f}" for bits in seen["block_entropies_bits"])
        + f" bits per block of 1 to {len(seen['block_entropies_bits'])}",
        "deflate": f"to {seen['deflate_ratio']:.1%} of the row's bytes",
        "Lempel-Ziv": f"{seen['lempel_ziv_bits']:.3f} bits per token",
        "floor": floor,
        "scored": f"{seen['scored_share']:.0%} of the tokens",
        "machines": f"{seen['machines']} in {rows} rows",
        "speed": f"{_tokens_per_second(source, length) / 1e6:.2f} M tokens per second",
    } | {name: f"{ends[0]:g} to {ends[1]:g}" for name, ends in seen["info"].items() if ends is not None}
    widest = max(map(len, facts))
    lines += [f"{name:{widest}}  {text}" for name, text in facts.items()]
    sys.stdout.write("\n".join(lines) + "\n")


def _tokens_per_second(source: Source, length: int) -> float:
    """A first impression from one block, after one that starts the source; ``uprior bench`` measures."""
    source.block(0, 1, rows=32, length=length)
    started = time.perf_counter()
    source.block(0, 2, rows=32, length=length)
    return 32 * length / (time.perf_counter() - started)


def describe(spec: Spec) -> str:
    """The spec in one line, as the command line reads it: the name and the fields that differ from the defaults.

    >>> from uprior.sources import Pointwise
    >>> describe(Pointwise(max_symbols=4))
    'pointwise:max_symbols=4'
    """
    changed = [
        f"{field.name}={_value_text(getattr(spec, field.name))}"
        for field in dataclasses.fields(typing.cast(Any, spec))
        if getattr(spec, field.name) != field.default
    ]
    return spec.name + (":" + ",".join(changed) if changed else "")


def _value_text(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(map(_value_text, value)) + ")"
    if isinstance(value, Spec):
        text = describe(value)
        return f"({text})" if ":" in text else text
    return str(value).lower() if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------ rows to look at


def glyph(token: int, alphabet_size: int) -> str:
    """One printable character for a token; a block where the alphabet has more symbols than we have characters."""
    return _GLYPHS[token] if alphabet_size <= len(_GLYPHS) else "█"


@functools.cache
def palette() -> tuple[tuple[int, int, int], ...]:
    """256 fixed colours; token t has number t mod 256. Neighbouring tokens differ clearly in hue."""
    golden = (
        0.6180339887498949  # steps of the golden ratio around the circle of hues never come close to each other soon
    )
    colours = []
    for t in range(_COLOURS):
        lightness = (0.42, 0.62, 0.80)[t % 3]
        red, green, blue = colorsys.hls_to_rgb((0.58 + golden * t) % 1.0, lightness, (0.72, 0.58)[t % 2])
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colours)


def terminal_lines(tokens: Tokens, alphabet_size: int, *, colour: bool | None = None) -> list[str]:
    """One line per row: a coloured cell per token, or plain characters.

    ``colour`` None asks standard output: colours on a terminal, none in a file or a pipe, none where NO_COLOR is set. Without
    colour a large alphabet shows each token as one of 256 characters, by its remainder.
    """
    if colour is None:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if not colour:
        return ["".join(_GLYPHS[token % len(_GLYPHS)] for token in row) for row in tokens.tolist()]
    return ["".join(_ansi_cell(token, alphabet_size) for token in row) + "\x1b[0m" for row in tokens.tolist()]


@functools.cache
def _ansi_cell(token: int, alphabet_size: int) -> str:
    colour = palette()[token % _COLOURS]
    red, green, blue = colour
    if alphabet_size > len(_GLYPHS):
        return f"\x1b[38;2;{red};{green};{blue}m█"
    ink = "30" if _is_light(colour) else "97"
    return f"\x1b[48;2;{red};{green};{blue};{ink}m{glyph(token, alphabet_size)}"


def html_lines(tokens: Tokens, alphabet_size: int) -> str:
    """The same as HTML: one <div> per row, one <span> per token, every character escaped."""
    rows = ["".join(_html_cell(token, alphabet_size) for token in row) for row in tokens.tolist()]
    return "".join(f"<div>{row}</div>" for row in rows)


@functools.cache
def _html_cell(token: int, alphabet_size: int) -> str:
    colour = palette()[token % _COLOURS]
    ink = "#111" if _is_light(colour) else "#fff"
    style = f"background:#{bytes(colour).hex()};color:{ink}"
    return f'<span style="{style}">{html.escape(glyph(token, alphabet_size))}</span>'


def _is_light(colour: tuple[int, int, int]) -> bool:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def png(picture: NDArray[np.integer[Any]], scale: int = 1) -> bytes:
    """Rows, or a picture, as an 8-bit palette PNG: ``scale`` x ``scale`` pixels per token; negative is white."""
    blank = picture < 0
    colours = palette()
    shown = (picture % _COLOURS).astype(np.uint8)
    if blank.any():
        colours = ((255, 255, 255), *colours[: _COLOURS - 1])
        shown = np.where(blank, 0, 1 + picture % (_COLOURS - 1)).astype(np.uint8)
    shown = shown.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = shown.shape
    pixels = np.zeros((height, width + 1), dtype=np.uint8)  # each line begins with filter 0
    pixels[:, 1:] = shown
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    table = b"".join(map(bytes, colours))
    chunks = ((b"IHDR", header), (b"PLTE", table), (b"IDAT", zlib.compress(pixels.tobytes(), 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    """[height, width] palette entries of a PNG that ``png`` wrote: pictures are compared by them, not by their bytes,
    which depend on the zlib library."""
    width, height = struct.unpack(">II", data[16:24])
    at = data.index(b"IDAT")
    raw = zlib.decompress(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")])
    return np.frombuffer(raw, dtype=np.uint8).reshape(height, width + 1)[:, 1:]


def png_data_url(tokens: Tokens) -> str:
    """The picture as a data: address for an <img>."""
    return "data:image/png;base64," + base64.b64encode(png(tokens)).decode("ascii")
