"""Celery's way to a broker that answers for sure, if not soon."""

from __future__ import annotations

from celery import Celery

from infra.queue import make_celery
from infra.settings import Settings

#: Seconds that a word of Redis is waited for which is certain to come.
PATIENCE = 60


def patient_celery(settings: Settings) -> Celery:
    """Celery as we have it, with more time for Redis: what is sent again because nobody answered may come twice."""
    app = make_celery(settings)
    app.conf.broker_transport_options = app.conf.broker_transport_options | {"socket_timeout": PATIENCE}
    return app
