"""What the door's process says when it can't begin."""

from __future__ import annotations

import socket

import pytest

from infra.settings import load
from tests.unit.test_settings import GOOD
from webhook import serve


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_taken_port_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, processes: str) -> None:
    """The line names the settings and the reason; there is no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {**GOOD, "HOST": "127.0.0.1", "PORT": port, "WEB_CONCURRENCY": processes}
        monkeypatch.setattr(serve, "load", lambda: load(given))
        with pytest.raises(SystemExit) as ended:
            serve.main([])

    words = f"the door can't listen at 127.0.0.1, port {port}, look at HOST and PORT: Address already in use"
    assert words == ended.value.code
