import json

import pytest

from infra import log
from infra.log import without_secrets


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://b.s3.com/k?X-Amz-Signature=abc failed", "GET https://b.s3.com/k?*** failed"),
        ("redis://:pw@h:6379/0 is down", "redis://h:6379/0 is down"),
        ("POST /callbacks/kling/01hz/0123abcd", "POST /callbacks/kling/01hz/***"),
        ("Authorization: Bearer rk_abc", "Authorization: Bearer ***"),
        ("plain words", "plain words"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, clean: str) -> None:
    """Signatures, passwords, callback tokens and bearer keys never reach a log line."""
    assert clean == without_secrets(text)


def test_the_cheap_line_is_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`line` writes what the logger does, with the same taken out."""
    log.configure()
    log.line("callback", path="/callbacks/kling/01hz/0123abcd", answer=204)
    log.logger("x").info("callback", path="/callbacks/kling/01hz/0123abcd", answer=204)
    cheap, usual = (json.loads(line) for line in capsys.readouterr().out.splitlines())

    assert {**usual, "timestamp": 0} == {**cheap, "timestamp": 0}
    assert ("/callbacks/kling/01hz/***", len(usual["timestamp"])) == (cheap["path"], len(cheap["timestamp"]))
