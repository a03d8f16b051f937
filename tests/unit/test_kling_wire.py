from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.kling import wire
from worker.kling.errors import _BY_CODE, KlingError, MalformedAnswer, ResourceMissing, Retry, error_class
from worker.kling.gateways import parse_account
from worker.kling.wire import TaskStatus, read_own, read_task

ACCOUNT = parse_account("https://KEY@gateway.example/kling")
NOW = 1_790_000_000.0

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=25,
)
known = st.sampled_from(
    [
        *("code", "message", "request_id", "data", "task_id", "task_status", "status", "id", "external_task_id"),
        *("task_result", "videos", "images", "audios", "outputs", "billing", "url", "type", "task_info", "duration"),
    ]
)
words = st.sampled_from(["succeed", "succeeded", "SUCCESS", "failed", "processing", "video", "", "https://x/y"])
kling_like = st.recursive(
    words | st.integers() | st.none() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=8),
    max_leaves=25,
)


def answer(data: Any, **outer: Any) -> bytes:
    """Kling's envelope around `data`."""
    return json.dumps({"code": 0, "message": "SUCCEED", "request_id": "r", "data": data, **outer}).encode()


@given(st.integers(100, 599), st.binary(max_size=400) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_task_or_a_kling_error(status: int, body: bytes) -> None:
    """Whatever comes back, the outcome is a value or the one documented tree of errors."""
    for read in (read_task, partial(read_own, task_id="1", external="ours")):
        try:
            read(status, {}, body)
        except KlingError:
            continue


@given(st.sampled_from([200, 400, 500]), kling_like)
def test_anything_of_kling_s_own_words_is_a_task_or_a_kling_error(status: int, value: Any) -> None:
    """The same for bodies made of Kling's own field names in any arrangement and type."""
    body = json.dumps(value).encode()
    for read in (read_task, partial(read_own, task_id="1", external="ours")):
        try:
            read(status, {}, body)
        except KlingError:
            continue


@given(st.integers(2**53, 2**63))
def test_ids_keep_all_their_digits(number: int) -> None:
    """A task id is the same string whether it came as a number or as a string, however long."""
    for value in (number, str(number)):
        assert str(number) == read_task(200, {}, answer({"task_id": value, "task_status": "submitted"})).task_id


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", TaskStatus.SUBMITTED),
        ("processing", TaskStatus.PROCESSING),
        ("succeed", TaskStatus.SUCCEEDED),
        ("succeeded", TaskStatus.SUCCEEDED),
        ("SUCCESS", TaskStatus.SUCCEEDED),
        ("failed", TaskStatus.FAILED),
        ("FAILURE", TaskStatus.FAILED),
        ("thinking", TaskStatus.UNRECOGNISED),
    ],
)
def test_every_spelling_of_a_status_is_understood(word: str, status: TaskStatus) -> None:
    """Both of Kling's words for success and the gateways' are one; a new word is no end."""
    assert status is read_task(200, {}, answer({"task_id": "1", "task_status": word})).status


def test_a_finished_video_is_read() -> None:
    """Files, ids, durations, units and times of a real answer (recorded in 2025-09, shortened)."""
    body = answer(
        {
            "task_id": "797191640489828365",
            "task_status": "succeed",
            "task_status_msg": "",
            "task_result": {
                "videos": [
                    {"id": "797191640795996237", "url": "https://v2/a-output.mp4?x-kcdn-pid=1", "duration": "14.666",
                     "watermark_url": "https://v2/b.mp4"}
                ]
            },
            "final_unit_deduction": "3.5",
            "created_at": 1758093816979,
            "updated_at": 1758094147654,
            "novelty": {"kept": True},
        }
    )  # fmt: skip
    task = read_task(200, {}, body)

    assert [("video", "original", 0, "14.666"), ("video", "watermarked", 0, "14.666")] == [
        (one.kind, one.variant, one.ordinal, one.duration) for one in task.outputs
    ]
    assert ("3.5", 1758093816979, {"kept": True}) == (task.units, task.created_at_ms, task.raw["novelty"])


