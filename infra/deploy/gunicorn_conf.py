"""How the door is served. gunicorn reads these names; what a platform sets comes from its environment."""

from __future__ import annotations

import os

bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"  # noqa: S104 - a platform's router must reach it
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "4"))
#: Routers keep idle connections for 90 s; a shorter patience here makes them race a closing socket.
keepalive = 100
timeout = 30
graceful_timeout = max(int(os.environ.get("SHUTDOWN_GRACE_SECONDS", "30")) - 8, 2)
max_requests = 20_000
max_requests_jitter = 2_000
control_socket_disable = True
accesslog = None
#: A platform may switch the access log on over our heads: no path then, since a callback's path holds its token.
access_log_format = '{"event": "access", "method": "%(m)s", "status": "%(s)s", "microseconds": "%(D)s"}'
