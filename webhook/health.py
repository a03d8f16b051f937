"""Is the process alive, and can it do its work? The broker is no part of either answer: the door works without it."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from webhook.documented import Operation, documented
from webhook.shapes import Ready, Word
from webhook.wiring import door
from worker.store.buckets import Away, Buckets
from worker.store.steps import is_ready

api = Blueprint("health", __name__)


@api.get("/healthz")
@documented(Operation("Is the process alive?", "service", Word, open=True, free=True))
def alive() -> ResponseReturnValue:
    """The process answers."""
    return jsonify({"status": "ok"})


@api.get("/readyz")
@documented(Operation("Can it do its work?", "service", Ready, open=True, free=True, also={503: Word}))
def ready() -> ResponseReturnValue:
    """The database answers, and its tables are those that this code knows, or a later version's. `notes`: what a person
    should look at all the same, such as a bucket that takes no files: jobs wait for it, the door works. Anybody may
    ask, so of what the store said there is the code only: its text may name accounts.
    """
    try:
        with door().engine.connect() as connection:
            connection.execute(text("select 1"))
        enough = is_ready(door().engine)
        notes = [_note(one) for one in Buckets(door().engine).away()] if enough else []
    except SQLAlchemyError:
        return jsonify({"status": "no database"}), 503
    if not enough:
        return jsonify({"status": "migrations are missing"}), 503
    return jsonify({"status": "ready", "notes": notes})


def _note(away: Away) -> str:
    bucket = "a key's bucket" if away.name else "the bucket"
    said = f": {away.code}" if away.code else ""
    return f"{bucket} takes no files since {away.since.isoformat(timespec='seconds')}{said}"
