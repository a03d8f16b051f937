"""Buckets of a key's own: every byte of its jobs is there, and no other key's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from ulid import ULID

from infra.emulator import Emulator
from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.stack.s3 import client
from infra.stack.servers import Servers
from tests.fakes import MORNING, FakeQueue
from tests.house import OMNI, TEXT, House, house
from tests.integration.archive_kit import empty, film, video, yard
from tests.origin import File, origin
from tests.receiver import Receiver
from webhook.verdicts import Judge
from worker.jobs import access
from worker.jobs.access import BadPlace, Caller, NotAllowed
from worker.jobs.model import State
from worker.jobs.transfer import Transfer
from worker.services import now
from worker.store.keys import Terms
from worker.tasks.complaints import Complaints
from worker.tasks.tidy import tidy

FILMS, RAW = "films.of-keys", "raw-of-keys"
IMAGE, I2V, ELEMENTS = "/v1/images/generations", "/v1/videos/image2video", "/v1/general/advanced-custom-elements"


@pytest.fixture
def buckets(servers: Servers, bucket: ObjectStore) -> Any:
    """A client of the embedded store, where two buckets more are, and nothing is in them."""
    at = servers.addresses
    made = client(at.s3_endpoint_url, at.s3_access_key_id, at.s3_secret_access_key)
    for name in (FILMS, RAW):
        with suppress(made.exceptions.BucketAlreadyOwnedByYou):
            made.create_bucket(Bucket=name)
        empty(bucket.of(name))
    return made


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator, buckets: Any) -> Iterator[House]:
    """A house on a store of three buckets."""
    assert buckets
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001") as opened:
        yield opened


def made(home: House, *names: str, name: str = "app", **terms: Any) -> dict[str, str]:
    """Credentials of a new key with these buckets."""
    return {"Authorization": f"Bearer {home.services.keys.create(name, now(), Terms(buckets=names, **terms))}"}


def ask(home: House, headers: dict[str, str], body: Any = None, path: str = OMNI, **more: str) -> requests.Response:
    """A create with headers."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return requests.post(home.url + path, json=body or TEXT, headers={**headers, **named}, timeout=30)


