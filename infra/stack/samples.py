"""Input media for the demo, made here: pictures and a film with a tone, within Kling's limits for references."""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from io import BytesIO

import av
from PIL import Image, ImageDraw

#: The film: seconds, pixels, frames a second. Limits: CometAPI omni-video, `video_list` (seed 000).
FILM_SECONDS, FILM_WIDTH, FILM_HEIGHT, FILM_RATE = 5, 1280, 720, 24
_SAMPLE_RATE = 44100
_SAMPLES = 1024


def picture(width: int, height: int, form: str) -> bytes:
    """A hill under an evening sky, as PNG or JPEG."""
    out = BytesIO()
    _scene(width, height, 0.5).save(out, form)
    return out.getvalue()


def film() -> bytes:
    """The sun crosses the same sky: H.264 and AAC in MP4."""
    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FILM_RATE, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = FILM_WIDTH, FILM_HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        count = FILM_SECONDS * FILM_RATE
        for number in range(count):
            scene = _scene(FILM_WIDTH, FILM_HEIGHT, number / count)
            frame = av.VideoFrame.from_image(scene)  # type: ignore[no-untyped-call]  # PyAV leaves this one untyped
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in range(0, FILM_SECONDS * _SAMPLE_RATE - _SAMPLES, _SAMPLES):
            container.mux(sound.encode(_tone(start)))
        container.mux(sound.encode(None))
    return out.getvalue()


def _scene(width: int, height: int, moment: float) -> Image.Image:
    """The sky at a moment from 0 to 1."""
    sky = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (sky, sky.point(lambda level: level // 2), sky.point(lambda level: 160 - level // 2)))
    draw = ImageDraw.Draw(image)
    radius, x = height // 10, moment * width
    y = height * (0.65 - 0.45 * math.sin(math.pi * moment))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 220, 120))
    draw.ellipse((-width // 4, height * 0.7, width * 1.25, height * 1.6), fill=(30, 60, 40))
    return image


def _tone(start: int) -> av.AudioFrame:
    """1024 samples of a quiet 440 Hz."""
    wave = (0.2 * math.sin(2 * math.pi * 440 * (start + step) / _SAMPLE_RATE) for step in range(_SAMPLES))
    frame = av.AudioFrame(format="flt", layout="mono", samples=_SAMPLES)
    frame.planes[0].update(array("f", wave).tobytes())
    frame.sample_rate, frame.pts, frame.time_base = _SAMPLE_RATE, start, Fraction(1, _SAMPLE_RATE)
    return frame
