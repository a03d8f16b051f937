"""The shapes of answers: Kling's, and those of our own routes. The API's description is made from them.

Source of Kling's: its reference, "general information", "query task (single)" and "query task (list)".
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from worker.jobs.model import State
from worker.jobs.signing import Signing

_Data = TypeVar("_Data")


class Shape(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class Result(BaseModel):
    """The same of what Kling made: links that this version has no field for stand where Kling has them."""

    model_config = ConfigDict(extra="allow")


# --- Kling's --------------------------------------------------------------------------------------------------------
class Failure(Shape):
    """Kling's envelope around an error."""

    code: Annotated[int, Field(description="Kling's code of the error", examples=[1201])]
    message: Annotated[str, Field(description="every fault: the field, what is allowed, what was found, the rule")]
    request_id: str


class Success(Shape, Generic[_Data]):
    """Kling's envelope around data."""

    code: Literal[0]
    message: str
    request_id: str
    data: _Data


class TaskInfo(Shape):
    """What the caller said of the task."""

    external_task_id: str | None = None


class CreatedTask(Shape):
    """A task as a create answers."""

    task_id: Annotated[str, Field(description="our id of the job")]
    task_status: Literal["submitted", "processing", "succeed", "failed"]
    task_info: TaskInfo
    created_at: Annotated[int, Field(description="milliseconds since 1970")]
    updated_at: Annotated[int, Field(description="milliseconds since 1970")]


class Video(Result):
    """One film, its watermarked twin beside it."""

    id: Annotated[str | None, Field(description="Kling's id of it, for extending and the like")] = None
    url: Annotated[str | None, Field(description="a link into your bucket, made anew each time")] = None
    duration: Annotated[str | None, Field(description="seconds")] = None
    watermark_url: str | None = None


class Image(Result):
    """One picture."""

    index: int
    url: str | None = None
    watermark_url: str | None = None


class Audio(Result):
    """One sound, in one format or in two."""

    id: str | None = None
    url: str | None = None
    duration: str | None = None
    url_mp3: str | None = None
    duration_mp3: str | None = None
    url_wav: str | None = None
    duration_wav: str | None = None
    watermark_url: str | None = None


class TaskResult(Result):
    """Empty until every file is proven."""

    videos: list[Video] | None = None
    result_type: Annotated[str | None, Field(description="`series`, where there are images of one")] = None
    images: list[Image] | None = None
    series_images: Annotated[list[Image] | None, Field(description="made as one series, beside `images`")] = None
    audios: list[Audio] | None = None


class Task(CreatedTask):
    """A task as a query shows it. `succeed` is said once every file is in the bucket and proven."""

    task_status_msg: Annotated[str, Field(description="why it failed; empty otherwise")]
    task_result: TaskResult
    final_unit_deduction: Annotated[str | None, Field(description="units that Kling deducted, a decimal")] = None


class CreatedAnswer(Success[CreatedTask]):
    """The task, new or made before from the same request."""


class TaskAnswer(Success[Task]):
    """One task."""


class TasksAnswer(Success[list[Task]]):
    """A page of tasks, newest first."""


# --- our own --------------------------------------------------------------------------------------------------------
class FieldFault(Shape):
    """One thing that is wrong with a request."""

    field: str
    rule: str
    fix: str