def test_images_series_and_sounds_are_read() -> None:
    """Every file of a task counts: images and their series in one row, each format of a sound."""
    result = {
        "images": [{"index": 0, "url": "https://a.png"}],
        "series_images": [{"index": 0, "url": "https://b.png"}],
        "audios": [{"id": "1", "url_mp3": "https://a.mp3", "url_wav": "https://a.wav", "duration_mp3": "5.0"}],
    }
    task = read_task(200, {}, answer({"task_id": "1", "task_status": "succeed", "task_result": result}))

    expected = [("image", "original", 0), ("image", "original", 1), ("audio", "mp3", 0), ("audio", "wav", 0)]
    assert expected == [(one.kind, one.variant, one.ordinal) for one in task.outputs]


@given(st.permutations(range(4)), st.permutations(range(2)))
def test_images_have_their_places_in_whatever_order_they_come(images: list[int], series: list[int]) -> None:
    """P2: asked anew, the provider may name them in another order: each keeps its ordinal, so none is stored twice."""
    result = {
        "images": [{"index": index, "url": f"https://{index}.png"} for index in images],
        "series_images": [{"index": index, "url": f"https://{4 + index}.png"} for index in series],
    }
    task = read_task(200, {}, answer({"task_id": "1", "task_status": "succeed", "task_result": result}))

    assert [(place, f"https://{place}.png") for place in range(6)] == [(one.ordinal, one.url) for one in task.outputs]


@pytest.mark.parametrize("named", [[0, 0], [1, 2], [True, False], ["0", "1"], [None, 0], [10**30, 0]])
def test_an_index_that_tells_nothing_apart_is_none(named: list[object]) -> None:
    """Then images count in the order in which they come."""
    result = {"images": [{"index": index, "url": f"https://{at}.png"} for at, index in enumerate(named)]}
    task = read_task(200, {}, answer({"task_id": "1", "task_status": "succeed", "task_result": result}))

    assert [(0, "https://0.png"), (1, "https://1.png")] == [(one.ordinal, one.url) for one in task.outputs]


def test_the_new_design_standard_is_read() -> None:
    """`id`, `status`, `outputs` and `billing`, in a list of one."""
    entry = {
        "id": "9",
        "status": "succeeded",
        "external_id": "mine",
        "outputs": [{"type": "video", "id": "7", "url": "https://v", "duration": "5.04"}],
        "billing": [{"charge_type": "unit", "amount": "4.0"}],
    }
    task = read_task(200, {}, answer([entry]))

    assert ("9", TaskStatus.SUCCEEDED, "mine", "4.0") == (task.task_id, task.status, task.external_task_id, task.units)
    assert ["https://v"] == [one.url for one in task.outputs]


def test_cometapi_s_older_wrapper_is_read() -> None:
    """The task lies one level deeper, under words of the wrapper's own."""
    inner = {"task_id": "5", "task_status": "succeed", "task_result": {"videos": [{"id": "1", "url": "https://v"}]}}
    body = answer(
        {"task_id": "5", "status": "SUCCESS", "progress": "100%", "action": "OMNI_VIDEO", "data": inner}, code="success"
    )

    assert ["https://v"] == [one.url for one in read_task(200, {}, body).outputs]


def test_hingnet_s_extra_id_is_kept() -> None:
    """`platform_id` stands beside the task's own id and is kept in the raw answer."""
    task = read_task(200, {}, answer({"task_id": "6", "platform_id": "video_01", "task_status": "submitted"}))

    assert ("6", "video_01") == (task.task_id, task.raw["platform_id"])


@pytest.mark.parametrize("code", sorted(_BY_CODE))
def test_every_code_is_a_named_error(code: int) -> None:
    """Each number of the reference raises its own class, whatever the HTTP status, with the words that came."""
    body = json.dumps({"code": code, "message": "the reason", "request_id": "abc"}).encode()
    for status in (200, 400, 429, 500):
        with pytest.raises(_BY_CODE[code], match="the reason") as caught:
            read_task(status, {}, body)
        assert (code, "abc") == (caught.value.code, caught.value.request_id)


