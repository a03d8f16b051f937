"""The faults that a test can queue."""

import time

import pytest
import requests

from tests.integration.emulator_kit import TEXT, Client, fetch, video_of


@pytest.mark.parametrize("fault", ["drop_before", "error_500", "error_503", "html_200"])
def test_create_faults_that_make_nothing(client: Client, fault: str) -> None:
    """The reply is lost or wrong, and there is no task; the next create works, and both are counted."""
    client.faults({"on": "create", "fault": fault, "times": 1})
    name = f"nothing-{fault}"
    try:
        status = client.post(TEXT, prompt="a fox", external_task_id=name).status_code
    except requests.ConnectionError:
        status = 0
    found = client.get(f"{TEXT}/{name}").status_code
    client.create(TEXT, prompt="a fox", external_task_id=name)

    assert {"drop_before": 0, "error_500": 500, "error_503": 503, "html_200": 200}[fault] == status
    assert 404 == found
    assert 2 == client.state()["creates"][name]


@pytest.mark.parametrize("fault", ["drop_after", "error_500_after", "error_504_after", "html_200_after"])
def test_create_faults_that_hide_a_task(client: Client, fault: str) -> None:
    """The reply is lost or wrong, yet the task exists and is found by the caller's id."""
    client.faults({"on": "create", "fault": fault})
    name = f"hidden-{fault}"
    try:
        body = client.post(TEXT, prompt="a fox", external_task_id=name).text
    except requests.ConnectionError:
        body = ""
    found = client.get(f"{TEXT}/{name}").json()["data"]

    assert found["task_id"] not in body
    assert {"external_task_id": name} == found["task_info"]


@pytest.mark.parametrize("code", [1302, 1303, 1102])
def test_create_faults_of_quota(client: Client, code: int) -> None:
    """The same HTTP status stands for waiting and for giving up."""
    client.faults({"on": "create", "fault": f"status_429_{code}"})
    answer = client.post(TEXT, prompt="a fox")

    assert (429, code) == (answer.status_code, answer.json()["code"])


def test_query_faults_come_in_order(client: Client) -> None:
    """Faults queue up, each `times` times, then queries are good again."""
    task_id = client.create(TEXT, prompt="a fox")
    client.faults(
        {"on": "query", "fault": "error_500", "times": 2}, {"on": "query", "fault": "html_200"},
        {"on": "query", "fault": "not_found"}, {"on": "query", "fault": "delay=0.2"},
    )  # fmt: skip
    answers = [client.get(f"{TEXT}/{task_id}") for _ in range(6)]

    assert [500, 500, 200, 404, 200, 200] == [answer.status_code for answer in answers]
    assert answers[2].headers["Content-Type"].startswith("text/html")
    assert answers[4].elapsed.total_seconds() >= 0.2
    assert task_id == answers[5].json()["data"]["task_id"]


def test_cdn_faults(client: Client) -> None:
    """Files can come truncated, short but consistent, refused, as a page, and slowly."""
    url = video_of(client.finish(TEXT, prompt="a fox"))["url"]
    whole = fetch(url).content
    client.faults(*({"on": "cdn", "fault": name} for name in ("truncate", "wrong_length", "http_403", "html_200")))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        fetch(url)
    short, refused, page = fetch(url), fetch(url), fetch(url)
    client.faults({"on": "cdn", "fault": f"slow={len(whole) * 4}"})
    slow = time.monotonic()
    content = fetch(url).content

    assert whole[: len(whole) // 2] == short.content
    assert (200, 403, 200) == (short.status_code, refused.status_code, page.status_code)
    assert page.text.startswith("<!doctype html>")
    assert whole == content
    assert time.monotonic() - slow > 0.2


def test_unknown_faults_are_refused_and_cleared_ones_forgotten(client: Client) -> None:
    """A fault that does not exist queues nothing; DELETE forgets what is queued."""
    url = f"{client.emulator.url}/_emulator/faults"
    orders = [{"on": "query", "fault": "error_500"}, {"on": "query", "fault": "explode"}]
    answer = requests.post(url, json=orders, timeout=10)
    client.faults({"on": "query", "fault": "error_500"})
    requests.delete(url, timeout=10)

    assert 400 == answer.status_code
    assert "html_200" in answer.json()["message"]
    assert 200 == client.get(TEXT).status_code
