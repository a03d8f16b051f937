"""What a platform gets that installs requirements.txt and runs the Procfile: our code is there, our package is not."""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from infra.settings import load
from tests.unit.test_settings import GOOD
from webhook import VERSION
from webhook.app import create_app


def test_the_api_is_described_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The description's version stands in the code, and is the one that pyproject.toml says."""
    there = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: _missing(name) if name == "reelhook" else there(name))
    answer = create_app(load(GOOD)).test_client().get("/openapi.json")

    assert (200, VERSION) == (answer.status_code, answer.get_json()["info"]["version"])


def test_the_version_is_said_once(root: Path) -> None:
    """What the code says of it is what pyproject.toml says."""
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"] == VERSION


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [("https://nyc3.digitaloceanspaces.com", "nyc3"), ("https://s3.eu-central-003.backblazeb2.com", "eu-central-003")],
)
def test_what_app_json_asks_for_is_enough(root: Path, endpoint: str, region: str) -> None:
    """With what it requires and what it sets the app starts, and nothing that it sets is wrong for a store."""
    asked = json.loads((root / "app.json").read_text())["env"]
    required = {name for name, one in asked.items() if one.get("required", True)}
    preset = {name: one["value"] for name, one in asked.items() if "value" in one}
    given = {name: value for name, value in GOOD.items() if name in required}
    addons = {name: GOOD[name] for name in ("DATABASE_URL", "REDIS_URL")}

    settings = load({**addons, **preset, **given, "S3_ENDPOINT_URL": endpoint})

    assert region == settings.s3_region


def _missing(name: str) -> str:
    raise metadata.PackageNotFoundError(name)
