"""The API's description is true: what it says is all that the door ever answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from flask import Blueprint
from hypothesis import settings as examples
from openapi_spec_validator import validate
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

from infra.emulator import Config, Emulator
from infra.settings import load
from infra.stack.servers import Servers
from tests.conftest import emptied
from tests.house import OMNI, House, house
from webhook.app import create_app
from webhook.openapi.document import document
from worker.jobs.model import State
from worker.kling.catalog import FAMILIES
from worker.kling.evaluate import evaluate
from worker.kling.examples import EXAMPLES
from worker.kling.gateways import parse_account

#: Settings of a door that nobody opens: its routes are all that is asked of it.
CLOSED = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9",
    "S3_BUCKET": "bucket",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "secret",
    "KLING_URL": "kling://id:secret@127.0.0.1",
    "PUBLIC_URL": "http://127.0.0.1:9",
    "SECRET_KEY": "x" * 40,
}
DOCUMENT = document(create_app(load(CLOSED)))
OPERATIONS = [
    (path, verb, operation)
    for path, verbs in [*DOCUMENT["paths"].items(), *DOCUMENT["webhooks"].items()]
    for verb, operation in verbs.items()
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FUZZED = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=SchemathesisConfig.from_dict(
        {
            "generation": {"deterministic": True, "database": "none"},
            "phases": {"coverage": {"unexpected-methods": []}, "stateful": {"enabled": False}},
            # Every create goes the same way: the boundaries of each field of one family are enough here, those of all
            # are played against the emulator by test_both_sides.
            "operations": [
                {"include-operation-id-regex": "^create_(?!videos_omni)", "phases": {"coverage": {"enabled": False}}}
            ],
        }
    ),
)


@pytest.fixture(scope="module")
def home(servers: Servers, migrated: Engine) -> Iterator[House]:
    """A house in which something has happened: a job that was archived, one that waits."""
    with (
        Emulator(Config(speed=2000, log=False)) as emulator,
        house(servers.addresses, emptied(migrated), emulator, KLING_PACE="0.001") as opened,
    ):
        done = opened.submit(external_task_id="done")
        assert opened.until_end(done) == [State.ARCHIVED]
        opened.submit(external_task_id="waiting", after=done)
        yield opened


@pytest.fixture(scope="module")
def subscription(home: House) -> str:
    """The id of a subscription."""
    order = {"url": "https://127.0.0.1/hook"}
    made = requests.post(f"{home.url}/api/subscriptions", json=order, headers=home.headers, timeout=100)
    return str(made.json()["id"])


@FUZZED.parametrize()
@examples(max_examples=8)
def test_no_answer_is_undocumented_and_none_is_a_fault_of_ours(case: Case[Any], home: House, subscription: str) -> None:
    """Whatever a request looks like, its answer has a status, a type and a shape that the document names; never 5xx."""
    there = {"/api/jobs": "done", "/api/subscriptions": subscription, "/kling": "done"}
    for name, value in case.path_parameters.items():
        if len(str(value)) % 2 and case.method != "DELETE":  # half of them ask for what is there
            found = (one for prefix, one in there.items() if case.path.startswith(prefix))
            case.path_parameters[name] = next(found, value)
    case.call_and_validate(base_url=home.url, headers=home.headers, checks=CHECKS, timeout=30)


def test_the_document_is_valid_openapi() -> None:
    """The published validator of OpenAPI 3.1 has nothing to say."""
    validate(DOCUMENT)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_example_is_a_request_that_is_accepted(family: str) -> None:
    """What a reader copies from the page passes the strict reading of the rules."""
    verdict = evaluate(family, EXAMPLES[family], gateway=parse_account("kling://id:secret@").gateway, strict=True)
    assert verdict.faults == ()


def test_every_operation_reads_well() -> None:
    """Each has an id of its own, a summary without a full stop, a text, a tag, errors, described parameters."""
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    ids = [operation["operationId"] for *_, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for path, verb, operation in OPERATIONS:
        where = f"{verb} {path}"
        assert re.fullmatch(r"[a-z][A-Za-z0-9_]*", operation["operationId"]), where
        assert operation["summary"], where
        assert not operation["summary"].endswith("."), where
        assert operation["description"], where
        assert set(operation["tags"]) <= tags, where
        assert all(answer["description"] for answer in operation["responses"].values()), where
        assert all(part["description"] for part in operation.get("parameters", ())), where
        named = set(re.findall(r"{(\w+)}", path))
        assert {part["name"] for part in operation.get("parameters", ()) if part["in"] == "path"} == named, where


def test_no_schema_is_unused() -> None:
    """Whatever is described is asked for or answered somewhere."""
    text = str(DOCUMENT)
    unused = [name for name in DOCUMENT["components"]["schemas"] if f"schemas/{name}'" not in text]
    assert unused == []


def test_a_route_that_says_nothing_of_itself_is_found() -> None:
    """A route without a description stops the document from being made, and names itself."""
    app = create_app(load(CLOSED))
    new = Blueprint("new", __name__)
    new.get("/api/forgotten")(lambda: "")
    app.register_blueprint(new)
    with pytest.raises(LookupError, match="/api/forgotten"):
        document(app)


def test_what_a_life_answers_fits_the_document(home: House) -> None:
    """The answers about a job that has files and a chain have the shapes that are described, field for field."""
    for path, template in (
        (OMNI, "/kling/v1/videos/omni-video"),
        (f"{OMNI}/done", "/kling/v1/videos/omni-video/{id}"),
        ("/api/jobs/done", "/api/jobs/{name}"),
        ("/api/jobs/waiting", "/api/jobs/{name}"),
        ("/api/jobs/done/timeline", "/api/jobs/{name}/timeline"),
    ):
        answer = home.get(path)
        assert answer.status_code == 200
        FUZZED[template]["GET"].validate_response(answer)


def test_what_a_subscription_answers_fits_the_document(home: House) -> None:
    """From its creation to its end, each answer about a subscription has the shape that is described."""
    made = requests.post(
        f"{home.url}/api/subscriptions", json={"url": "https://127.0.0.1/hook"}, headers=home.headers, timeout=100
    )
    FUZZED["/api/subscriptions"]["POST"].validate_response(made)
    mine = f"/api/subscriptions/{made.json()['id']}"
    for verb, action, status in (
        ("GET", "", 200),
        ("PATCH", "", 200),
        ("POST", "/disable", 200),
        ("POST", "/enable", 200),
        ("POST", "/rotate", 200),
        ("POST", "/test", 202),
        ("DELETE", "", 204),
    ):
        answer = requests.request(verb, home.url + mine + action, headers=home.headers, timeout=100)
        assert answer.status_code == status
        FUZZED["/api/subscriptions/{name}" + action][verb].validate_response(answer)


def test_the_page_shows_every_operation_and_runs_nothing(home: House) -> None:
    """The page names each path, has no script, and its policy would let none run."""
    answer = requests.get(home.url + "/docs", timeout=100)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert [path for path in DOCUMENT["paths"] if path not in answer.text] == []
    assert "<script" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_page_is_html_throughout(home: House) -> None:
    """No mark of Markdown is left in it, and what a text says in angle brackets is shown."""
    page = requests.get(home.url + "/docs", timeout=100).text
    prose = re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", page, flags=re.DOTALL)
    assert re.findall(r"[^\n]*(?:`|\*\*|^\* )[^\n]*", prose, flags=re.MULTILINE) == []
    assert "<li><strong>R057</strong> A placeholder such as &lt;&lt;&lt;image_1&gt;&gt;&gt; " in page


def test_each_link_of_the_page_opens_what_it_names(home: House) -> None:
    """It leads to a place within the folded part, not to the part itself: so browsers unfold it."""
    page = requests.get(home.url + "/docs", timeout=100).text
    linked, named = set(re.findall(r'href="#(\w+)"', page)), re.findall(r'<div class="in" id="(\w+)">', page)
    assert linked - {"top"} == set(named)
    assert len(set(named)) == len(OPERATIONS)


def test_who_opens_the_door_s_address_is_led_to_the_page(home: House) -> None:
    """A browser is what a person tries first."""
    answer = requests.get(home.url, timeout=100)
    assert (answer.status_code, answer.url) == (200, f"{home.url}/docs")


def test_the_document_is_served_to_everybody(home: House) -> None:
    """Generators of clients need no key for it, and get the very document that is tested here."""
    served: dict[str, Any] = requests.get(home.url + "/openapi.json", timeout=100).json()
    assert served["paths"] == DOCUMENT["paths"]
