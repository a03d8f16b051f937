"""A job and its files, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The last five are ends: nothing leaves them."""

    WAITING = "waiting"  #: checked and stored; begins when the jobs that it names are archived
    ACCEPTED = "accepted"  #: checked and stored; nobody was asked yet
    SUBMITTING = "submitting"  #: the provider is being asked, or was, and the outcome is not known
    RUNNING = "running"  #: the provider has a task and works on it
    COPYING = "copying"  #: the provider is done; its files are on their way into the bucket
    ARCHIVED = "archived"  #: every file is in the bucket and proven
    FAILED = "failed"  #: it won't be made, and the reason is known
    CANCELLED = "cancelled"  #: somebody ended it before the provider was asked
    UNKNOWN = "unknown"  #: whether the provider made and billed a task could not be settled
    EXPIRED = "expired"  #: the provider never finished, or its files were gone before they could be copied


ENDS = frozenset({State.ARCHIVED, State.FAILED, State.CANCELLED, State.UNKNOWN, State.EXPIRED})


@dataclass(frozen=True)
class Job:
    """One row of `jobs`, but for the request's body, which can be megabytes and is read when it is needed."""

    id: str  #: ours; the task id that callers see, and the external task id that the provider sees
    caller: str  #: name of the API key that asked
    account: str  #: name of the provider account that it is for
    family: str  #: the provider's path below /v1, such as videos/omni-video
    model: str | None  #: the provider's model, as named or by its default; None where the family has none
    state: State
    external_task_id: str | None  #: the caller's own, unique among the caller's jobs
    bucket: str  #: where its files go; empty for the deployment's own, as it is named then
    prefix: str  #: where in the bucket its files go, before the template's keys; empty for the root
    fallbacks: str  #: accounts that may take it when the first can't, in order, separated by commas
    slots: int  #: of the account, while the provider works on it
    depth: int  #: the longest line of earlier jobs that it stands on; 0 where it stands alone
    awaited: bool  #: whether a later job waits, or waited, for it
    callback_url: str | None  #: where the caller wants to be told
    on_done: str | None  #: a Celery task to send then, as celery://QUEUE/TASK
    provider_task_id: str | None
    adopted_from: str | None  #: the job that asked for its task, and ended without it; None for the one that asked
    submissions: int  #: how often a create may have left for the provider
    deferrals: int  #: how often it surely reached nobody and was put off
    lookups: int  #: how often it was looked up in a row without being found
    archive_attempts: int
    begun: int  #: how often in a row a step was begun of which nothing was heard yet
    error_code: str | None
    error_message: str | None
    expected_units: str | None  #: what the price table says, a decimal
    list_price: str | None  #: the same in USD
    units: str | None  #: what the provider says it deducted, a decimal
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None
    expected_at: datetime | None  #: when the provider is likely done
    bytes_copied: int  #: of its result files, so far
    bytes_total: int | None  #: None until the first file says how long it is
    manifest_key: str | None  #: where its manifest lies; None while there is none, and for those of older versions
    manifest_sha256: str | None
    due_at: datetime | None  #: when it wanted attention when it was read; None at an end
    version: int  #: moves with every change of state; what compare-and-set compares

    @property
    def is_stray(self) -> bool:
        """Whether it has ended, and the provider may have a task of it all the same that nobody has fetched."""
        never_taken = self.state is State.FAILED and self.submissions > 0 and self.provider_task_id is None
        return never_taken or self.state in {State.UNKNOWN, State.EXPIRED}


#: The kind of what a field links to that nobody knows: it is stored as it came.
OTHER = "other"
#: Where images stand that were made as one series.
SERIES = "series_images"


@dataclass(frozen=True)
class ResultFile:
    """One file of a job in the bucket, proven."""

    kind: str  #: video, image, audio or other
    variant: str  #: original, watermarked, ...; of other: where it stood in the provider's result
    ordinal: int  #: place in the provider's list, from 0
    provider_id: str | None
    key: str
    bucket: str
    size: int  #: bytes
    sha256: str
    content_type: str
    container: str | None
    duration: float | None  #: seconds
    width: int | None
    height: int | None
    fps: float | None
    video_codec: str | None
    audio_codec: str | None
    poster_key: str | None
    sheet_key: str | None  #: of the contact sheet
    listed: str | None  #: the list of the provider's result that it stood in, where that is not the one of its kind
    damaged_frames: int | None  #: that did not decode whole; None where not all of them were tried
