"""What must hold after every scenario: the promises, each as a function from what is true to what is broken."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import requests

from infra.media import probe
from infra.stack.process import wait_until
from tests.chaos.world import World
from worker.jobs.machine import TABLE
from worker.jobs.model import ENDS, State

_RANK = {"submitted": 0, "processing": 1, "succeed": 2, "failed": 2}
_MOVES = {(before, move.state) for (before, _), move in TABLE.items()}
#: Connections that a small plan has.
_CONNECTIONS = 20
#: Files of the bucket that are read at once.
_READERS = 4
# The emulator's ids are snowflakes like Kling's: when a task was made is in its id.
_EPOCH_MS, _SHIFT = 1568028518780, 22


@dataclass
class Facts:
    """What is true after a scenario, gathered once."""

    jobs: dict[str, dict[str, Any]]
    events: dict[str, list[dict[str, Any]]]
    files: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]
    callbacks: list[dict[str, Any]]
    emulator: dict[str, Any]
    objects: Counter[str]
    lost: int = 0
    creates_twice: int = 0
    files_twice: int = 0
    recovery: list[float] = field(default_factory=list)


def gather(world: World) -> Facts:
    """Ask everybody; the emulator first: what it knows was answered to it, a row has been written for."""
    emulator = world.emulator("GET", "state")
    ids = world.run.jobs
    jobs = {row["id"]: row for row in world.rows("select * from jobs where id = any(%s)", ids)}
    events: dict[str, list[dict[str, Any]]] = {job: [] for job in ids}
    for event in world.rows("select * from events where job_id = any(%s) order by job_id, sequence", ids):
        events[event["job_id"]].append(event)
    pages = world.bucket.get_paginator("list_objects_v2").paginate(Bucket=world.deployment.access.servers.s3_bucket)
    facts = Facts(
        jobs,
        events,
        world.rows("select * from files where job_id = any(%s)", ids),
        world.rows("select * from deliveries where job_id = any(%s)", ids),
        world.rows("select * from callbacks where job_id = any(%s)", ids),
        emulator,
        Counter(item["Key"] for page in pages for item in page.get("Contents", [])),
    )
    facts.recovery = _recovery(facts, world.run.healed or datetime.now(UTC))
    return facts


def _recovery(facts: Facts, healed: datetime) -> list[float]:
    """Seconds that each job which was open when the fault ended still took until its receiver had been told."""
    done = {job: row["updated_at"] for job, row in facts.jobs.items() if row["due_at"] is None}
    for one in facts.deliveries:
        if one["delivered_at"] and one["job_id"] in done:
            done[one["job_id"]] = max(done[one["job_id"]], one["delivered_at"])
    return [
        (moment - healed).total_seconds()
        for job, moment in done.items()
        if facts.jobs[job]["created_at"] <= healed < moment
    ]


def every_job_ends(world: World, facts: Facts, ends: frozenset[State]) -> list[str]:
    """P1: every accepted job reached a final state, and one that this scenario leads to."""
    broken = [f"{job}: accepted, and there is no row" for job in world.run.jobs if job not in facts.jobs]
    for job, row in facts.jobs.items():
        if row["state"] not in ENDS:
            broken.append(f"{job}: still {row['state']}: {_story(facts, job)}")
        elif row["state"] not in ends:
            broken.append(f"{job}: ended {row['state']}: {row['error_message']}: {_story(facts, job)}")
    facts.lost = len(broken)
    return broken


def files_once_and_proven(world: World, facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P2: the bucket holds what the rows say, the manifest of what is archived, and nothing else, of nobody else."""
    broken = []
    by_job: dict[str, set[str]] = {}
    for key in facts.objects:
        by_job.setdefault(key.rpartition("/")[0].rpartition("/")[2], set()).add(key)
    strange = by_job.keys() - {row["id"] for row in world.rows("select id from jobs")}
    broken += [f"{sorted(by_job[job])} belong to no job" for job in strange]
    files: dict[str, list[dict[str, Any]]] = {job: [] for job in facts.jobs}
    for file in facts.files:
        files[file["job_id"]].append(file)
    for job, row in facts.jobs.items():
        names = ("key", "poster_key", "sheet_key")
        wanted = {file[name] for file in files[job] for name in names if file[name]}
        there = {key for key in by_job.get(job, ()) if not key.endswith("/manifest.json")}
        archived = row["state"] == State.ARCHIVED
        if there != wanted or (archived and not (files[job] and len(by_job[job]) == len(wanted) + 1)):
            facts.files_twice += max(len(there) - len(wanted), 0)
            broken.append(f"{job}: the bucket holds {sorted(by_job.get(job, ()))}, the rows say {sorted(wanted)}")
    probed: set[str] = set()
    with ThreadPoolExecutor(_READERS) as readers:
        proofs = [readers.submit(_proof, world, file, probed) for file in facts.files]
    return broken + [fault for proof in proofs for fault in proof.result()]


