"""What a key owns: a place in the bucket, a share of the slots; and a create that comes twice at once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import Engine, insert, select, text

from infra.emulator import Emulator
from infra.stack.servers import Servers
from tests.fakes import MORNING, a_job, race
from tests.house import OMNI, TEXT, House, house
from tests.integration.slots_kit import begin, ended
from tests.origin import File, origin
from worker import inputs
from worker.jobs import access, keys
from worker.jobs.access import Caller, NotAllowed
from worker.jobs.model import State
from worker.services import now
from worker.store.accounts import Accounts
from worker.store.claims import LEASE, Claims, Held
from worker.store.keys import ApiKeys, Terms
from worker.store.repository import NewJob, Repository
from worker.store.tables import claims

ELEMENTS = "/v1/general/advanced-custom-elements"


@pytest.fixture
def home(servers: Servers, engine: Engine, emulator: Emulator) -> Iterator[House]:
    """A house that looks at the URLs of inputs."""
    with house(servers.addresses, engine, emulator, KLING_PACE="0.001", PROBE_URLS="true") as opened:
        yield opened


def made(home: House, name: str = "app", **terms: Any) -> dict[str, str]:
    """Credentials of a new key with these terms."""
    return {"Authorization": f"Bearer {home.services.keys.create(name, now(), Terms(**terms))}"}


def ask(home: House, headers: dict[str, str], body: Any = None, path: str = OMNI, **more: str) -> requests.Response:
    """A create with headers."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return requests.post(home.url + path, json=body or TEXT, headers={**headers, **named}, timeout=30)


# --- a place in the bucket ------------------------------------------------------------------------------------------
def test_files_go_where_the_key_and_the_request_say(home: House) -> None:
    """P2: films, pictures and manifest of a job lie below its prefix: the key's own, or one that its request names."""
    app = made(home, prefixes=("teams/a", "shared"))
    jobs = [
        ask(home, app).json()["data"]["task_id"],
        ask(home, app, Reelhook_Prefix="shared/x.y").json()["data"]["task_id"],
        ask(home, app, Reelhook_Prefix="/teams/a/b/").json()["data"]["task_id"],
        home.submit(),
    ]
    before = home.objects()

    assert [State.ARCHIVED] * 4 == home.until_end(*jobs)
    new = home.objects() - before
    for job, place in zip(jobs, ("teams/a/kling/", "shared/x.y/kling/", "teams/a/b/kling/", "kling/"), strict=True):
        mine = {key for key in new if f"/{job}/" in key}
        assert {"video-0.mp4", "video-0.poster.jpg", "manifest.json"} <= {key.rpartition("/")[2] for key in mine}
        assert all(key.startswith(place) for key in mine)
    places = ["kling/", "shared/x.y/kling/", "teams/a/b/kling/", "teams/a/kling/"]
    assert [(home.settings.s3_bucket, place) for place in places] == home.services.places()
    link = requests.get(f"{home.url}{OMNI}/{jobs[1]}", headers=app, timeout=30).json()["data"]["task_result"]["videos"]
    assert 200 == requests.get(link[0]["url"], timeout=30).status_code


@pytest.mark.parametrize(
    ("prefix", "status", "code"),
    [
        ("teams/b", 403, 1103), ("teams/ab", 403, 1103), ("teams", 403, 1103), ("/", 403, 1103), ("TEAMS/a", 403, 1103),
        ("teams/a/../b", 400, 1201), ("..", 400, 1201), ("teams//a", 400, 1201), ("teams/a/.", 400, 1201),
        ("teams/a/%2e%2e", 400, 1201), ("teams/a\\b", 400, 1201), ("", 400, 1201), ("teams/a/" + "x" * 200, 400, 1201),
    ],
)  # fmt: skip
def test_no_request_leaves_its_key_s_places(home: House, prefix: str, status: int, code: int) -> None:
    """Another place is 403 and 1103 with the way to get it, what is no place is 400 and 1201; nothing is stored."""
    answer = ask(home, made(home, prefixes=("teams/a",)), Reelhook_Prefix=prefix)

    assert (status, code) == (answer.status_code, answer.json()["code"])
    place = prefix.strip("/") or "/"
    way = f"reelhook keys change app --prefix teams/a --prefix {place}"
    assert (status == 403) == answer.json()["message"].endswith(f"grants it by: {way}")
    assert [] == home.services.store.archived() + home.services.store.places()


def test_a_key_without_prefixes_names_no_other_place(home: House) -> None:
    """Its files go to the root, and it may say nowhere else; a key of the root may say anywhere. The way from one to
    the other moves no file of the key: where they go unless a request says otherwise stays the root.
    """
    answer = ask(home, made(home), Reelhook_Prefix="x")
    assert (403, True) == (answer.status_code, answer.json()["message"].endswith("reelhook keys change app --prefix /"))
    assert 200 == ask(home, made(home, "root", prefixes=("",)), Reelhook_Prefix="x").status_code


steps = st.text("abAB./-_ \\%\0é", max_size=6)


