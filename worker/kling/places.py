"""Which of a task's outputs is which, when it is asked for again: another answer need not keep their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from worker.kling.answers import Output


def in_places(outputs: Sequence[Output], known: Mapping[tuple[str, str], int]) -> tuple[Output, ...]:
    """`outputs`, those at the places that are `known` by kind and id, and the others in their order between them.

    Outputs of a kind whose ids don't tell them apart stay as they are.
    """
    moved = {
        kind: _moves([one for one in outputs if one.kind == kind], known) for kind in {one.kind for one in outputs}
    }
    return tuple(replace(one, ordinal=moved[one.kind].get(one.ordinal, one.ordinal)) for one in outputs)


def _moves(outputs: Iterable[Output], known: Mapping[tuple[str, str], int]) -> dict[int, int]:
    """Where each place of one kind is to be. Variants of one output share its id and its place."""
    ids: dict[int, tuple[str, str]] = {}
    for one in outputs:
        if one.id is None or ids.setdefault(one.ordinal, (one.kind, one.id)) != (one.kind, one.id):
            return {}
    if len(set(ids.values())) < len(ids):
        return {}
    moves = {place: known[named] for place, named in ids.items() if named in known}
    free = sorted(set(ids) - set(moves.values()))
    return moves | dict(zip(sorted(set(ids) - set(moves)), free, strict=False))
