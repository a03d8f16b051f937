"""The tables. `migrations/` makes them; a test holds the two together."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from worker.store.columns import MOMENT, count, metadata
from worker.store.tables_told import attempts, brokers, deliveries, receivers, subscriptions

__all__ = [
    "accounts",
    "api_keys",
    "attempts",
    "brokers",
    "buckets",
    "callbacks",
    "claims",
    "deliveries",
    "dependencies",
    "events",
    "expectations",
    "files",
    "jobs",
    "metadata",
    "payloads",
    "receivers",
    "runs",
    "set_aside",
    "subscriptions",
    "transfers",
]

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("model", Text),
    Column("state", Text, nullable=False),
    Column("external_task_id", Text),
    Column("callback_url", Text),
    #: A Celery task to send when it has ended, as celery://QUEUE/TASK.
    Column("on_done", Text),
    #: From the header Idempotency-Key, unique among the caller's jobs.
    Column("idempotency_key", Text),
    #: Where its files go; empty for the deployment's own, as it is named then.
    Column("bucket", Text, nullable=False, server_default=text("''")),
    #: Where in the bucket its files go: before the key that the template makes; empty for the root.
    Column("prefix", Text, nullable=False, server_default=text("''")),
    #: Accounts that may take it when the first can't, in order, separated by commas.
    Column("fallbacks", Text, nullable=False, server_default=text("''")),
    #: How many of the account's slots it takes while the provider works: 1, or the number of images.
    Column("slots", Integer, nullable=False, server_default=text("1")),
    #: The longest line of earlier jobs that it stands on.
    count("depth"),
    #: Whether a later job waits, or waited, for it: most ends have nobody to look for.
    Column("awaited", Boolean, nullable=False, server_default=text("false")),
    #: SHA-256 of the request, so that the same id with another body is an error.
    Column("fingerprint", LargeBinary, nullable=False),
    Column("provider_task_id", Text),
    #: The job that asked for its task and ended without it: see `worker.store.adoptions`.
    Column("adopted_from", Text),
    count("submissions"),
    count("deferrals"),
    count("lookups"),
    count("archive_attempts"),
    #: Beginnings of a step of which nothing was heard yet, and the last one: `worker.tasks.begin`.
    count("begun"),
    Column("begun_at", MOMENT),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("expected_units", Text),
    Column("list_price", Text),
    Column("units", Text),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    Column("submitted_at", MOMENT),
    Column("expected_at", MOMENT),
    Column("bytes_copied", BigInteger, nullable=False, server_default=text("0")),
    Column("bytes_total", BigInteger),
    #: Of the manifest that was written when it ended: the template of keys may change.
    Column("manifest_key", Text),
    Column("manifest_sha256", Text),
    count("version"),
    #: When the job wants attention; empty once it has ended.
    Column("due_at", MOMENT),
    #: Whether it was refused slots and waits for them: see `worker.store.turns`.
    Column("queued", Boolean, nullable=False, server_default=text("false")),
    #: Who copies its files just now, and until when that holds.
    Column("lease_owner", Text),
    Column("lease_until", MOMENT),
    UniqueConstraint("caller", "external_task_id"),
    UniqueConstraint("caller", "idempotency_key"),
)
Index("ix_jobs_due_at", jobs.c.due_at, postgresql_where=jobs.c.due_at.is_not(None))
Index("ix_jobs_listing", jobs.c.caller, jobs.c.family, jobs.c.created_at.desc(), jobs.c.id.desc())

Index(
    "ix_jobs_slots",
    jobs.c.account,
    jobs.c.caller,
    postgresql_where=jobs.c.state.in_(["submitting", "running"]),
)
#: Who waits for slots of a pack, caller by caller in the order of age; and who would take those of another account too.
_QUEUED = jobs.c.queued & (jobs.c.state == "accepted")
_KIND = func.split_part(jobs.c.family, "/", 1)
Index(
    "ix_jobs_queued",
    jobs.c.account,
    _KIND,
    jobs.c.caller,
    jobs.c.created_at,
    jobs.c.id,
    postgresql_where=_QUEUED,
)
Index("ix_jobs_queued_anywhere", _KIND, postgresql_where=_QUEUED & (jobs.c.fallbacks != ""))

Index("ix_jobs_places", jobs.c.bucket, jobs.c.prefix, postgresql_where=(jobs.c.bucket != "") | (jobs.c.prefix != ""))

#: A task is adopted once.
Index("ix_jobs_adopted_from", jobs.c.adopted_from, unique=True, postgresql_where=jobs.c.adopted_from.is_not(None))

#: Idempotency keys whose requests are being looked at: a second one is told so. Each holds for a moment only.
claims = Table(
    "claims",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    #: A crash leaves the row behind; from then on it means nothing.
    Column("until", MOMENT, nullable=False),
)

#: Which jobs stand on which: made with the later job, and never changed.
dependencies = Table(
    "dependencies",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    #: What its request calls the earlier one: our id or the caller's.
    Column("name", Text, primary_key=True),
    Column("after_id", Text, ForeignKey("jobs.id"), nullable=False),
    #: Whether what the earlier one made is held to the provider's rules before it is sent.
    Column("judged", Boolean, nullable=False),
)
Index("ix_dependencies_after_id", dependencies.c.after_id)

#: What is learned of the provider's accounts: their credentials and limits are settings.
accounts = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True),
    #: Those that the settings give it, as whoever was admitted last saw them: parts of them are counted where there are
    #: no settings.
    Column("slots", Integer),
    #: The concurrency that a refusal taught, and when: it is unlearned again, step by step.
    Column("learned_limit", Integer),
    Column("learned_at", MOMENT),
    #: Since when nothing is submitted, and why; and when one job may try whether that still holds.
    Column("stopped_at", MOMENT),
    Column("stopped_reason", Text),
    Column("probe_at", MOMENT),
)

#: How long tasks take, learned: a moving average for each kind of task.
expectations = Table(
    "expectations",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("seconds", Float, nullable=False),
    count("seen"),
)

#: What is large and expires: the request as it came, and what the provider last said.
payloads = Table(
    "payloads",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("request", LargeBinary),
    Column("answer", LargeBinary),
)

#: The inbox: each callback once, as it came, with what we made of it.
callbacks = Table(
    "callbacks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    #: Of a job that there is. To have the database hold that would make callbacks wait for whoever holds the job's row.
    Column("job_id", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Column("verdict", Text, nullable=False),
    Column("status", Text),
    Column("received_at", MOMENT, nullable=False),
    count("repeats"),
    #: Whether nobody has acted on it: its job's row was held when it came, so that a sweep has to make the job due; or
    #: the job had ended without a task.
    Column("unheard", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("job_id", "sha256"),
)
Index("ix_callbacks_unheard", callbacks.c.job_id, postgresql_where=callbacks.c.unheard)

files = Table(
    "files",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("provider_id", Text),
    Column("key", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("container", Text),
    Column("duration", Float),
    Column("width", Integer),
    Column("height", Integer),
    Column("fps", Float),
    Column("video_codec", Text),
    Column("audio_codec", Text),
    Column("poster_key", Text),
    Column("sheet_key", Text),
    Column("damaged_frames", Integer),
    Column("stored_at", MOMENT, nullable=False),
    #: The list of the provider's result that it stood in, where that is not the one of its kind.
    Column("listed", Text),
    UniqueConstraint("bucket", "key"),
)

#: Files under way. A row goes when its file is proven or given up.
transfers = Table(
    "transfers",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("upload_id", Text),
    Column("validator", Text),
    Column("length", BigInteger),
    Column("etags", JSONB, nullable=False),
    Column("size", BigInteger, nullable=False),
    #: Unsigned 32 bits, more than PostgreSQL's integer holds.
    Column("crc32", BigInteger, nullable=False),
    Column("walk", JSONB),
    Column("sha256", Text),
    Column("whole", Boolean, nullable=False),
    Column("begun_at", MOMENT, nullable=False),
    Column("rest", JSONB),
    Column("intended", JSONB),
)

#: The timeline of a job: append-only. A test event of a subscription belongs to no job.
events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id")),
    Column("sequence", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", MOMENT, nullable=False),
    Column("data", JSONB, nullable=False),
    UniqueConstraint("job_id", "sequence"),
)
#: How the ends of tasks were found: one for each job.
Index("ix_events_found", events.c.at, postgresql_where=events.c.data["found_by"].astext.is_not(None))

#: When something was last done that is to be done now and then: processes that ask for it start as often as they like.
runs = Table("runs", metadata, Column("name", Text, primary_key=True), Column("at", MOMENT, nullable=False))

#: Buckets that take no files just now: see `worker.store.buckets`. One that takes them has no row.
buckets = Table(
    "buckets",
    metadata,
    #: As jobs name it; empty for the deployment's own.
    Column("name", Text, primary_key=True),
    Column("since", MOMENT, nullable=False),
    Column("reason", Text, nullable=False),
    #: Whether only a person can change that.
    Column("lasts", Boolean, nullable=False),
    #: When one job may try it again, and when it is looked at without one.
    Column("probe_at", MOMENT, nullable=False),
    Column("look_at", MOMENT, nullable=False),
)

#: Messages from other apps that could not be understood: kept for a person to read.
set_aside = Table(
    "set_aside",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("task", Text, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", MOMENT, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("name", Text, primary_key=True),
    #: Keyed with the app's secret: the table alone lets nobody in.
    Column("hmac", LargeBinary, nullable=False, unique=True),
    #: The key itself, sealed with the app's secret: a client that signs its requests proves that it has it.
    Column("sealed", LargeBinary, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("revoked_at", MOMENT),
    Column("expires_at", MOMENT),
    #: The key before this one, which opens too until then.
    Column("old_hmac", LargeBinary),
    Column("old_sealed", LargeBinary),
    Column("old_until", MOMENT),
    #: What it may do: see `worker.jobs.access`.
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{submit,read,operate}'")),
    Column("prefixes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("buckets", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    #: Slots of one account that its jobs may hold at once, or percent of them.
    Column("slots", Integer),
    Column("slots_percent", Integer),
    Column("per_minute", Integer),
    #: When its requests of the last minute are worked off, so to say: one statement counts for every web process.
    Column("busy_until", MOMENT),
    #: To the minute.
    Column("used_at", MOMENT),
)
Index("ix_api_keys_old_hmac", api_keys.c.old_hmac, unique=True, postgresql_where=api_keys.c.old_hmac.is_not(None))
