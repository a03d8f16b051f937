from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import MORNING, a_file, a_job
from worker.jobs import outbound
from worker.jobs.events import STATES
from worker.jobs.model import State


def link(bucket: str, key: str) -> str:
    """A link that shows where it leads."""
    return f"https://{bucket}/{key}"


@given(st.sampled_from(State))
def test_succeed_is_said_of_archived_jobs_only(state: State) -> None:
    """A caller hears `succeed` once the files are safe, and sees links then and not before."""
    shown = outbound.task(a_job(state=state), [a_file()], link)

    assert (state is State.ARCHIVED) == (shown["task_status"] == "succeed")
    assert (state is State.ARCHIVED) == bool(shown["task_result"])


def test_a_video_is_shown_in_kling_s_shape() -> None:
    """`task_result.videos[]` carries id, url and the duration as a string; a watermarked twin rides along."""
    files = [a_file(), a_file(variant="watermarked", key="kling/marked.mp4")]

    expected = {
        "videos": [
            {
                "id": "797191640795996237",
                "url": "https://reelhook/kling/2026/11/21/01hz/video-0.mp4",
                "duration": "5.041",
                "watermark_url": "https://reelhook/kling/marked.mp4",
            }
        ]
    }
    assert expected == outbound.task_result(files, link)


def test_images_are_shown_by_index() -> None:
    """`task_result.images[]` carries index and url, in order."""
    files = [a_file(kind="image", ordinal=1, key="b"), a_file(kind="image", ordinal=0, key="a")]

    expected = {"images": [{"index": 0, "url": "https://reelhook/a"}, {"index": 1, "url": "https://reelhook/b"}]}
    assert expected == outbound.task_result(files, link)


def test_a_series_is_shown_where_kling_has_it() -> None:
    """A client that reads `series_images` finds them there, from 0, and `images` empty if there are no more."""
    series = [a_file(kind="image", ordinal=place, key=f"s{place}", listed="series_images") for place in (2, 1)]
    single = a_file(kind="image", ordinal=0, key="i")
    marked = a_file(kind="image", ordinal=2, variant="watermarked", key="m", listed="series_images")

    shown = [
        {"index": 0, "url": "https://reelhook/s1"},
        {"index": 1, "url": "https://reelhook/s2", "watermark_url": "https://reelhook/m"},
    ]
    one = {"index": 0, "url": "https://reelhook/i"}
    assert {"result_type": "series", "images": [], "series_images": shown} == outbound.task_result(
        [marked, *series], link
    )
    assert [one] == outbound.task_result([*series, single], link)["images"]


def test_a_sound_is_shown_in_its_formats() -> None:
    """`task_result.audios[]` carries each format of one sound side by side."""
    files = [
        a_file(kind="audio", variant="mp3", key="a.mp3", duration=5.0),
        a_file(kind="audio", variant="wav", key="a.wav", duration=5.04),
    ]

    expected = {
        "id": "797191640795996237",
        "url_mp3": "https://reelhook/a.mp3",
        "duration_mp3": "5",
        "url_wav": "https://reelhook/a.wav",
        "duration_wav": "5.04",
    }
    assert {"audios": [expected]} == outbound.task_result(files, link)


def test_a_failure_carries_its_reason() -> None:
    """`task_status_msg` is the provider's reason, and names our own state where that says more than `failed`."""
    failed = a_job(state=State.FAILED, error_message="Failure to pass the risk control system")
    unknown = a_job(state=State.UNKNOWN, error_message="not settled")

    assert outbound.status_message(failed) == "Failure to pass the risk control system"
    assert outbound.status_message(unknown) == "unknown: not settled"


def test_external_task_id_is_echoed() -> None:
    """`task_info.external_task_id` is the caller's own; without one the object is empty."""
    assert {"external_task_id": "mine"} == outbound.created(a_job(external_task_id="mine"))["task_info"]
    assert {} == outbound.created(a_job())["task_info"]


def at(state: State, sequence: int = 3) -> outbound.Occurred:
    """A job came to `state`."""
    return outbound.Occurred(f"job.{state}", sequence, MORNING, {})


@given(st.sampled_from(sorted(STATES)), st.sampled_from(sorted(State)))
def test_an_event_tells_what_was_true_then(then: State, now: State) -> None:
    """P3: however late it is told, an event says the state that it is about, and links only if that is archived."""
    shown = outbound.event(a_job(state=now, error_message="why"), [a_file()], link, at(then))

    assert STATES[then].type == shown["type"]
    assert (then, outbound.task_status(then), 3) == (
        shown["data"]["state"],
        shown["data"]["task_status"],
        shown["data"]["sequence"],
    )
    assert (then is State.ARCHIVED) == bool(shown["data"]["files"]) == bool(shown["data"]["task_result"])
    assert MORNING.isoformat() == shown["timestamp"]


def test_a_callback_is_kling_s_own_with_ours_under_one_name() -> None:
    """Beside Kling's fields there is one more, with state, hashes, sizes and pictures."""
    job = a_job(state=State.ARCHIVED)
    shown = outbound.callback(job, [a_file()], link, at(State.ARCHIVED))

    assert {**outbound.task(job, [a_file()], link), "reelhook": shown["reelhook"]} == shown
    (file,) = shown["reelhook"]["files"]
    place = "https://reelhook/kling/2026/11/21/01hz/video-0"
    assert ("0" * 64, 1000, f"{place}.poster.jpg", f"{place}.sheet.jpg") == (
        file["sha256"],
        file["size"],
        file["poster_url"],
        file["sheet_url"],
    )


def test_attention_says_why() -> None:
    """An event that wants a person carries the reason and a sentence."""
    occurred = outbound.Occurred("job.attention", 4, MORNING, {"reason": "slow", "message": "it is late"})
    shown = outbound.event(a_job(state=State.RUNNING), [], link, occurred)

    assert ("job.attention", "slow", "it is late") == (
        shown["type"],
        shown["data"]["reason"],
        shown["data"]["message"],
    )


def test_a_field_that_nobody_knows_is_shown_where_it_stood() -> None:
    """A client that reads it of Kling reads it here, with a link into the bucket; and no other field is changed."""
    files = [
        a_file(),
        a_file(kind="image", ordinal=1, key="i"),
        a_file(kind="other", variant="videos[797191640795996237].cover_url", key="a"),
        a_file(kind="other", variant="videos[797191640795996237].url", key="b"),
        a_file(kind="other", variant="images[1].url_2", key="c"),
        a_file(kind="other", variant="zip_url", key="d"),
        a_file(kind="other", variant="videos[nobody].cover_url", key="e"),
        a_file(kind="other", variant="deeper.inside[3].still", key="f"),
    ]
    shown = outbound.task_result(files, link)

    assert {"videos", "images", "zip_url"} == set(shown)
    assert "https://reelhook/d" == shown["zip_url"]
    assert {"index": 1, "url": "https://reelhook/i", "url_2": "https://reelhook/c"} == shown["images"][0]
    assert "https://reelhook/a" == shown["videos"][0]["cover_url"]
    assert "https://reelhook/kling/2026/11/21/01hz/video-0.mp4" == shown["videos"][0]["url"]


@given(
    st.permutations(["videos", "videos[7].x", "images[0].y", "images", "series_images", "audios", "audios[0].videos"])
)
def test_no_link_stands_where_a_list_is_expected(places: list[str]) -> None:
    """One that the provider gave in place of a list breaks no client that reads a list there, and no answer of ours."""
    files = [a_file(kind="other", variant=place, key=str(number)) for number, place in enumerate(places)]

    assert {} == outbound.task_result(files, link)
