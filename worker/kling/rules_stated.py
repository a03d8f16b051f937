"""Rules that no look at a body can decide: somebody else keeps them, and each row says who."""

from __future__ import annotations

from worker.kling.catalog import FAMILIES
from worker.kling.rule import Rule

_EVERY = tuple(FAMILIES)

STATED = (
    Rule(
        "R001",
        _EVERY,
        "Authorization is there (else 401/1001), known (1002, 1000), already valid (1003) and not expired (1004); "
        "kept by the door, and towards Kling by the token.",
        "DOC Ce",
        None,
    ),
    Rule(
        "R002",
        _EVERY,
        "A wrong verb on a known path is 404/1202, an unknown path or task 404/1203; kept by the door.",
        "DOC Ce",
        None,
    ),
    Rule(
        "R006",
        _EVERY,
        "An external_task_id that is not empty is used once in an account; kept by the rows of jobs.",
        "DOC; INF for the code 1201",
        None,
    ),
    Rule(
        "R007",
        _EVERY,
        "An empty string, an empty list and null mean that a field is absent; kept by every other rule.",
        "DOC by example (A, B)",
        None,
    ),
    Rule("R010", _EVERY, "pageNum is 1 to 1000, pageSize 1 to 500; kept by the door.", "DOC A, B", None),
    Rule(
        "R011",
        _EVERY,
        "watermark_info is an object whose enabled is true or false; kept by the type of the field.",
        "DOC by sample (A, S1)",
        None,
    ),
)
