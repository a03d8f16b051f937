"""What can be chosen about an emulator."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Edition(StrEnum):
    """An edition of Kling's documentation; rules differ between them."""

    FEBRUARY = "2026-02"
    MARCH = "2026-03"
    JUNE = "2026-06"


@dataclass(frozen=True)
class Config:
    """One emulator: where it listens, whom it lets in, and how fast its time runs."""

    #: Interface to listen on. It fetches any URL it is given, so it belongs on loopback.
    host: str = "127.0.0.1"
    #: 0 takes a free port.
    port: int = 0
    #: What stands before `/cdn/...` in result URLs; the listening address if empty.
    public_url: str = ""
    #: Kling's typical durations are divided by this.
    speed: float = 60.0
    access_key: str = "emulator-access-key"
    #: HS256 wants 32 bytes or more.
    secret_key: str = "emulator-secret-key-for-loopback-only"  # noqa: S105 - public on purpose, guards nothing
    api_key: str = "emulator-api-key"
    #: Folder of the result files; a temporary one, removed at the end, if None.
    data: Path | None = None
    #: Slots per kind of resource pack (video, image, audio).
    concurrency: int = 20
    #: Units left in the account; None is without end.
    balance: float | None = None
    #: An account that pays afterwards is in arrears (1101) where one with packs has used them up (1102).
    postpaid: bool = False
    edition: Edition = Edition.JUNE
    #: Refuse what sources disagree about, too.
    strict: bool = False
    #: One JSON line per request on stderr.
    log: bool = True
