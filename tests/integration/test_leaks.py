"""P8: a whole life, good and bad; then every log line, answer, table and object is searched for secrets."""

from __future__ import annotations

import base64
import gc
import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import jwt
import pytest
import requests
from click.testing import CliRunner
from sqlalchemy import Engine, select, text

from infra.emulator import Config, Emulator
from infra.settings import BadSettings, load
from infra.stack.servers import Servers
from tests.house import OMNI, TEXT, House, house
from tests.receiver import Receiver, Reply, receiver
from webhook.cli import main
from worker.jobs.model import State
from worker.jobs.tokens import callback_token, signing_secret
from worker.store.tables import metadata

KLING = Config(
    speed=3000, log=False, secret_key="kling-secret-key-that-nobody-may-read", api_key="kling-api-key-of-ours"
)
#: In the query of a receiver's address: the caller's own secret, which has to lie in a row to be used.
OWN = "token-of-the-caller-s-own"


@dataclass
class Life:
    """What was said on the way, and what must not have been."""

    home: House
    logs: StringIO
    before: set[str]  #: keys in the bucket
    answers: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)  #: by commands
    secrets: dict[str, str] = field(default_factory=dict)  #: by what they are; nobody may read them anywhere
    jobs: list[str] = field(default_factory=list)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """Ask the door, and keep what it says."""
        answer = requests.request(method, self.home.url + path, headers=headers, timeout=30, **options)
        self.answers.append(f"{answer.headers}\n{answer.text}")
        return answer

    def type(self, *words: str) -> str:
        """Type a command, and keep what it prints."""
        result = CliRunner().invoke(main, words, env={**self.home.variables, "COLUMNS": "250"})
        self.shown.append(f"{result.output}\n{result.exception!r}")
        return result.output


@pytest.fixture
def life(servers: Servers, engine: Engine) -> Iterator[Life]:
    """A house whose logs are kept, down to the last detail."""
    with (
        Emulator(KLING) as emulator,
        house(servers.addresses, engine, emulator, KLING_PACE="0.001", LOG_LEVEL="DEBUG") as home,
    ):
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        logs = StringIO()
        handler.setStream(logs)
        lived = Life(home, logs, home.objects())
        lived.secrets.update(
            {
                "API key": home.key,
                "secret of Kling's account": KLING.secret_key,
                "SECRET_KEY": home.settings.secret_key.get_secret_value(),
                "S3 secret": home.settings.s3_secret_access_key.get_secret_value(),
            }
        )
        yield lived


def make_and_turn_keys(life: Life) -> dict[str, str]:
    """Two secrets of one key, each shown once; credentials in both manners."""
    created, turned = life.type("keys", "create", "shop").split(), life.type("keys", "rotate", "shop").split()
    life.shown.clear()  # that is where they are shown
    first, second = created[2], turned[2]
    at = int(time.time())
    token = jwt.encode({"iss": "shop", "exp": at + 1800, "nbf": at - 5}, first, "HS256")
    secret = signing_secret(life.secrets["SECRET_KEY"].encode(), "shop")
    life.secrets |= {"key before": first, "key": second, "token": token, "signing secret": secret}
    return {"bearer": f"Bearer {second}", "signed": f"Bearer {token}"}


def live_well(life: Life, app: Receiver, who: Mapping[str, str]) -> None:
    """Jobs in both manners, a callback, subscriptions, deliveries to a receiver that says back what it hears."""
    home, bearer = life.home, {"Authorization": who["bearer"]}
    app.answers += [Reply(500, body=b"I had https://s3.example/a.mp4?X-Amz-Signature=0123456789")]
    told = life.ask("POST", "/api/subscriptions", bearer, json={"url": f"{app.url}?t={OWN}"}).json()
    life.answers.clear()  # that is where its secret is shown
    life.secrets["subscription's secret"] = told["secret"]
    for credentials in who.values():
        body = {**TEXT, "callback_url": f"{app.url}?t={OWN}"}
        answer = life.ask("POST", OMNI, {"Authorization": credentials, "Idempotency-Key": credentials[-9:]}, json=body)
        life.jobs.append(answer.json()["data"]["task_id"])
    secret = life.secrets["SECRET_KEY"].encode()
    for job in life.jobs:
        life.secrets[f"callback token of {job}"] = callback_token(secret, job)
        hint = {"task_id": "1", "task_status": "processing"}
        life.ask("POST", f"/callbacks/kling/{job}/{callback_token(secret, job)}", json=hint)
        life.ask("POST", f"/callbacks/kling/{job}/{callback_token(secret, 'x')}", data=b"{")
        life.ask("GET", f"/callbacks/kling/{job}/{callback_token(secret, job)}")
    assert [State.ARCHIVED] * 2 == home.until_end(*life.jobs, hurry=5)
    for path in ("/api/deliveries", "/api/subscriptions", "/healthz", "/readyz", "/account/costs", "/", "/metrics"):
        life.ask("GET", path, bearer)


