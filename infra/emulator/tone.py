"""Makes sound: a soft tone, as audio frames and as mp3 and wav files."""

import math
from array import array
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av

RATE = 44100
_HERTZ = 220
_LOUDNESS = 4000


@lru_cache(maxsize=1)
def _second() -> bytes:
    """One second of 16-bit mono; whole waves, so that seconds join without a click."""
    wave = (int(_LOUDNESS * math.sin(2 * math.pi * _HERTZ * n / RATE)) for n in range(RATE))
    return array("h", wave).tobytes()


def tone_frames(seconds: float) -> Iterator[av.AudioFrame]:
    """The tone in frames of a second, the last one shorter."""
    left, position = round(seconds * RATE), 0
    while left:
        samples = min(left, RATE)
        frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
        frame.planes[0].update(_second()[: samples * 2].ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), position
        yield frame
        left, position = left - samples, position + samples


def write_tone(path: Path, seconds: float) -> None:
    """The tone as a file; its suffix, .mp3 or .wav, says which."""
    codec = {".mp3": "libmp3lame", ".wav": "pcm_s16le"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        for frame in tone_frames(seconds):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