@given(st.lists(steps, max_size=4).map("/".join), st.sampled_from(["teams/a", "x", ""]))
def test_no_prefix_leads_out(text: str, own: str) -> None:
    """Whatever is asked for, it is refused, or every key below it is below the key's own place, without a `..`."""
    try:
        place = Caller("app", prefixes=(own,)).place(text)
    except (NotAllowed, access.BadPlace):
        return
    key = keys.manifest_key("kling/{job}/{name}.{extension}", a_job(prefix=place))

    assert key.startswith(f"{own}/" if own else "")
    assert not {"", ".", ".."} & set(key.split("/"))


@pytest.mark.parametrize("key", ["teams/b/cat.png", "teams/a/../b/cat.png", "cat.png", "teams/ab.png"])
@pytest.mark.parametrize("path", ["/v1/videos/image2video", ELEMENTS])
def test_inputs_stay_in_the_key_s_places(home: House, path: str, key: str) -> None:
    """An `s3://` input elsewhere is refused, also unchecked, and where it would only be passed on: no key reads another
    one's files.
    """
    app = made(home, prefixes=("teams/a",))
    answer = ask(home, app, {"image": f"s3://{home.settings.s3_bucket}/{key}"}, path, Reelhook_Check="off")

    assert (403, 1103) == (answer.status_code, answer.json()["code"])
    assert "below teams/a" in answer.json()["message"]


def test_the_celery_door_keeps_to_the_key_as_well(home: House) -> None:
    """Scope, place and idempotency of a message are its key's, and are said in the same words."""
    s = home.services
    made(home, "reader", scopes=(access.Scope.READ,))
    made(home, "app", prefixes=("teams/a",))

    def send(**order: Any) -> str:
        home.message(family="videos/omni-video", request=TEXT, **order)
        return "".join(one.reason for one in s.aside.newest(1))

    assert "lacks the scope 'submit'" in send(caller="reader")
    assert "may not write below 'x'" in send(caller="app", prefix="x")
    for _ in range(2):
        send(caller="app", prefix="teams/a/b", idempotency_key="k1")
    assert [("", "teams/a/b")] == s.store.places()
    assert 1 == len(s.store.page("app", "videos/omni-video", limit=9, offset=0))


# --- a share of the slots -------------------------------------------------------------------------------------------
def waiting(store: Repository, caller: str, count: int, slots: int = 1, later: int = 0) -> list[str]:
    """Ids of new jobs of a caller."""
    ids = [f"{caller}{number}" for number in range(later, later + count)]
    for number, job_id in enumerate(ids, later):
        body = (job_id, caller, "default", "videos/omni-video", None, None, b"f", b"{}")
        store.accept(NewJob(*body, slots=slots), MORNING + timedelta(seconds=number))
    return ids


def test_a_key_holds_no_more_slots_than_its_share(engine: Engine) -> None:
    """Of twelve racing jobs of a key with a share of three, three go; another key's go on; a job that needs more than
    the share goes when it is the key's only one.
    """
    store, accounts = Repository(engine), Accounts(engine)
    ApiKeys(engine, b"s").create("few", MORNING, Terms(slots=3))
    ids = waiting(store, "few", 12)

    assert 3 == sum(race(*(lambda one=one: begin(store, accounts, one) for one in ids)))
    assert all(begin(store, accounts, one) for one in waiting(store, "many", 10))
    ApiKeys(engine, b"s").create("wide", MORNING, Terms(slots=3))
    assert [True, False] == [begin(store, accounts, one) for one in waiting(store, "wide", 2, slots=5)]


@given(most=st.integers(1, 40), percent=st.integers(1, 100))
@settings(max_examples=10)
def test_a_share_may_be_a_part(engine: Engine, most: int, percent: int) -> None:
    """Percent of the account's slots, rounded up and at least one, are as many as a key's jobs get; a freed one goes to
    it again when it holds fewer, and when the account is known to have fewer slots, its part is one of those.
    """
    with engine.begin() as connection:
        connection.execute(text("truncate jobs, accounts, api_keys cascade"))
    store, accounts, share = Repository(engine), Accounts(engine), max(1, math.ceil(most * percent / 100))
    ApiKeys(engine, b"s").create("part", MORNING, Terms(slots_percent=percent))
    ids = waiting(store, "part", share + 1)

    assert [True] * share + [False] == [begin(store, accounts, one, most) for one in ids]
    assert (ids[-1],) == ended(store, ids[0])
    assert begin(store, accounts, ids[-1], most)
    job = store.get(ids[-1])
    assert job is not None
    learned = accounts.learn_limit(job, MORNING)
    more = waiting(store, "part", 1, later=share + 1)
    left = share - max(1, math.ceil(learned * percent / 100)) + 1
    assert not begin(store, accounts, more[0], most)
    assert [()] * (left - 1) + [(more[0],)] == [ended(store, one) for one in ids[1 : 1 + left]]