class ProblemDetails(Shape):
    """An error of our own routes (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[FieldFault] = []


class Word(Shape):
    """How it is, in a word."""

    status: str


class Ready(Word):
    """That it works, and what a person should look at all the same."""

    notes: list[str]


class Cost(Shape):
    """What a job costs, as decimals: by the price table, and as Kling said in the end."""

    expected_units: str | None
    list_price_usd: str | None
    final_unit_deduction: str | None


class JobError(Shape):
    """Why a job ended badly."""

    code: str | None
    message: str | None


class StoredFile(Shape):
    """What everybody hears of a proven file in the bucket."""

    kind: Annotated[
        Literal["video", "image", "audio", "other"],
        Field(description="`other`: stored as it came, of a field that this version does not know"),
    ]
    variant: Annotated[
        str, Field(description="original, watermarked, or a sound's format; of `other` its place in Kling's result")
    ]
    ordinal: Annotated[int, Field(description="place in Kling's list, from 0")]
    bucket: str
    key: str
    size: Annotated[int, Field(description="bytes")]
    sha256: str
    content_type: str
    duration: Annotated[float | None, Field(description="seconds")]
    width: int | None
    height: int | None
    fps: float | None
    video_codec: str | None
    audio_codec: str | None
    damaged_frames: Annotated[
        int | None,
        Field(
            description="frames of a film that did not decode whole; null where it was not decoded from end to end: "
            "it has more than 750 frames, or contact sheets are turned off"
        ),
    ]


class File(StoredFile):
    """One proven file in the bucket."""

    provider_id: str | None
    container: str | None
    poster_key: str | None
    sheet_key: Annotated[str | None, Field(description="the contact sheet")]
    listed: Annotated[
        str | None,
        Field(description="the list of Kling's result that it stood in, where not that of its kind"),
    ]
    url: Annotated[str, Field(description="opens for a while")]
    poster_url: str | None
    sheet_url: str | None


class ChainedJob(Shape):
    """A job of a chain."""

    id: str
    external_task_id: str | None
    family: str
    state: State


class Chain(Shape):
    """Jobs that stand on each other, as one: earlier ones first."""

    state: Annotated[State, Field(description="of the first that went wrong, else of the first that is open")]
    archived: int
    of: int
    jobs: list[ChainedJob]


class JobShown(Shape):
    """What Kling's API can't say of a job."""

    id: str
    family: str
    model: str | None
    state: State
    external_task_id: str | None
    provider_task_id: str | None
    adopted_from: Annotated[str | None, Field(description="our id of the job that ended without this task")]
    adopted_by: Annotated[str | None, Field(description="our id of the job that has the task it ended without")]
    created_at: datetime
    updated_at: datetime
    bytes_copied: int
    bytes_total: int | None
    account: str
    cost: Cost
    error: JobError | None
    bucket: Annotated[str, Field(description="where its files go")]
    manifest_key: str | None
    manifest_url: str | None
    after: Annotated[list[str] | None, Field(description="ids of the jobs that it stands on")] = None
    then: Annotated[list[str] | None, Field(description="ids of the jobs that stand on it")] = None
    chain: Chain | None = None
    files: list[File]


class Happened(Shape):
    """One entry of a timeline."""

    sequence: int
    type: str
    at: datetime
    data: dict[str, Any]


class Heard(Shape):
    """A callback of Kling's, without its body."""

    id: int
    verdict: str
    status: str | None
    received_at: datetime
    repeats: int


class Timeline(Shape):
    """What happened to a job, in order."""

    id: str
    events: list[Happened]
    callbacks: list[Heard]


class SubscriptionShown(Shape):
    """A standing order to be told."""

    id: str
    url: str
    types: list[str]
    description: str
    signing: Signing
    public_key: Annotated[str | None, Field(description="of v1a: what a receiver verifies with")]
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    both_secrets_until: Annotated[datetime | None, Field(description="after a rotation")]
    created_at: datetime


class SubscriptionMade(SubscriptionShown):
    """The same with the secret of v1, shown this once: left out where the request is repeated after a day, or after the
    secret was replaced.
    """

    secret: str | None = None


class SubscriptionEnabled(SubscriptionShown):
    """The same, and how many events that it had kept are sent now."""

    sent_now: int


class Subscriptions(Shape):
    """All of a caller's, oldest first."""

    subscriptions: list[SubscriptionShown]


class SubscriptionTold(Shape):
    """A part of what happened, on its way."""

    replayed: Annotated[int, Field(description="events that it had not got, which are sent to it now")]
    next: Annotated[str | None, Field(description="`after` of the next part; null after the last")]


class EventTypes(Shape):
    """What can be subscribed to."""

    types: Annotated[dict[str, str], Field(description="each type with what it means")]
    reasons: Annotated[dict[str, str], Field(description="why a job wants a person's attention")]


class TestSent(Shape):
    """A test event on its way."""

    __test__ = False  # no test of pytest's

    delivery: Annotated[str, Field(description="its `webhook-id`")]


class DeliveryShown(Shape):
    """One event for one receiver."""

    id: Annotated[str, Field(description="its `webhook-id`, the same at every attempt")]
    type: str
    sequence: Annotated[int, Field(description="place of the event among its job's")]
    at: Annotated[datetime, Field(description="when it happened")]
    job_id: str | None
    url: Annotated[str | None, Field(description="of the request's callback_url or on_done")] = None
    subscription: Annotated[str | None, Field(description="instead of a URL: who subscribed")] = None
    state: Literal["pending", "held", "delivered", "given_up"]
    attempts: int
    due_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None


class Attempt(Shape):
    """One try at a delivery."""

    number: int
    at: datetime
    seconds: float
    status: Annotated[int | None, Field(description="None where nobody answered")]
    answer: Annotated[str | None, Field(description="its first kB")]
    error: str | None


class DeliveryTried(DeliveryShown):
    """The same with every try."""

    tried: list[Attempt]


class Deliveries(Shape):
    """A page, newest first."""

    deliveries: list[DeliveryShown]
    next: Annotated[str | None, Field(description="`before` of the next page")]


class Replayed(Shape):
    """What was begun anew."""

    replayed: int
