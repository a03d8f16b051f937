"""The client that users may copy, against the real door."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from infra.emulator import Config, Emulator
from infra.stack.servers import Servers
from tests.house import TEXT, House, house
from webhook.client import Reelhook, ReelhookError, progress_bar, verify_webhook

FAMILY = "videos/omni-video"
SECRET, OTHER = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=", "whsec_b3RoZXItb3RoZXItb3RoZXI="


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Kling whose minutes are moments."""
    with Emulator(Config(speed=3000, log=False)) as running:
        yield running


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house with an account at the emulator."""
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001") as opened:
        yield opened


def test_submit_wait_and_look(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    """A job from the first call to its file, with a bar on the way; task, list and job agree."""
    client = Reelhook(home.url, home.key)
    task_id = client.submit(FAMILY, {**TEXT, "external_task_id": "mine"})["task_id"]
    worker = threading.Thread(target=home.until_end, args=(task_id,))
    worker.start()
    job = client.wait(task_id, every=0.05, seconds=60, tell=progress_bar("a cat"))
    worker.join()

    assert "archived" == job["state"]
    assert "succeed" == client.task(FAMILY, "mine")["task_status"]
    assert [task_id] == [task["task_id"] for task in client.tasks(FAMILY)]
    assert "archived" in capsys.readouterr().out


def test_a_refusal_is_an_error_with_kling_s_code(home: House) -> None:
    """What the door refuses is raised with code, status and words."""
    client = Reelhook(home.url, home.key, check="strict")
    with pytest.raises(ReelhookError, match="duration") as caught:
        client.submit(FAMILY, {**TEXT, "duration": 5})
    with pytest.raises(ReelhookError) as missing:
        client.job("nobody")
    with pytest.raises(ReelhookError) as stranger:
        Reelhook(home.url, "rk_wrong").tasks(FAMILY)

    assert (400, 1201) == (caught.value.http_status, caught.value.code)
    assert (404, None) == (missing.value.http_status, missing.value.code)
    assert (401, 1002) == (stranger.value.http_status, stranger.value.code)


def test_waiting_ends(home: House) -> None:
    """A job that nobody works on is not waited for without end."""
    client = Reelhook(home.url, home.key)
    with pytest.raises(TimeoutError, match="accepted"):
        client.wait(client.submit(FAMILY, TEXT)["task_id"], seconds=0.2, every=0.05)


def test_webhooks_verify_also_while_a_secret_is_replaced() -> None:
    """A delivery signed with either secret is taken; a changed body, an old time or another secret is not."""
    import datetime as dt  # noqa: PLC0415 - only this test needs it

    now = dt.datetime.now(dt.UTC)

    def headers(at: dt.datetime) -> dict[str, str]:
        signature = Webhook(SECRET).sign("msg_1", at, "{}")
        return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(at.timestamp())), "Webhook-Signature": signature}

    verify_webhook(SECRET, headers(now), b"{}")
    verify_webhook([OTHER, SECRET], headers(now), b"{}")
    verify_webhook([SECRET, OTHER], headers(now), b"{}")
    for secrets, at, body in (
        ([OTHER], now, b"{}"),
        ([SECRET], now, b"{ }"),
        ([SECRET], now - dt.timedelta(minutes=6), b"{}"),
    ):
        with pytest.raises(WebhookVerificationError):
            verify_webhook(secrets, headers(at), body)


def test_the_client_can_be_copied(root: Path) -> None:
    """It imports nothing of ours."""
    text = (root / "webhook/client.py").read_text()

    assert [] == [line for line in text.splitlines() if line.startswith(("from webhook", "from worker", "from infra"))]
