"""Kling answers oddly or not at all; its callbacks come never, late, often, or from somebody else."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import requests

from tests.chaos.world import World, until
from worker.jobs.tokens import callback_token


def creates_ambiguous(world: World, jobs: int, rounds: int) -> None:
    """Kling takes a create and its answer is lost, or is an error; or it takes none and hangs up just the same."""
    for fault in ("drop_after", "error_500_after", "error_504_after", "html_200_after", "drop_before", "error_500"):
        world.fault("create", fault, rounds)
    world.submit(jobs, every=0.1)


def kling_full(world: World, jobs: int, rounds: int) -> None:
    """1303 and 1302, many times: no slot is free, and we ask too fast."""
    world.fault("create", "status_429_1303", rounds)
    world.fault("create", "status_429_1302", rounds)
    world.submit(jobs, every=0.05)


def kling_html(world: World, jobs: int, rounds: int) -> None:
    """Where JSON should be is somebody's web page."""
    world.fault("create", "html_200_after", rounds)
    world.fault("query", "html_200", rounds * 3)
    world.fault("cdn", "html_200", rounds)
    world.submit(jobs, every=0.1)


def queries_fail(world: World, jobs: int, rounds: int) -> None:
    """Questions are answered with errors, not at all, or late; result links are dead or give half of the bytes."""
    for fault in ("error_500", "error_503", "drop", "not_found", "delay=2"):
        world.fault("query", fault, rounds)
    for fault in ("drop", "truncate", "wrong_length", "http_403"):
        world.fault("cdn", fault, max(rounds // 2, 1))
    world.submit(jobs, every=0.1)


def kling_unreachable(world: World, jobs: int, seconds: int) -> None:
    """Kling's address refuses, then resets connections in the middle of an answer."""
    with world.load(jobs, every=0.4):
        world.proxies["emulator"].refuse()
        time.sleep(seconds)
        world.proxies["emulator"].reset_after(1500, times=seconds)
        time.sleep(seconds)
        world.proxies["emulator"].heal()


def callbacks_astray(world: World, jobs: int, _rounds: int) -> None:
    """They never come, come late, before the reply to the create, before the result is there, or twice."""
    fates = ("no_callback", "callback_late=5", "callback_before_reply", "callback_early=3", "callback_twice")
    for number in range(jobs):
        world.submit(prompt=f"a cat [fate: {fates[number % len(fates)]}]")


def callbacks_forged(world: World, jobs: int, rounds: int) -> None:
    """Somebody says `succeed` with a link of his own: without the token, with another job's, and with the right one."""
    made = world.submit(jobs, prompt="a cat [fate: no_callback, slow=10]")
    until(lambda: set(made) <= _working(world))  # before that there is nothing that a forged one could end
    secret = (world.deployment.servers.kept.get("SECRET_KEY") or "").encode()
    for job in made:
        right = callback_token(secret, job)
        for token, allowed in (("0" * 32, {404}), (callback_token(secret, made[0] + "x"), {404}), (right, {204})):
            for _ in range(rounds):
                status = _call_back(world, job, token, "https://evil.example/x.mp4")
                if status not in allowed:
                    world.run.faults.append(f"a forged callback was answered {status}")
    _moved_by_query_only(world, made)


def _moved_by_query_only(world: World, jobs: list[str]) -> None:
    """P6: while Kling itself says `processing`, no forged `succeed` has moved a job on."""
    time.sleep(1)
    rows = world.rows("select id, state from jobs where id = any(%s)", jobs)
    working = _working(world)  # after the rows: who was moved on and works even then was moved by nobody else
    moved = [row["id"] for row in rows if row["id"] in working and row["state"] in {"copying", "archived"}]
    world.run.faults += [f"{job}: moved by a forged callback" for job in moved]
    if not working:
        world.run.faults.append("the forged callbacks came too late to prove anything")


def _working(world: World) -> set[str]:
    """The jobs whose tasks Kling works on."""
    tasks = world.emulator("GET", "state")["tasks"]
    return {task["external_task_id"] for task in tasks if task["status"] in {"submitted", "processing"}}


def callbacks_hundredfold(world: World, jobs: int, rounds: int) -> None:
    """The same callback a hundred times at once, for a job under way."""
    made = world.submit(jobs, prompt="a cat [fate: slow=4]")
    secret = (world.deployment.servers.kept.get("SECRET_KEY") or "").encode()
    answers: list[int | None] = []

    def call() -> None:
        answers.extend(_call_back(world, job, callback_token(secret, job), "https://kling.example/x") for job in made)

    threads = [threading.Thread(target=call) for _ in range(rounds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if set(answers) != {204}:
        world.run.faults.append(f"callbacks were answered {sorted(map(str, set(answers)))}")
    for row in world.rows("select job_id, count(*) from callbacks where job_id = any(%s) group by 1", made):
        if row["count"] > 3:  # ours once, and Kling's own two
            world.run.faults.append(f"{row['job_id']}: {row['count']} inbox rows for one callback")


def _call_back(world: World, job: str, token: str, link: str) -> int | None:
    body = {
        "task_id": "1",
        "task_status": "succeed",
        "task_info": {"external_task_id": job},
        "task_result": {"videos": [{"id": "1", "url": link, "duration": "5"}]},
    }
    with suppress(requests.RequestException):
        return requests.post(f"{world.url}/callbacks/kling/{job}/{token}", json=body, timeout=30).status_code
    return None