def _proof(world: World, file: dict[str, Any], probed: set[str]) -> list[str]:
    job, key = file["job_id"], file["key"]
    body = world.bucket.get_object(Bucket=file["bucket"], Key=key)["Body"].read()
    if (len(body), hashlib.sha256(body).hexdigest()) != (file["size"], file["sha256"]):
        return [f"{job}: {key} is not what its row says"]
    answer = world.rows("select answer from payloads where job_id = %s", job)[0]["answer"]
    links = re.findall(rb'"url"\s*:\s*"([^"]+)"', bytes(answer))
    if requests.get(links[file["ordinal"]].decode(), timeout=30).content != body:
        return [f"{job}: {key} is not what Kling made"]
    if file["sha256"] not in probed:  # Kling's stand-in gives equal requests equal bytes
        probe(BytesIO(body))
        probed.add(file["sha256"])
    return []


def told_once_in_order(world: World, facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P3: everybody was told, under one id each, and what callers see never goes back."""
    broken = []
    ids: dict[str, set[str]] = {}
    bodies = world.app.bodies  # first: of one that is just coming in the headers are there before it
    heard = list(zip(world.app.headers, bodies, strict=False))[world.run.heard_before :]
    for headers, body in heard:
        ids.setdefault(body["task_id"], set()).add(headers["webhook-id"])
        if _RANK[body["task_status"]] != 2:
            broken.append(f"{body['task_id']}: told that it is {body['task_status']}")
    for job, row in facts.jobs.items():
        delivered = {one["id"] for one in facts.deliveries if one["job_id"] == job and one["state"] == "delivered"}
        if row["state"] in ENDS and row["callback_url"] and (len(delivered) != 1 or ids.get(job) != delivered):
            broken.append(f"{job}: {len(delivered)} deliveries in the rows, the receiver got {ids.get(job)}")
    for job, words in world.run.seen.items():
        ranks = [_RANK[word] for word in words]
        if ranks != sorted(ranks):
            broken.append(f"{job}: a caller saw {words}")
    return broken


def moves_by_the_table(_world: World, facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P3, P6: the timeline of each job is a walk through the machine, and nothing follows its end."""
    broken = []
    for job, events in facts.events.items():
        states = [word for event in events if (word := event["type"].removeprefix("job.")) in {*State}]
        if any(pair not in _MOVES for pair in pairwise(states)):
            broken.append(f"{job}: moved {states}")
    return broken


def asked_for_once(world: World, facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P4: no create left after Kling had the task, and none that the row did not announce; each repetition waited."""
    broken = []
    made: dict[str, list[datetime]] = {}
    for task in facts.emulator["tasks"]:
        moment = datetime.fromtimestamp(((int(task["task_id"]) >> _SHIFT) + _EPOCH_MS) / 1000, UTC)
        made.setdefault(str(task["external_task_id"]), []).append(moment)
    for job, events in facts.events.items():
        begun = [event["at"] for event in events if event["type"] == "job.submitting"]
        late = [moment for moment in begun if made.get(job) and moment > made[job][0]]
        sent = facts.emulator["creates"].get(job, 0)
        twice = len(late) + max(sent - len(begun), 0) + max(len(made.get(job, [])) - 1, 0)
        facts.creates_twice += twice
        if twice:
            broken.append(f"{job}: {sent} creates, {len(begun)} announced, {len(late)} after the task was there")
        gaps = [
            later - at for (at, settled), (later, _) in pairwise(facts.emulator["sent"].get(job, ())) if not settled
        ]
        if gaps and min(gaps) < world.absent_seconds:
            broken.append(f"{job}: created again after {min(gaps):.0f} s, before absence could be proven")
    return broken


#: What the door says in its log of an error that nobody thought of.
_UNFORESEEN = re.compile(r'^.*"door\.unforeseen".*$', re.MULTILINE)


def callbacks_are_kept(world: World, facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P5: what was answered 2xx is in the inbox; 5xx is said only as 503 with Retry-After, and to callbacks only while
    the database is hurt.
    """
    tasks = {task["task_id"]: task["external_task_id"] for task in facts.emulator["tasks"]}
    kept = {(row["job_id"], row["status"]) for row in facts.callbacks}
    broken = list(world.run.faults)
    for sent in facts.emulator["callbacks"][world.run.callbacks_before :]:
        job, status = tasks[sent["task_id"]], sent["http_status"]
        if job not in facts.jobs or status is None:
            continue
        if 200 <= status < 300 and (job, sent["status"]) not in kept:
            broken.append(f"{job}: a callback {sent['status']} was answered {status} and is not in the inbox")
        if status >= 500 and not (status == 503 and world.run.calls_again):
            broken.append(f"{job}: a callback was answered {status}")
    return broken + [f"{name} {line}" for name, text in _logged(world) for line in _UNFORESEEN.findall(text)]


def nothing_is_left(world: World, facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P7: no upload, lease, transaction, process or file is left behind, no more connections than a small plan has."""
    listed = world.bucket.list_multipart_uploads(Bucket=world.deployment.access.servers.s3_bucket)
    broken = [f"an unfinished upload of {upload['Key']}" for upload in listed.get("Uploads", [])]
    broken += [f"{job}: still leased" for job, row in facts.jobs.items() if row["lease_owner"]]
    under_way = world.rows("select job_id from transfers where job_id = any(%s)", [*facts.jobs])
    broken += [f"{row['job_id']}: a file is still under way" for row in under_way]
    sessions = world.rows(
        "select state, now() - xact_start > '30 s' as long from pg_stat_activity where datname=%s "
        "and application_name like 'reelhook-%%'",
        "reelhook",
    )
    broken += ["a transaction has been open for 30 s" for session in sessions if session["long"]]
    if len(sessions) > _CONNECTIONS:
        broken.append(f"{len(sessions)} connections to PostgreSQL")
    wait_until(lambda: not (world.strays() or world.droppings()), 60, pause=0.3)
    broken += [f"process {pid} outlived its group: {command}" for pid, command in world.strays().items()]
    broken += [f"{path} was left in the folder for temporary files" for path in world.droppings()]
    return broken


def no_secret_in_logs(world: World, _facts: Facts, _ends: frozenset[State]) -> list[str]:
    """P8: the logs of our processes hold no key, password, token or signature."""
    environment = world.deployment.access.variables({})
    secrets = {environment["REELHOOK_API_KEY"], environment["S3_SECRET_ACCESS_KEY"], "X-Amz-Signature=", "Bearer ey"}
    secrets |= {urlsplit(environment[name]).password or "" for name in ("DATABASE_URL", "REDIS_URL", "KLING_URL")}
    secrets.add(world.deployment.servers.kept.get("SECRET_KEY") or "")
    broken = []
    for name, text in _logged(world):
        broken += [f"{name} holds a secret ({secret[:4]}...)" for secret in secrets - {""} if secret in text]
        if re.search(r"/callbacks/kling/[^/\s]+/[0-9a-f]{32}", text):
            broken.append(f"{name} holds a callback token")
    return broken


def _logged(world: World) -> Iterator[tuple[str, str]]:
    """What each of our processes has logged in this scenario."""
    for path in world.deployment.state.glob("logs/*.log"):
        if path.stem.partition("-")[0] in {"web", "worker", "beat", "release"}:
            with path.open("rb") as log:
                log.seek(world.run.log_begins.get(path.stem, 0))
                yield path.name, log.read().decode(errors="replace")


def _story(facts: Facts, job: str) -> str:
    return " > ".join(event["type"].removeprefix("job.") for event in facts.events[job])


Promise = Callable[[World, Facts, frozenset[State]], list[str]]

PROMISES: dict[str, Promise] = {
    "P1": every_job_ends,
    "P2": files_once_and_proven,
    "P3": told_once_in_order,
    "P3/P6": moves_by_the_table,
    "P4": asked_for_once,
    "P5": callbacks_are_kept,
    "P7": nothing_is_left,
    "P8": no_secret_in_logs,
}


def judge(world: World, ends: frozenset[State]) -> tuple[Facts, list[str]]:
    """The facts, and every promise that broke."""
    facts = gather(world)
    return facts, [f"{name} {fault}" for name, promise in PROMISES.items() for fault in promise(world, facts, ends)]