@pytest.mark.parametrize(
    ("codes", "decision"),
    [
        ((1302, 1303), Retry.WAIT),
        ((1000, 1001, 1002, 1100, 1101, 1102, 1304), Retry.STOP_ACCOUNT),
        ((1003, 1004), Retry.REAUTHENTICATE),
        ((1103, 1200, 1201, 1202, 1203, 1300, 1301), Retry.NEVER),
        ((5000, 5001, 5002), Retry.UNKNOWN_OUTCOME),
    ],
)
def test_what_follows_from_a_code(codes: tuple[int, ...], decision: Retry) -> None:
    """HTTP 429 is four different things: the decision is the number's, not the status's."""
    assert {decision} == {error_class(code, 429).retry for code in codes}


@pytest.mark.parametrize(
    "body", [b"<html>Welcome</html>", b"", b'{"code":0,"da', b"[]", b'{"code":0}', b'{"code":0,"data":{}}']
)
def test_a_200_without_a_task_leaves_the_outcome_unknown(body: bytes) -> None:
    """A page, half a body or an empty envelope says nothing of whether a task was made."""
    with pytest.raises(MalformedAnswer) as caught:
        read_task(200, {}, body)

    assert caught.value.retry is Retry.UNKNOWN_OUTCOME


@pytest.mark.parametrize(
    ("status", "decision"),
    [
        *((status, Retry.UNKNOWN_OUTCOME) for status in (403, 404, 405, 409, 413, 451, 502, 503)),
        *((status, Retry.STOP_ACCOUNT) for status in (401, 402)),
        (429, Retry.WAIT),
    ],
)
@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"", b'"no"', b'{"message":"no Route matched"}', b'{"status":404,"error":"Not Found"}']
)
def test_a_page_of_somebody_else_decides_nothing(status: int, decision: Retry, body: bytes) -> None:
    """Whoever stands between us and Kling can say who may pass and how often, never what Kling has or refuses."""
    with pytest.raises(KlingError) as caught:
        read_task(status, {"Content-Type": "text/html"}, body)

    assert caught.value.retry is decision


def test_only_kling_itself_says_that_there_is_no_such_task() -> None:
    """Code 1203 does; a gateway's 404, in JSON or in OpenAI's manner, is no proof that nothing was made."""
    for body in (b"<html>404</html>", b"{}", b'{"code":404,"message":"x"}', b'{"error":{"message":"no such task"}}'):
        with pytest.raises(KlingError) as caught:
            read_task(404, {}, body)
        assert not isinstance(caught.value, ResourceMissing)
    with pytest.raises(ResourceMissing):
        read_task(404, {}, b'{"code":1203,"message":"task not found"}')


def test_a_gateway_may_refuse_in_its_own_words() -> None:
    """A 400 in JSON, and an `error` object of any status, are an answer to what was asked."""
    for status, body in ((400, b'{"detail":"no prompt"}'), (403, b'{"error":{"message":"no quota","type":"x"}}')):
        with pytest.raises(KlingError) as caught:
            read_task(status, {}, body)
        assert Retry.NEVER is caught.value.retry


def test_a_create_carries_our_id_and_callback() -> None:
    """The caller's own id and receiver are replaced, everything else goes as it came, ids with all digits."""
    body = {"prompt": "a cat", "callback_url": "https://app", "external_task_id": "theirs",
            "element_list": [{"element_id": 829836802793406551}], "novelty": [1]}  # fmt: skip
    call = wire.create(
        ACCOUNT, "videos/omni-video", body, callback_url="https://us/cb", external_task_id="ours", now=NOW
    )

    assert ("POST", "https://gateway.example/kling/v1/videos/omni-video") == (call.method, call.url)
    assert "Bearer KEY" == call.headers["Authorization"]
    sent = json.loads(call.body or b"")
    assert {**body, "callback_url": "https://us/cb", "external_task_id": "ours"} == sent


def test_a_query_quotes_its_id() -> None:
    """An id is one step of the path, whatever it holds."""
    assert wire.query(ACCOUNT, "videos/omni-video", "a/../b?c", now=NOW).url.endswith("/omni-video/a%2F..%2Fb%3Fc")
