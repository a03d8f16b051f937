"""The door but for its callbacks, as a WSGI application. `webhook.entrance` is the whole of it."""

from __future__ import annotations

import sys
import time

from flask import Flask, Response, g, request

from infra import log
from infra.settings import BadSettings, Settings, load
from webhook import (
    auth,
    deliveries_api,
    health,
    jobs_api,
    kling_api,
    pass_through,
    problems,
    subscriptions_api,
)
from webhook.openapi import routes as description
from webhook.wiring import DoorPerProcess
from worker.services import accounts

logger = log.logger(__name__)


def create_app(settings: Settings | None = None) -> Flask:
    """The application. Settings come from the environment unless they are given."""
    try:
        settings = settings or load()
        accounts(settings)
    except BadSettings as fault:
        sys.exit(str(fault))
    log.configure(settings.log_level)
    app = Flask("webhook", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    app.url_map.strict_slashes = False
    app.extensions["reelhook"] = DoorPerProcess(settings)
    app.register_blueprint(kling_api.api, url_prefix="/v1")
    app.register_blueprint(kling_api.api, url_prefix="/kling/v1", name="kling-prefixed")
    app.register_blueprint(pass_through.api)
    app.register_blueprint(jobs_api.api, url_prefix="/api")
    app.register_blueprint(subscriptions_api.api, url_prefix="/api")
    app.register_blueprint(deliveries_api.api, url_prefix="/api")
    app.register_blueprint(health.api)
    app.register_blueprint(description.api)
    problems.install(app)
    auth.install(app)
    app.before_request(_begin)
    app.after_request(_end)
    return app


def _begin() -> None:
    log.unbind()
    g.began = time.monotonic()
    log.bind(**log.request_name(request.headers.get("X-Request-ID", "")))


def _end(answer: Response) -> Response:
    logger.info(
        "http",
        method=request.method,
        path=request.path,
        status=answer.status_code,
        milliseconds=round((time.monotonic() - g.began) * 1000, 1),
    )
    return answer