def live_badly(life: Life, app: Receiver, who: Mapping[str, str]) -> None:
    """Wrong keys, wrong bodies, a Kling that refuses and fails, receivers that fail, a message that is none."""
    home, bearer = life.home, {"Authorization": who["bearer"]}
    for header in (who["bearer"] + "x", who["signed"] + "x", who["bearer"].replace(" ", "  "), f"Basic {home.key}"):
        assert life.ask("GET", OMNI, {"Authorization": header}).status_code == 401
    for body in (
        b"{",
        b"[]",
        json.dumps({**TEXT, "duration": "7"}).encode(),
        json.dumps({"prompt": {"a": 1}}).encode(),
    ):
        assert life.ask("POST", OMNI, bearer, data=body).status_code == 400
    life.ask("POST", OMNI, {**bearer, "Reelhook-Prefix": "x"}, json=TEXT)
    life.ask("GET", "/v1/nowhere", bearer)
    life.ask("PUT", OMNI, bearer)
    for fault in ("error_500_after", "html_200", "status_429_1102"):
        home.fault("create", fault)
        life.jobs.append(life.ask("POST", OMNI, bearer, json=TEXT).json()["data"]["task_id"])
        home.drain()
    app.answers += [Reply(410)]
    life.jobs.append(
        life.ask("POST", OMNI, bearer, json={**TEXT, "callback_url": f"{app.url}?t={OWN}"}).json()["data"]["task_id"]
    )
    home.services.accounts.resume("default", home.clock())
    home.until_end(*life.jobs, hurry=30)
    home.message(family="videos/omni-video", request={}, caller="shop")
    # What nobody foresaw, in the midst of a create: a rule of the database, which says the whole row in its refusal.
    with home.services.engine.begin() as connection:
        connection.execute(text("alter table payloads add constraint odd check (false) not valid"))
    try:
        assert life.ask("POST", OMNI, bearer, json={**TEXT, "callback_url": f"{app.url}?t={OWN}"}).status_code == 500
    finally:
        with home.services.engine.begin() as connection:
            connection.execute(text("alter table payloads drop constraint odd"))


def operate(life: Life) -> None:
    """Every command that looks, and settings that are wrong."""
    commands = (
        ("doctor",), ("verify",), ("keys", "list"), ("keys", "change", "shop", "--slots", "3"), ("accounts", "list"),
        ("callbacks",), ("set-aside",), ("subscriptions", "list"), ("deliveries", "list"), ("keys", "rotate", "nobody"),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a command leaves its connection to the end of its process
        for words in commands:
            life.type(*words)
        gc.collect()
    try:
        load({**life.home.variables, "S3_LINK_SECONDS": "x", "KLING_URL": f"://{KLING.secret_key}", "PUBLIC_URL": "x"})
    except BadSettings as fault:
        life.shown.append(str(fault))


def test_no_secret_is_anywhere(life: Life) -> None:
    """Of keys, tokens and secrets there is none in a log, an answer, a command's words, a table or an object, be it as
    text, hexadecimal or base64. Signed links and a receiver's own token are in no log.
    """
    # Our own lines go there without a handler; pytest has put its own in place before the test.
    with redirect_stdout(life.logs), receiver() as app:
        who = make_and_turn_keys(life)
        live_well(life, app, who)
        live_badly(life, app, who)
        operate(life)
    for job in life.jobs[2:]:
        life.secrets[f"callback token of {job}"] = callback_token(life.secrets["SECRET_KEY"].encode(), job)
    logs = life.logs.getvalue()
    places = {
        "logs": logs.encode(),
        "answers": "\n".join(life.answers).encode(),
        "commands": "\n".join(life.shown).encode(),
        "tables": tables(life.home),
        "bucket": objects(life),
    }
    found = [
        (what, where) for what, secret in life.secrets.items() for where, text in places.items() if holds(text, secret)
    ]

    assert [] == found
    assert min(map(len, places.values())) > 1000
    assert logs.count("\n") > 50
    assert "door.unforeseen" in logs
    assert [] == [word for word in ("X-Amz-Signature=", "X-Amz-Credential=", OWN, "eyJ") if word in logs]
    assert b"X-Amz-Signature=" not in places["tables"] + places["bucket"] + places["commands"]


def holds(text: bytes, secret: str) -> bool:
    """Whether a secret can be read in a text: as it is, reversed into hexadecimal, or into base64 at any offset."""
    raw = secret.encode()
    forms = [raw, raw.hex().encode(), raw.hex().upper().encode()]
    # In base64 its first and last characters depend on the neighbours.
    encoders = (base64.b64encode, base64.urlsafe_b64encode)
    forms += [encode(b"\0" * before + raw)[4:-4] for before in range(3) for encode in encoders]
    return any(form in text for form in forms)


@pytest.mark.parametrize("before", [b"", b"a", b"ab"])
@pytest.mark.parametrize("encode", [bytes, base64.b64encode, base64.urlsafe_b64encode, lambda raw: raw.hex().encode()])
def test_the_search_finds_what_is_there(before: bytes, encode: Any) -> None:
    """Whatever it stands between, and however it is written."""
    secret = "rk_a-secret-that-is_long-enough/+"

    assert holds(b"noise" + encode(before + secret.encode() + b"after") + b"noise", secret)
    assert not holds(b"noise" + encode(before + b"another" * 9), secret)


def tables(home: House) -> bytes:
    """Every value of every row."""
    values: list[bytes] = []
    with home.services.engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                values += [value if isinstance(value, bytes) else str(value).encode(errors="replace") for value in row]
    return b"\n".join(values)


def objects(life: Life) -> bytes:
    """Every object, with its name and what it says of itself; not those that tests before left in the bucket."""
    client, bucket = life.home.services.bucket._client, life.home.settings.s3_bucket
    pieces: list[bytes] = []
    for key in sorted(life.home.objects() - life.before):
        answer = client.get_object(Bucket=bucket, Key=key)
        pieces += [key.encode(), json.dumps(answer["Metadata"]).encode(), answer["Body"].read()]
    return b"\n".join(pieces)
