"""`make bench`: every benchmark, or the one that BENCH names."""

from __future__ import annotations

import sys

from tests.bench import archive, check, deliveries, lifecycle, receiver, scale, waiting

BENCHES = {
    "archive": archive.run,
    "check": check.run,
    "deliveries": deliveries.run,
    "lifecycle": lifecycle.run,
    "receiver": receiver.run,
    "scale": scale.run,
    "waiting": waiting.run,
}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in wanted if name not in BENCHES]:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    for name in wanted:
        BENCHES[name]()
