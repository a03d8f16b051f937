"""Another app on the same broker, as its authors would write it: it imports nothing of ours.

It asks for a video by a message, and has a task of its own called when the video is safe. Run its worker with
`celery -A tests.e2e.shop worker -Q shop`; SHOP_BROKER is the broker, SHOP_DESK a file that it writes what it heard to.
`python -c 'from tests.e2e import shop; shop.order("a red kite", "order-7")'` orders one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery, Task

app = Celery("shop", broker=os.environ.get("SHOP_BROKER", ""), set_as_current=False)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


def order(prompt: str, number: str) -> None:
    """Ask Reelhook for a video. Asking again for the same number is the same video."""
    body = {"prompt": prompt, "mode": "std", "aspect_ratio": "16:9", "external_task_id": number}
    app.send_task(
        "reelhook.submit.v1",
        queue="submit",
        kwargs={
            "family": "videos/omni-video",
            "request": body,
            "on_done": {"task": "shop.video_done", "queue": "shop"},
        },
    )


@app.task(name="shop.video_done", bind=True)
def video_done(self: Task[Any, Any], event: dict[str, Any]) -> None:
    """The video of an order is safe in the bucket, or there will be none. Heard again, it has the id that it had."""
    with Path(os.environ["SHOP_DESK"]).open("a") as desk:
        desk.write(json.dumps({"id": self.request.id, "event": event}) + "\n")
