"""The document's descriptions as HTML: of Markdown they use paragraphs, lists, `code` and **emphasis**."""

from __future__ import annotations

import re
from itertools import groupby

from markupsafe import Markup

_MARKED = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*")
_ITEM = "* "


def prose(text: str) -> Markup:
    """`text` in blocks. What is HTML in it is shown, not obeyed."""
    return Markup("\n").join(_block(kind, list(lines)) for kind, lines in groupby(text.splitlines(), _kind) if kind)


def inline(text: str) -> Markup:
    """A piece of a line."""
    shown, end = Markup(), 0
    for found in _MARKED.finditer(text):
        code, strong = found.groups()
        marked = Markup("<code>{}</code>").format(code) if code else Markup("<strong>{}</strong>").format(strong)
        shown, end = shown + text[end : found.start()] + marked, found.end()
    return shown + text[end:]


def _kind(line: str) -> str:
    """What a line is part of; empty where it only parts others."""
    return "list" if line.startswith(_ITEM) else "paragraph" if line.strip() else ""


def _block(kind: str, lines: list[str]) -> Markup:
    if kind == "paragraph":
        return Markup("<p>{}</p>").format(inline(" ".join(line.strip() for line in lines)))
    items = Markup().join(Markup("<li>{}</li>").format(inline(line.removeprefix(_ITEM))) for line in lines)
    return Markup("<ul>{}</ul>").format(items)
