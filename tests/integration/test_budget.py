"""`reelhook doctor`'s budget of connections, asked of real servers."""

from __future__ import annotations

import pytest
import redis
from sqlalchemy import Engine, text

from infra.settings import Settings
from infra.stack.servers import Servers
from webhook.budget import Room, rooms


def test_servers_say_what_they_allow(settings: Settings, migrated: Engine) -> None:
    """A deployment of the default Procfile wants nine of the broker; allowed is what the servers' settings say."""
    with migrated.connect() as connection:
        most = int(connection.execute(text("show max_connections")).scalar_one())
    postgres, broker = rooms(settings)

    assert (most, True) == (postgres.allowed, (postgres.used or 0) >= 1)
    assert (9, 10000, True) == (broker.needed, broker.allowed, broker.good)


def test_a_role_is_held_to_its_own_limit(settings: Settings, migrated: Engine) -> None:
    """Platforms limit the role, not the server: the least of all limits counts, what is kept for others taken off."""
    with migrated.begin() as connection:
        connection.execute(text("create role small login password 'small' connection limit 7"))
    try:
        url = settings.database_url.partition("@")[2]
        limited = settings.model_copy(update={"database_url": f"postgresql+psycopg://small:small@{url}"})

        assert 7 == rooms(limited)[0].allowed
    finally:
        with migrated.begin() as connection:
            connection.execute(text("drop role small"))


def test_where_config_is_forbidden_the_rest_is_still_said(settings: Settings, servers: Servers) -> None:
    """Many platforms forbid CONFIG: the budget is shown all the same, without a fault, and says what is not known."""
    with redis.Redis.from_url(servers.addresses.redis_url) as admin:
        admin.acl_setuser(
            "plain", enabled=True, passwords=["+plain"], keys=["*"], categories=["+@all"], commands=["-config"]
        )
        try:
            url = f"redis://plain:plain@127.0.0.1:{servers.redis.port}/0"
            room = rooms(settings.model_copy(update={"broker_url": url}))[1]
        finally:
            admin.acl_deluser("plain")

    # Redis 6.2 says its limit by CONFIG only, newer ones by INFO too.
    assert (None, None if room.allowed is None else True) == (room.fault, room.good)
    assert "a deploy runs two: 18" in room.words
    assert room.used is not None
    assert room.used >= 1, "the one that made the user, at least"


def test_what_cannot_be_reached_is_a_fault(settings: Settings) -> None:
    """Nobody listens: that is said, and no address or password with it."""
    nobody = {
        "database_url": "postgresql+psycopg://a:secret@127.0.0.1:9/x",
        "broker_url": "redis://:secret@127.0.0.1:9",
    }
    asked = rooms(settings.model_copy(update=nobody))

    assert [False, False] == [room.good for room in asked]
    assert all("can't be reached" in room.words and "secret" not in room.words for room in asked)


@pytest.mark.parametrize(
    ("allowed", "good", "words"),
    [
        (18, True, "18 of 18 allowed"),
        (17, False, "two do not fit"),
        (8, False, "not even one fits"),
        (None, None, "not say"),
    ],
)
def test_too_tight_is_said_in_words(allowed: int | None, good: bool | None, words: str) -> None:  # noqa: FBT001 - a case
    """A plan has to allow twice what one deployment holds."""
    room = Room("Redis", 9, allowed, 3)

    assert good is room.good
    assert words in room.words
