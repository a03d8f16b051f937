"""Folders outside of a state folder, for what can't live in it: one a name, its path kept by the state folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from infra.stack.kept import Kept

_OURS = "reelhook-"
_NOTE = "state-folder"
#: Lives over restarts of the machine, and is a real file system where /tmp is kept in memory.
_PARENT = Path("/var/tmp")  # noqa: S108 - mkdtemp makes the folders in it ours alone


def place(kept: Kept, state: Path, name: str) -> Path:
    """The folder of that name, made once. Everybody may pass through it, nobody else may list or write."""
    known = kept.get(f"place.{name}")
    if known and Path(known).is_dir():
        return Path(known)
    _remove_orphans()
    made = Path(tempfile.mkdtemp(prefix=f"{_OURS}{name}-", dir=_PARENT))
    made.chmod(0o711)
    (made / _NOTE).write_text(str(state))
    kept.put(f"place.{name}", str(made))
    return made


def discard(kept: Kept, name: str) -> None:
    """Remove the folder of that name, if there is one."""
    if known := kept.get(f"place.{name}"):
        shutil.rmtree(known, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove our own folders whose state folder is gone: nobody can find those again."""
    for made in _PARENT.glob(f"{_OURS}*"):
        try:
            orphan = not Path((made / _NOTE).read_text()).exists()
        except OSError:
            continue  # somebody else's, and not ours to judge
        if orphan:
            shutil.rmtree(made, ignore_errors=True)
