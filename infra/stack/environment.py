"""What the processes of the Procfile get to see: the embedded servers, and nothing that the shell points elsewhere."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.stack.kept import Kept
from infra.stack.servers import Addresses

#: What comes from the shell: where programs and temporary files are, and a few choices that point nowhere.
INHERITED = frozenset(
    {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOG_LEVEL", "PATH", "TMPDIR", "USER", "WORKER_CONCURRENCY"}
)


def clean(shell: Mapping[str, str]) -> dict[str, str]:
    """The part of the shell's environment that may reach our processes, the programs beside our Python first."""
    kept = {name: value for name, value in shell.items() if name in INHERITED or name.startswith("REELHOOK_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), shell.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1"}


def api_key(kept: Kept) -> str:
    """The API key of this state folder, made once."""
    return kept.once("REELHOOK_API_KEY", lambda: "rk_" + secrets.token_hex(20))


def settings(addresses: Addresses, kept: Kept, *, kling_url: str, public_url: str) -> dict[str, str]:
    """The settings of a deployment on the embedded servers, by their variables' names."""
    return {
        **addresses.variables,
        "S3_REGION": "us-east-1",
        "KLING_URL": kling_url,
        "PUBLIC_URL": public_url,
        "SECRET_KEY": kept.once("SECRET_KEY", lambda: secrets.token_hex(32)),
        "REELHOOK_API_KEY": api_key(kept),
        "GUARD_ALLOW_CIDRS": "127.0.0.0/8",
        "WEB_CONCURRENCY": "1",
    }
