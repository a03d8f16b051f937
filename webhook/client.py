"""A small client of Reelhook, in one file that may be copied: it imports nothing of ours.

    reelhook = Reelhook("https://reelhook.example", "rk_...")
    task = reelhook.submit("videos/omni-video", {"prompt": "a cat", "aspect_ratio": "16:9"})
    job = reelhook.wait(task["task_id"])
    print(job["files"][0]["url"])

Everything it does is plain HTTP: `requests` alone does it as well, with the paths that stand here.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

#: States that a job does not leave.
ENDS = frozenset({"archived", "failed", "cancelled", "unknown", "expired"})


class ReelhookError(Exception):
    """The door refused. `code` is Kling's number, None on routes that Kling does not have."""

    def __init__(self, message: str, *, http_status: int, code: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code


class BadWebhook(Exception):
    """A delivery that Reelhook did not send, not now, or not for the first time."""


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


def verify_webhook(
    keys: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    seen: Callable[[str], bool] | None = None,
    tolerance: float = 300,
) -> dict[str, Any]:
    """The JSON of `body`, once it is certain that Reelhook sent it, lately, and not again.

    `keys`: your signing secrets (`whsec_...`) or public keys (`whpk_...`, needs `cryptography`), several while one
    replaces another. `seen` says whether a `webhook-id` came before, and remembers it; without it a repetition is not
    noticed. It is asked last, so that nobody fills it with forgeries. `tolerance`: seconds that an attempt may be old,
    or ahead of your clock. Raises `BadWebhook`.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    message_id, stamp = lowered.get("webhook-id", ""), lowered.get("webhook-timestamp", "")
    if not (message_id and message_id.isascii() and stamp.isascii() and stamp.isdigit() and len(stamp) < 13):
        raise BadWebhook("webhook-id or webhook-timestamp is missing, or not what it should be")
    if abs(time.time() - int(stamp)) > tolerance:
        raise BadWebhook("the attempt is too old, or from the future; is your clock right?")
    signed = f"{message_id}.{stamp}.".encode() + body
    signatures = [one.partition(",")[::2] for one in lowered.get("webhook-signature", "").split()]
    keys = [keys] if isinstance(keys, str) else keys
    if not any(_signed_with(key, signed, version, value) for key in keys for version, value in signatures):
        raise BadWebhook("no signature is right")
    if seen is not None and seen(message_id):
        raise BadWebhook(f"{message_id} came before")
    return json.loads(body)  # type: ignore[no-any-return]  # the key's owner made it, and we send objects


def _signed_with(key: str, signed: bytes, version: str, value: str) -> bool:
    """Whether `value` is what `key` makes of `signed`. Source: the Standard Webhooks specification."""
    kind, _, encoded = key.partition("_")
    try:
        signature, raw = base64.b64decode(value, validate=True), base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    if (kind, version) == ("whsec", "v1"):
        return hmac.compare_digest(hmac.digest(raw, signed, "sha256"), signature)
    if (kind, version) == ("whpk", "v1a"):
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only public keys need it
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, signed)
        except (InvalidSignature, ValueError):  # or a key of another length
            return False
        return True
    return False


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        shown = answer.json()
    except ValueError:
        return {}
    return shown if isinstance(shown, dict) else {}
