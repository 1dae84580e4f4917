"""A short document, written once, as Markdown for a folder of docs and as one self-contained HTML page.

Text may hold ``**bold**``, ``` `code` ``` and ``[words](address)``; nothing else is markup.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape


@dataclass(frozen=True)
class Heading:
    """The title of a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells below a head, the caption above; all columns but the first ``texts`` hold numbers and are right-aligned."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    texts: int = 1


@dataclass(frozen=True)
class Picture:
    """An SVG that lies beside the Markdown under this file name, and inside the HTML."""

    file: str
    svg: bytes
    title: str
    caption: str = ""


Block = str | Heading | Table | Picture


def pages(name: str, title: str, blocks: Sequence[Block]) -> dict[str, bytes]:
    """File name -> content: NAME.md, the pictures that lie beside it, and report.html."""
    pictures = {block.file: block.svg for block in blocks if isinstance(block, Picture)}
    return {**pictures, f"{name}.md": markdown(title, blocks).encode(), "report.html": page(title, blocks).encode()}


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """The document as Markdown, as GitHub reads it."""
    return "\n".join([f"# {title}", "", *(_as_markdown(block) for block in blocks)])


def _as_markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}\n"
        case Table(head, rows, caption, texts):
            rules = ["---" if n < texts else "---:" for n in range(len(head))]
            lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in (head, rules, *rows)]
            return (f"{caption}\n\n" if caption else "") + "".join(f"| {line} |\n" for line in lines)
        case Picture(file, _, name, caption):
            return f"![{name}]({file})\n" + (f"\n{caption}\n" if caption else "")
    return f"{block}\n"


def page(title: str, blocks: Sequence[Block]) -> str:
    """The document as one HTML page that needs nothing else."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [_for_template(block) for block in blocks]
    return environment.get_template("document.html.j2").render(title=title, blocks=shown)


def _for_template(block: Block) -> dict[str, Any]:
    match block:
        case Heading(text):
            return {"kind": "heading", "text": _inline(text)}
        case Table(head, rows, caption, texts):
            cells = [[_inline(cell) for cell in row] for row in rows]
            heads = [_inline(cell) for cell in head]
            return {"kind": "table", "caption": _inline(caption), "head": heads, "rows": cells, "texts": texts}
        case Picture(_, svg, name, caption):
            source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
            return {"kind": "picture", "title": name, "source": source, "caption": _inline(caption)}
    return {"kind": "text", "text": _inline(block)}


def _inline(text: str) -> Markup:
    """The text for HTML: everything escaped but what the marks above become.

    >>> str(_inline("a < **b** and `c`"))
    'a &lt; <b>b</b> and <code>c</code>'
    """
    marked = str(escape(text))
    for pattern, html in (
        (r"\*\*(.+?)\*\*", r"<b>\1</b>"),
        (r"`(.+?)`", r"<code>\1</code>"),
        (r"\[([^]]+)\]\((https://[^)]+)\)", r'<a href="\2">\1</a>'),
    ):
        marked = re.sub(pattern, html, marked)
    return Markup(marked)
