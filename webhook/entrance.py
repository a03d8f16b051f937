"""The whole door as one ASGI application: callbacks by the short way, everything else to Flask, in threads."""

from __future__ import annotations

from functools import cached_property
from typing import cast

from flask import Flask

from infra.settings import Settings
from webhook.asgi import Receive, Scope, Send
from webhook.bridge import Bridge
from webhook.callbacks import PREFIX, Receiver
from webhook.group_commit import GroupCommit
from webhook.nudges import Nudges
from webhook.wiring import Door


class Entrance:
    """Who comes for what."""

    def __init__(self, flask: Flask, settings: Settings) -> None:
        self._flask = flask
        self._settings = settings
        self._pages = Bridge(flask, threads=settings.web_threads, limit=settings.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        serve = self._callbacks if scope["path"].startswith(PREFIX) else self._pages
        await serve(scope, receive, send)

    def prepare(self) -> None:
        """Load now what the first callback would have to wait for."""
        self._door.queue.prepare()

    def close(self) -> None:
        """End the threads, once nothing is under way."""
        self._pages.close()
        self._writes.close()

    @cached_property
    def _writes(self) -> GroupCommit:
        return GroupCommit(self._door.arrivals.put)

    @property
    def _door(self) -> Door:
        return cast("Door", self._flask.extensions["reelhook"]())

    @cached_property
    def _callbacks(self) -> Receiver:
        door = self._door
        return Receiver(
            secret=self._settings.secret,
            webhook_secrets=tuple(secret.get_secret_value() for secret in self._settings.kling_webhook_secrets),
            limit=self._settings.max_callback_bytes,
            inbox=self._writes,
            nudge=Nudges(door.queue),
            clock=door.clock,
        )
