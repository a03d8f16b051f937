from pathlib import Path
from tempfile import NamedTemporaryFile

import av
import pytest
from PIL import Image
from sqlalchemy import Engine

from infra.stack.servers import Servers
from tests.bench.archive_memory import DEFAULT, most_mib, of_a_worker
from tests.origin import film_of, origin

#: Of the smallest machine that a worker is meant for, less what longer films take than these, which are quick: 80 MiB
#: for four that come in parts and have many frames, as measured with the processes of `tests.bench.archive_memory`.
_MIB = 512 - 80
_COPIES = 4


def _film() -> bytes:
    """Five seconds of 1080p, each picture with four others to refer to."""
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w", options={"movflags": "faststart"}) as made:
        stream = made.add_stream("libx264", rate=4, options={"preset": "ultrafast", "x264-params": "ref=4:bframes=2"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(20):
            image = Image.new("RGB", (1920, 1080), (number * 12, 80, 120))
            made.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]  # PyAV's own
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not say whose pages are")
def test_the_default_worker_fits_a_small_dyno(servers: Servers, engine: Engine) -> None:
    """The Procfile's worker, all its processes, while each of them copies and decodes a film of 1080p."""
    film = _film()
    with origin(film=film_of(film, 17 * 2**20)) as served:
        most = of_a_worker(servers.addresses, served.link("film.mp4"), command=DEFAULT, copies=_COPIES, look=most_mib)

    assert most is not None
    assert _MIB > most, f"{most:.0f} MiB"