def test_a_freed_slot_passes_over_a_key_at_its_share(engine: Engine) -> None:
    """The one who holds as many as he may is not woken, although he holds the fewest; when he frees one, he is."""
    store, accounts = Repository(engine), Accounts(engine)
    ApiKeys(engine, b"s").create("few", MORNING, Terms(slots=1))
    few, many = waiting(store, "few", 2), waiting(store, "many", 5)
    assert [True, False] == [begin(store, accounts, one, 4) for one in few]
    assert [True] * 3 + [False] * 2 == [begin(store, accounts, one, 4) for one in many]

    assert (many[3],) == ended(store, many[0])
    assert (few[1],) == ended(store, few[0])


# --- twice at once --------------------------------------------------------------------------------------------------
def picture() -> bytes:
    """A PNG that Kling would take."""
    file = BytesIO()
    Image.new("RGB", (512, 512)).save(file, "PNG")
    return file.getvalue()


def slow(picture: bytes) -> tuple[File, threading.Event, Callable[[], None]]:
    """A picture whose host is asked, and answers when it is told to."""
    asked, go = threading.Event(), threading.Event()

    def read(start: int, end: int) -> bytes:
        asked.set()
        assert go.wait(100)
        return picture[start:end]

    return File(len(picture), read, headers={"Content-Type": "image/png"}), asked, go.set


def test_a_create_that_is_looked_at_is_in_flight(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: while an input is fetched, the same key is 409 with Retry-After, another body 422, another caller's key free;
    afterwards the same key is the same job, and what is gone meanwhile is not looked at again.
    """
    monkeypatch.setattr(inputs, "_PROBE_SECONDS", 100)  # it is held for as long as three others take
    with origin() as host, ThreadPoolExecutor() as pool:
        host.files["cat"], asked, go = slow(picture())
        body = {"image": host.link("cat.png"), "prompt": "a cat"}
        path = "/v1/videos/image2video"
        first = pool.submit(ask, home, home.headers, body, path, Idempotency_Key="k1")
        assert asked.wait(100)
        second = ask(home, home.headers, body, path, Idempotency_Key="k1")
        other = ask(home, home.headers, {**body, "prompt": "a dog"}, path, Idempotency_Key="k1")
        elsewhere = ask(home, made(home), Idempotency_Key="k1")
        go()
        job_id = first.result().json()["data"]["task_id"]
        host.files.clear()
        again = ask(home, home.headers, body, path, Idempotency_Key="k1")

    assert (409, 1302, "2") == (second.status_code, second.json()["code"], second.headers["Retry-After"])
    assert (422, 200) == (other.status_code, elsewhere.status_code)
    assert job_id == again.json()["data"]["task_id"]


def test_a_refusal_gives_the_key_back(home: House) -> None:
    """What was refused leaves nothing: mended, the request may be sent under the same key."""
    refused = ask(home, home.headers, {**TEXT, "duration": "99"}, Idempotency_Key="k1")
    mended = ask(home, home.headers, Idempotency_Key="k1")

    assert [400, 200] == [refused.status_code, mended.status_code]


def test_what_a_crash_left_holds_for_a_moment_only(home: House) -> None:
    """A claim whose process died: 409 until its minute is over, or its job is found; then it means nothing."""
    with home.services.engine.begin() as connection:
        values = {"caller": "default", "key": "k1", "fingerprint": b"f"}
        connection.execute(insert(claims).values(**values, until=now() + timedelta(seconds=50)))
    assert 422 == ask(home, home.headers, Idempotency_Key="k1").status_code
    with home.services.engine.begin() as connection:
        connection.execute(claims.update().values(until=now() - timedelta(seconds=1)))
    job_id = ask(home, home.headers, Idempotency_Key="k1").json()["data"]["task_id"]
    with home.services.engine.begin() as connection:
        assert [] == connection.execute(select(claims)).all()
        connection.execute(insert(claims).values(**values, until=now() + timedelta(seconds=50)))

    assert job_id == ask(home, home.headers, Idempotency_Key="k1").json()["data"]["task_id"]


def test_of_racing_claims_one_holds(engine: Engine) -> None:
    """Eight at once: one may go on, seven are told; released, the next may; a claim taken over is not released."""
    rows, late = Claims(engine), MORNING + LEASE

    def take() -> Held | None:
        return rows.take("app", "k1", b"f", MORNING)

    assert 7 == sum(held is not None for held in race(*[take] * 8))
    assert rows.take("app", "k1", b"f", late) is None
    rows.release("app", "k1", MORNING)
    assert Held(b"f") == rows.take("app", "k1", b"f", late)
    rows.release("app", "k1", late)
    assert take() is None


def test_eight_equal_creates_at_once_are_one_job(home: House) -> None:
    """P4: each is answered with that job or told to ask again."""
    answers = race(*[lambda: ask(home, home.headers, Idempotency_Key="k1")] * 8)
    done = {answer.json()["data"]["task_id"] for answer in answers if answer.status_code == 200}

    assert 1 == len(done)
    assert {answer.status_code for answer in answers} <= {200, 409}