def task(answer: requests.Response) -> str:
    """The id of the job that was made."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["task_id"])


def keys(buckets: Any, bucket: str, job: str) -> set[str]:
    """What lies in a bucket of a job, by the last part of its key."""
    listed = buckets.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {one["Key"].rpartition("/")[2] for one in listed if f"/{job}/" in one["Key"]}


ALL = {"video-0.mp4", "video-0.poster.jpg", "video-0.sheet.jpg", "manifest.json"}


def test_every_byte_of_a_job_lies_in_its_bucket(home: House, buckets: Any, app: Receiver) -> None:
    """P2: film, pictures and manifest, in the key's first bucket or the one that the request names; every link that
    anybody is given opens there, `verify` reads there, and a key without buckets goes where it always went.
    """
    own, mine = home.settings.s3_bucket, made(home, FILMS, RAW, prefixes=("a",))
    body = {**TEXT, "callback_url": app.url}
    wanted = {
        task(ask(home, mine, body)): FILMS,
        task(ask(home, mine, body, Reelhook_Bucket=RAW)): RAW,
        task(ask(home, home.headers, body, Reelhook_Bucket=own)): own,
        task(ask(home, made(home, own, FILMS, name="both"), body)): own,
    }

    assert [State.ARCHIVED] * 4 == home.until_end(*wanted)
    for job, bucket in wanted.items():
        there = {name: keys(buckets, name, job) for name in (own, FILMS, RAW)}
        assert {name: ALL if name == bucket else set() for name in there} == there
    told = {one["task_id"]: one for one in app.bodies}
    for job in list(wanted)[:2]:
        shown = requests.get(f"{home.url}/api/jobs/{job}", headers=mine, timeout=30).json()
        envelope = requests.get(f"{home.url}{OMNI}/{job}", headers=mine, timeout=30).json()["data"]
        (file,) = shown["files"]
        assert wanted[job] == shown["bucket"] == file["bucket"] == told[job]["reelhook"]["files"][0]["bucket"]
        links = [shown["manifest_url"], *(file[name] for name in ("url", "poster_url", "sheet_url"))]
        links += [one["task_result"]["videos"][0]["url"] for one in (envelope, told[job])]
        assert [200] * 6 == [requests.get(link, timeout=30).status_code for link in links]
        assert all(f"/{wanted[job]}/a/kling/" in link for link in links)
        assert wanted[job] == json.loads(requests.get(links[0], timeout=30).content)["files"][0]["bucket"]
    files = [(job, file) for job in wanted for file in home.services.store.files([job])[job]]
    assert [None] * 4 == [Judge(home.services.bucket).of_file(job, file, MORNING).why for job, file in files]
    assert [(FILMS, "a/kling/"), (RAW, "a/kling/"), (own, "kling/")] == home.services.places()


@pytest.mark.parametrize(
    ("named", "status", "code"),
    [
        (RAW, 403, 1103), ("reelhook", 403, 1103), ("somebody-s-bucket", 403, 1103),
        ("Films", 400, 1201), ("", 400, 1201), ("a/b", 400, 1201), ("192.168.0.1", 400, 1201), ("..", 400, 1201),
    ],
)  # fmt: skip
def test_no_request_leaves_its_key_s_buckets(home: House, named: str, status: int, code: int) -> None:
    """Another bucket is 403 and 1103 with the way to get it, what is no name of one 400 and 1201, both with the header
    that said it; nothing is stored.
    """
    answer = ask(home, made(home, FILMS), Reelhook_Bucket=named)

    assert (status, code) == (answer.status_code, answer.json()["code"])
    message = answer.json()["message"]
    assert message.startswith("header Reelhook-Bucket ")
    assert status == 400 or f"keys change app --bucket {FILMS} --bucket {named}" in message
    assert [] == home.services.store.places()


def test_a_key_without_buckets_names_no_other(home: House) -> None:
    """It has S3_BUCKET, which it may name, and nothing else."""
    assert [200, 403] == [ask(home, home.headers, Reelhook_Bucket=one).status_code for one in ("reelhook", FILMS)]


def test_another_bucket_under_the_same_name_is_another_request(home: House) -> None:
    """Asked for again with the same external id, a job is the same one only if it goes to the same place."""
    mine, body = made(home, FILMS, RAW), {**TEXT, "external_task_id": "order-1"}
    first = task(ask(home, mine, body, Reelhook_Bucket=RAW))

    assert first == task(ask(home, mine, body, Reelhook_Bucket=RAW))
    assert 400 == ask(home, mine, body, Reelhook_Bucket=FILMS).status_code


@pytest.mark.parametrize("path", [I2V, ELEMENTS])
def test_inputs_are_read_in_the_key_s_buckets_only(home: House, buckets: Any, path: str) -> None:
    """An `s3://` input in another bucket is refused, also unchecked and where it would only be passed on; one of its
    own is looked at there, whatever lies under its key elsewhere.
    """
    mine, own = made(home, FILMS), home.settings.s3_bucket
    buckets.put_object(Bucket=own, Key="cat.png", Body=b"no picture")
    for bucket in (own, RAW):
        answer = ask(home, mine, {"image": f"s3://{bucket}/cat.png"}, path, Reelhook_Check="off").json()
        assert 1103 == answer["code"]
        assert answer["message"].startswith(f"image: must be s3://{FILMS}/KEY: API key 'app' may name objects of no")
    absent = ask(home, mine, {"image": f"s3://{FILMS}/cat.png", "prompt": "x"}, I2V).json()["message"]

    assert "image: names no object in the bucket" in absent


def test_a_chain_goes_from_bucket_to_bucket(home: House, buckets: Any) -> None:
    """A job in one bucket stands on one in another: Kling fetches the picture from where it lies."""
    mine = made(home, FILMS, RAW)
    first = task(ask(home, mine, {"prompt": "a cat"}, IMAGE, Reelhook_Bucket=RAW))
    body = {"image": f"reelhook://{first}/files/0", "prompt": "it jumps"}
    second = task(ask(home, mine, body, I2V))

    assert [State.ARCHIVED] * 2 == home.until_end(first, second)
    assert {"image-0.png", "manifest.json"} == keys(buckets, RAW, first)
    assert keys(buckets, FILMS, second) >= ALL - {"video-0.sheet.jpg"}


def test_a_message_says_its_bucket(home: House) -> None:
    """The Celery door keeps to the key's buckets in the same words, and its jobs go where they say."""
    made(home, FILMS, RAW)

    def send(bucket: str) -> str:
        home.message(family="videos/omni-video", request=TEXT, caller="app", bucket=bucket)
        return "".join(one.reason for one in home.services.aside.newest(1))

    assert "('bucket' in a message): API key 'app' may not write to bucket 'reelhook'" in send("reelhook")
    send(RAW)
    assert [(RAW, "")] == home.services.store.places()


