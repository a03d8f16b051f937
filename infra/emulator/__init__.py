"""A stand-in for Kling's `/v1` HTTP API: real answers, real media files, and faults on demand.

It states the contract a second time, so it imports nothing else of this project. `python -m infra.emulator` runs it;
tests use `Emulator` in a thread of their own. The way of a request: `server` (bytes) -> `app` (routes) -> `auth`,
`rules`, `world` (what is true) -> `stage` (what happens next: `inputs`, `studio`, `callbacks`).
"""

from infra.emulator.config import Config
from infra.emulator.emulator import Emulator

__all__ = ["Config", "Emulator"]
