"""The description served: as a document for programs, and as a page for people."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, url_for
from werkzeug.wrappers import Response as Moved

from webhook.documented import Operation, documented
from webhook.openapi.document import document
from webhook.openapi.page import groups
from webhook.openapi.prose import inline, prose

api = Blueprint("description", __name__, template_folder="templates")

_KEPT = "reelhook-openapi"
#: The page has no script and fetches nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@api.get("/openapi.json")
@documented(Operation("This description, as OpenAPI 3.1", "service", open=True, free=True))
def as_document() -> Response:
    """For programs: generators of clients, gateways, test tools."""
    return jsonify(_document())


@api.get("/")
@documented(Operation("The way to the page", "", open=True, free=True))
def front() -> Moved:
    """Where a person comes who opens the door's address."""
    return redirect(url_for(".as_page"))


@api.get("/docs")
@documented(Operation("This description, as a page", "service", open=True, free=True, media="text/html"))
def as_page() -> Response:
    """For people; it needs no script."""
    words = {"prose": prose, "inline": inline}
    answer = Response(render_template("docs.html", about=_document(), groups=groups(_document()), **words))
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer


def _document() -> dict[str, Any]:
    """Made when somebody first asks: it costs more than all the rest of a start."""
    kept = current_app.extensions
    if _KEPT not in kept:
        kept[_KEPT] = document(current_app)
    return cast("dict[str, Any]", kept[_KEPT])