def test_a_copy_that_moves_leaves_nothing_where_it_was(settings: Settings, engine: Engine, buckets: Any) -> None:
    """P2, P7: S3_BUCKET is another one after a restart: what was begun in the old one goes, the file is whole in the
    new one; and where the old one can't be reached any more, the file is there all the same.
    """
    with origin(film=File.of(film())) as served:
        for old in (RAW, "not-there"):
            outputs = [video(served.link("film.mp4"))]
            with yard(settings.model_copy(update={"s3_bucket": FILMS}), engine, outputs, job_id=f"job-{old}") as moved:
                moved.store.lease(moved.job_id, "worker", MORNING, timedelta(0))
                key = moved.copier.transfer(moved.store.get(moved.job_id), outputs[0]).key  # type: ignore[arg-type]
                label: Any = {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
                upload = moved.bucket.of(RAW).begin(key, **label) if old == RAW else "u1"
                begun = Transfer("video", "original", 0, old, key, upload_id=upload)
                assert moved.store.transfers.save(moved.job_id, "worker", begun, MORNING, timedelta(0))

                assert State.ARCHIVED is moved.work()
                assert (ALL, 0, 0) == moved.left()
                assert [] == moved.bucket.of(RAW).pending()
                assert [FILMS] == [file.bucket for file in moved.files]


def test_old_uploads_are_ended_in_every_bucket(home: House) -> None:
    """P7: also where only jobs say that they went there, and one bucket that is gone keeps nobody from the next.
    Another deployment, which puts its files in the same place, is left its own: no row here is of those jobs.
    """
    s, label = home.services, {"content_type": "video/mp4", "filename": "x.mp4", "metadata": {}}
    jobs = {bucket: task(ask(home, made(home, bucket, name=f"of-{bucket}"))) for bucket in (FILMS, "all-gone", RAW)}
    others = f"kling/2026/11/20/{str(ULID()).lower()}/video-0.mp4"
    for bucket in (FILMS, RAW):
        for key in (f"kling/2026/11/20/{jobs[bucket]}/video-0.mp4", others):
            s.bucket.of(bucket).begin(key, **label)  # type: ignore[arg-type]  # ** of mixed values
    later = lambda: now() + timedelta(hours=25)  # noqa: E731 - a clock
    complaints = Complaints(s.runs, s.attention, FakeQueue(), later)
    tidy(transfers=s.store.transfers, copier=s.copier, complaints=complaints, clock=later, places=s.places())

    assert ["all-gone", FILMS, RAW, home.settings.s3_bucket] == [bucket for bucket, _ in s.places()]
    assert [[others], [others]] == [[one.key for one in s.bucket.of(bucket).pending()] for bucket in (FILMS, RAW)]


def test_keys_are_given_buckets_by_hand(home: House) -> None:
    """Made, changed and shown; the doctor tries every bucket that a key names, or one; what is no bucket, or can't be
    one beside the deployment's own, is said, and changes nothing.
    """
    assert 0 == home.typed("keys", "create", "app", "--bucket", FILMS, "--bucket", "all-gone").exit_code
    assert {FILMS, "all-gone"} <= set(home.typed("keys", "list").output.split())
    sick = home.typed("doctor")
    assert (1, 3) == (sick.exit_code, sum(f"{one} at http" in sick.output for one in (FILMS, "all-gone", "reelhook")))
    assert "there is no bucket of this name" in sick.output
    assert 0 == home.typed("keys", "change", "app", "--bucket", FILMS).exit_code
    one = home.typed("doctor", "--bucket", FILMS)
    assert (f"{FILMS} at http" in one.output, "reelhook at http" in one.output) == (True, False)

    odd = home.typed("keys", "change", "app", "--bucket", "Films")
    cube = home.typed("keys", "change", "app", "--bucket", RAW, S3_KEY_PREFIX="cube")
    lone = home.typed("keys", "change", "app", "--bucket", RAW, S3_PUBLIC_ENDPOINT_URL="https://reelhook.cdn.example")
    assert [2, 1, 1] == [answer.exit_code for answer in (odd, cube, lone)]
    assert "lower-case letters" in odd.output
    assert "may only use the folder cube/ of reelhook, as at Cloudcube" in cube.output
    assert "the endpoint https://reelhook.cdn.example is that of reelhook" in lone.output
    assert [("", ""), (FILMS, "")] == home.services.keys.places(now())


def test_a_prefix_stays_inside_the_only_folder(home: House) -> None:
    """Where the store's key may use one folder alone, as at Cloudcube, an API key's prefix must lie in it."""
    out = home.typed("keys", "create", "team", "--prefix", "teams/a", S3_KEY_PREFIX="cube")
    assert (1, True) == (out.exit_code, "--prefix teams/a: must begin with cube/" in out.output)
    assert 0 == home.typed("keys", "create", "team", "--prefix", "cube/teams/a", S3_KEY_PREFIX="cube").exit_code
    assert {("", ""), ("", "cube/teams/a")} == set(home.services.keys.places(now()))


@given(st.text("ab1.-_A/", max_size=8), st.sampled_from([(), ("films",), ("films", "a1b")]))
def test_no_name_leads_to_another_bucket(asked: str, buckets: tuple[str, ...]) -> None:
    """Whatever is asked for, it is refused, or it is one of the key's, or the deployment's own where it has none."""
    who = replace(Caller("app"), buckets=buckets)
    try:
        assert who.bucket(asked, "a1a") in (buckets or ("",))
    except (NotAllowed, BadPlace):
        assert asked not in (buckets or ("a1a",))
    try:
        who.reads(f"{asked}/key", "a1a")
    except NotAllowed:
        assert asked not in (buckets or ("a1a",))
    else:
        assert asked in (buckets or ("a1a",))


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("abc", True), ("a.b-c.d", True), ("0" * 63, True), ("ab", False), ("0" * 64, False), ("a..b", False),
        ("-ab", False), ("ab-", False), (".ab", False), ("a_b", False), ("aBc", False), ("10.0.0.1", False),
        ("10.0.0.a", True), ("xn--abc", False), ("sthree-abc", False), ("abc-s3alias", False), ("abc--x-s3", False),
        ("ab\n", False), ("äbc", False),
    ],
)  # fmt: skip
def test_bucket_names_follow_s3_s_rules(name: str, *, fits: bool) -> None:
    """3 to 63 of a few characters, no address, none of the names that S3 keeps for itself."""
    try:
        assert name == access.bucket(name)
    except BadPlace:
        assert not fits
    else:
        assert fits
