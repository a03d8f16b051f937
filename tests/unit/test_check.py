"""`reelhook check`, run as a command."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from webhook.check import rules_markdown
from webhook.cli import main
from worker.kling.evaluate import RULES
from worker.kling.sources import SOURCES

GOOD = {"prompt": "a cat", "aspect_ratio": "16:9"}


def check(*words: str, body: object = GOOD) -> Result:
    """Run the command with `body` on standard input."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CliRunner().invoke(main, ["check", *words], input=text)


def test_an_accepted_request_exits_0_with_its_price() -> None:
    """No server, no settings, no credentials; the family's last part is enough."""
    result = check("omni-video")

    assert 0 == result.exit_code
    assert "accepted" in result.output
    assert "4.0 units, list price 0.56 USD" in result.output


def test_a_refused_request_exits_1_and_names_every_fault() -> None:
    """Each wrong field with what is allowed, the rule and its source."""
    result = check("videos/omni-video", body={"aspect_ratio": "4:3", "mode": "best"})

    assert 1 == result.exit_code
    assert [] == [
        word for word in ("prompt", "aspect_ratio", "mode", "R021", "R051", "R055") if word not in result.output
    ]


def test_the_sources_of_what_is_wrong_are_told_apart() -> None:
    """Below the faults stands what the short names in them mean: those that occur, and no others."""
    shown = check("omni-video", body={"aspect_ratio": "16:9"}).output.partition("sources\n")[2]

    assert ["DOC", "A", "B", "S1"] == [line.split()[0] for line in shown.splitlines()]
    assert "sources" not in check("omni-video").output


def test_every_short_name_of_a_source_is_explained() -> None:
    """Each that a rule cites has a meaning, each that has one is cited, and the list of rules ends with them."""
    short = re.compile(r"\b(?:[A-Z]{1,3}|[A-Z][a-z]{1,2}|[A-Z]\d[a-z]?|map|seeds)\b")
    named = {name for rule in RULES for name in short.findall(rule.source)}

    assert named == set(SOURCES)
    assert [*SOURCES.values()] == [
        line.split("|")[2].strip() for line in rules_markdown().splitlines()[-len(SOURCES) :]
    ]
    assert SOURCES["Cfx"] in check("--rules").output


def test_what_stands_on_earlier_jobs_is_checked_too() -> None:
    """Without asking whether they exist: a reference that can't be, or can't stand there, is a fault."""
    body = {"prompt": "x", "image": "reelhook://cat/files/0", "after": ["dog"]}

    assert 0 == check("videos/image2video", "--strict", body=body).exit_code
    for wrong in ({"image": "reelhook://cat/7"}, {"model_name": "reelhook://cat/files/0"}, {"after": 7}):
        result = check("videos/image2video", body={**body, **wrong})
        assert 1 == result.exit_code
        assert next(iter(wrong)) in result.output


def test_json_is_for_other_programs() -> None:
    """Verdict, faults with all their parts, warnings, units."""
    shown = json.loads(check("omni-video", "--json", body={**GOOD, "mode": "best", "duration": 5}).output)

    assert "reject" == shown["verdict"]
    assert [{"field", "rule", "found", "allowed", "source"}] == [set(fault) for fault in shown["faults"]]
    assert ["R008"] == [warning["rule"] for warning in shown["warnings"]]
    assert {"units": "4.0"}.items() <= json.loads(check("omni-video", "--json").output).items()


@pytest.mark.parametrize(
    "words",
    [["videos/nothing"], ["image2video"], ["omni-video", "--gateway", "x"], ["omni-video", "--edition", "x"], []],
)
def test_a_wrong_question_exits_2_and_lists_what_there_is(words: list[str]) -> None:
    """An unknown or ambiguous family, gateway or edition, or none at all."""
    result = check(*words, body=b"{")

    assert 2 == result.exit_code
    assert "Usage" in result.output


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    """Bytes that are no JSON object: exit 1 with what was found."""
    assert 1 == check("omni-video", body=body).exit_code


def test_strict_gateway_and_edition_change_the_verdict() -> None:
    """What is tolerated, what a gateway's document says, what an edition knows."""
    number, omni, four_k = {**GOOD, "duration": 5}, {**GOOD, "model_name": "kling-v3-omni"}, {"mode": "4k"}

    assert [0, 1] == [check("omni-video", *more, body=number).exit_code for more in ([], ["--strict"])]
    assert [0, 1] == [check("omni-video", *more, body=omni).exit_code for more in ([], ["--gateway", "hingnet"])]
    editions: list[list[str]] = [[], ["--edition", "2026-02"]]
    assert [0, 1] == [check("omni-video", *more, body={**omni, **four_k}).exit_code for more in editions]


def test_a_file_can_be_named_and_its_pictures_are_looked_at(tmp_path: Path) -> None:
    """The request may lie in a file; a base64 picture in it is judged by its own sides."""
    out = BytesIO()
    Image.new("RGB", (100, 100)).save(out, "PNG")
    body: dict[str, Any] = {"image": base64.b64encode(out.getvalue()).decode(), "prompt": "x"}
    path = tmp_path / "request.json"
    path.write_text(json.dumps(body))
    result = check("videos/image2video", str(path))

    assert 1 == result.exit_code
    assert "at least 300 px" in result.output


def test_every_rule_is_on_the_page() -> None:
    """`--rules` lists each rule with its source, for a terminal and as a page."""
    page = rules_markdown()

    assert [] == [rule.id for rule in RULES if f"| {rule.id} |" not in page]
    assert 0 == check("--rules").exit_code
    assert check("--rules", "--markdown").output.strip() == page
