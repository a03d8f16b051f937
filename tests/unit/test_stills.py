import tracemalloc
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from infra.boxes import NotMedia
from infra.media import MediaFacts
from infra.stills import look_at_image, probe_image


def test_a_picture_too_large_is_refused_by_its_head() -> None:
    """81 million pixels are a few KiB on their way and 243 MB in memory: that they are too many is seen before."""
    body = BytesIO()
    Image.new("1", (9000, 9000)).save(body, "PNG")
    tracemalloc.start()
    try:
        with pytest.raises(NotMedia, match="9000 x 9000 pixels"):
            probe_image(body.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["EPS", "TIFF", "BMP", "PPM", "ICO"])
def test_only_pictures_of_the_web_are_opened(form: str) -> None:
    """Pillow would run Ghostscript for one of the others."""
    body = BytesIO()
    Image.new("RGB", (32, 32)).save(body, form)
    for look in (probe_image, look_at_image):
        with pytest.raises(NotMedia, match="any format that is read"):
            look(body.getvalue())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_pictures_of_the_web_are_read(form: str) -> None:
    """By their first bytes, whatever they are called."""
    body = BytesIO()
    Image.new("RGB", (32, 24)).save(body, form)

    assert MediaFacts(form.lower(), None, 32, 24) == look_at_image(body.getvalue()) == probe_image(body.getvalue())


def test_a_picture_is_refused_by_what_its_format_takes() -> None:
    """A WebP takes four times the memory of a PNG of the same size, so it may have fewer pixels."""
    picture = Image.new("RGB", (6000, 4000))
    for form, refused in (("PNG", False), ("WEBP", True)):
        body = BytesIO()
        picture.save(body, form, **({"quality": 1, "method": 0} if form == "WEBP" else {"compress_level": 1}))
        with pytest.raises(NotMedia, match="6000 x 4000 pixels") if refused else nullcontext():
            probe_image(body.getvalue())


def noisy(form: str, frames: int) -> bytes:
    """A picture of noise; one that moves where it has several frames."""
    made = [Image.effect_noise((32, 24), 90).convert("RGB") for _ in range(frames)]
    body, several = BytesIO(), {"save_all": True, "append_images": made[1:], "duration": 100}
    made[0].save(body, form, **(several if frames > 1 else {}))
    return body.getvalue()


@pytest.mark.parametrize(
    ("form", "frames"),
    [
        *((form, 1) for form in ("JPEG", "PNG", "GIF", "WEBP", "AVIF")),
        *((form, 3) for form in ("PNG", "GIF", "WEBP", "AVIF")),
    ],
)
def test_a_picture_that_was_cut_anywhere_is_refused(form: str, frames: int) -> None:
    """Also between two frames of one that moves, and right before its end."""
    body = noisy(form, frames)

    assert MediaFacts(form.lower(), None, 32, 24) == probe_image(body)
    for length in {*range(0, len(body), 40), *range(len(body) - 30, len(body))}:
        with pytest.raises(NotMedia):
            probe_image(body[:length])


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_later_frame_that_does_not_decode_is_noticed(form: str) -> None:
    """All frames of a picture that moves are looked at, and each is a sign of life."""
    body, looked = noisy(form, 3), []
    probe_image(body, lambda: looked.append(1))
    damaged = bytearray(body)
    damaged[-200:-100] = bytes(100)

    assert 2 == len(looked)
    with pytest.raises(NotMedia):
        probe_image(bytes(damaged))


def test_a_picture_of_many_frames_is_looked_at_for_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may stand for thousands of frames: those beyond a number of pixels are left alone."""
    looked: list[Any] = []
    monkeypatch.setattr("infra.stills._MOST_MOVING", 2 * 32 * 24)
    probe_image(noisy("GIF", 3), lambda: looked.append(1))

    assert 1 == len(looked)
