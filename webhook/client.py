"""A small client of Reelhook, in one file that may be copied: it imports nothing of ours.

    reelhook = Reelhook("https://reelhook.example", "rk_...")
    task = reelhook.submit("videos/omni-video", {"prompt": "a cat", "aspect_ratio": "16:9"})
    job = reelhook.wait(task["task_id"])
    print(job["files"][0]["url"])

Everything it does is plain HTTP: `requests` alone does it as well, with the paths that stand here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests
from standardwebhooks.webhooks import Webhook

#: States that a job does not leave.
ENDS = frozenset({"archived", "failed", "cancelled", "unknown", "expired"})


class ReelhookError(Exception):
    """The door refused. `code` is Kling's number, None on routes that Kling does not have."""

    def __init__(self, message: str, *, http_status: int, code: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code


class Reelhook:
    """One door, one key. `account` and `check` are asked for with every request that is submitted."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        account: str | None = None,
        check: str | None = None,
        seconds: float = 60,
    ) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._asking = {
            name: value for name, value in (("Reelhook-Account", account), ("Reelhook-Check", check)) if value
        }

    def submit(self, family: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a task; Kling's `data` of the answer. With an `external_task_id` it is safe to ask again."""
        return self._kling("POST", family, json=dict(body), headers=self._asking)  # type: ignore[no-any-return]  # JSON

    def task(self, family: str, name: str) -> dict[str, Any]:
        """A task as Kling shows it, by either id."""
        return self._kling("GET", f"{family}/{name}")  # type: ignore[no-any-return]  # JSON

    def tasks(self, family: str, *, page: int = 1, size: int = 30) -> list[dict[str, Any]]:
        """A page of a family's tasks, newest first."""
        return self._kling("GET", family, params={"pageNum": page, "pageSize": size})  # type: ignore[no-any-return]  # JSON

    def job(self, name: str) -> dict[str, Any]:
        """A job as Reelhook shows it: state, bytes, proven files, cost, the reason of a failure."""
        answer = self._session.get(f"{self._url}/api/jobs/{name}", timeout=self._seconds)
        shown = _json(answer)
        if answer.status_code != 200:
            raise ReelhookError(str(shown.get("title", answer.reason)), http_status=answer.status_code)
        return shown

    def wait(
        self,
        name: str,
        *,
        seconds: float = 3600,
        every: float = 2,
        tell: Callable[[dict[str, Any]], object] | None = None,
    ) -> dict[str, Any]:
        """The job once it has ended. `tell` is called with it each time it was looked at; `progress_bar` makes one.

        Raises `TimeoutError` after `seconds`. How it ended is in `state`: only `archived` has files.
        """
        end = time.monotonic() + seconds
        while True:
            job = self.job(name)
            if tell:
                tell(job)
            if job["state"] in ENDS:
                return job
            if time.monotonic() + every > end:
                raise TimeoutError(f"job {name} is still {job['state']} after {seconds:g} s")
            time.sleep(every)

    def _kling(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, f"{self._url}/kling/v1/{path}", timeout=self._seconds, **options)
        shown = _json(answer)
        if answer.status_code != 200 or shown.get("code") != 0:
            message = str(shown.get("message", answer.reason))
            raise ReelhookError(message, http_status=answer.status_code, code=shown.get("code"))
        return shown["data"]


def progress_bar(title: str) -> Callable[[dict[str, Any]], None]:
    """For `wait(tell=...)`: a bar in the terminal with the state, then the bytes. Needs `rich`."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - optional

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    progress = Progress(*columns)
    row = progress.add_task(title, total=None)
    progress.start()

    def tell(job: dict[str, Any]) -> None:
        total, copied = job.get("bytes_total"), job.get("bytes_copied") or 0
        progress.update(row, description=f"{title}  {job['state']}", total=total, completed=copied)
        if job["state"] in ENDS:
            progress.stop()

    return tell


def verify_webhook(secrets: str | Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    """Check that Reelhook sent `body`: `secrets` are your signing secrets, several while one replaces another.

    Raises `standardwebhooks.webhooks.WebhookVerificationError`, also when the delivery is older than five minutes.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    secrets = [secrets] if isinstance(secrets, str) else list(secrets)
    for secret in secrets[:-1]:
        try:
            Webhook(secret).verify(body, lowered)
        except Exception:  # noqa: BLE001, S112 - the library raises of several kinds; the last secret's counts
            continue
        return
    Webhook(secrets[-1]).verify(body, lowered)


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        shown = answer.json()
    except ValueError:
        return {}
    return shown if isinstance(shown, dict) else {}
