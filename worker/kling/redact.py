"""Showing what was found without showing what must not be seen: credentials, query strings, whole files."""

from __future__ import annotations

import re

_SHOWN = 60
_CLEANED = 500
_URL_SECRETS = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,15}://)(?:[^\s/@?#\"'<>]*@)?(?P<rest>[^\s?#\"'<>]*)[^\s\"'<>]*"
)
_BEARER = re.compile(r"(?i)\b(bearer|token|key|signature)([\s:=]+)[\w.~+/=-]{12,}")
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{120,}")


def _url(match: re.Match[str]) -> str:
    whole, shown = match.group(0), match["scheme"] + match["rest"]
    return shown if whole.endswith(shown) and "?" not in whole and "#" not in whole else f"{shown}?…"


def clean(text: str) -> str:
    """A stranger's text, fit for logs: no query strings, user info, bearer tokens or base64; 500 characters."""
    text = _URL_SECRETS.sub(_url, text[: _CLEANED * 4])
    text = _BEARER.sub(r"\1\2…", text)
    return _LONG_RUN.sub("…", text)[:_CLEANED]


def shorten(value: object) -> str:
    """A JSON value as one short phrase: `"standard"`, `7`, `an object`, `a list of 8`."""
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 128 else "an enormous number"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, float):
        return repr(value)
    return "nothing" if value is None else "an object"


def _quote(text: str) -> str:
    printable = text[: _SHOWN * 4].encode("utf-8", "backslashreplace").decode("utf-8")
    head = clean(printable)
    if len(text) <= _SHOWN and len(head) <= _SHOWN:
        return f'"{head}"'
    return f'"{head[: _SHOWN // 2]}…" ({len(text)} characters)'
