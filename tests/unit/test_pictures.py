from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import av
import pytest
from PIL import Image

from infra import media
from infra.boxes import NotMedia
from infra.media import probe_film
from infra.pictures import TILES, contact_sheet, poster, tile


def film(frames: int, *, size: tuple[int, int] = (320, 180), turned: int = 0) -> bytes:
    """A real MP4 at 24 frames a second that grows lighter from black to white, a key frame each half second; the left
    half of it, where it says that it is shown `turned` by so many degrees to the left.
    """
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w") as made:
        stream = made.add_stream("libx264", rate=24, options={"preset": "ultrafast", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        for number in range(frames):
            image = Image.new("L", size, number * 255 // max(frames - 1, 1)).convert("RGB")
            if turned:
                image.paste((0, 0, 0), (size[0] // 2, 0, *size))
            made.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]  # PyAV's
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()


def sheet_of(body: bytes) -> Image.Image:
    """Its contact sheet."""
    seen = probe_film(BytesIO(body), moments=TILES**2, show=tile)
    return Image.open(BytesIO(contact_sheet(seen.moments)))


def lightness(sheet: Image.Image) -> list[int]:
    """Of the middle of each picture, in order."""
    grey, step = sheet.convert("L"), (sheet.width / 3, sheet.height / 3)
    places = [(column, row) for row in range(3) for column in range(3)]
    return [int(str(grey.getpixel((int((x + 0.5) * step[0]), int((y + 0.5) * step[1]))))) for x, y in places]


def test_a_poster_is_a_jpeg_of_the_first_frame() -> None:
    """The poster has the film's shape, at most 960 pixels a side, and is a picture that decodes."""
    body = film(3, size=(1280, 720))
    picture = Image.open(BytesIO(poster(probe_film(BytesIO(body)).first)))

    assert ("JPEG", (960, 540)) == (picture.format, picture.size)


@pytest.mark.parametrize("few", [750, 10])
def test_a_contact_sheet_shows_nine_moments_in_order(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """From the beginning to the end, evenly spread, whether every frame is decoded or key frames only."""
    monkeypatch.setattr(media, "_FEW_FRAMES", few)
    shown = lightness(sheet_of(film(240)))

    assert all(abs(light - (number + 0.5) / 9 * 255) < 20 for number, light in enumerate(shown)), shown


@pytest.mark.parametrize(("turned", "light"), [(90, "bottom"), (180, "right"), (-90, "top")])
def test_a_film_on_its_side_is_shown_upright(turned: int, light: str) -> None:
    """As players do: in its facts, its poster and its contact sheet."""
    body = film(24, turned=turned)
    seen = probe_film(BytesIO(body), moments=TILES**2, show=tile)
    wide, high = (320, 180) if turned == 180 else (180, 320)
    last = seen.moments[-1].convert("L")
    halves = {"top": (90, 9), "bottom": (90, 311), "left": (9, 90), "right": (311, 90)}
    lighter = max(
        ("top", "bottom") if turned != 180 else ("left", "right"), key=lambda side: last.getpixel(halves[side])
    )

    assert (wide, high) == (seen.facts.width, seen.facts.height)
    assert (wide, high) == Image.open(BytesIO(poster(seen.first))).size
    assert (light, (wide, high)) == (lighter, last.size)


def test_a_film_of_one_frame_has_a_contact_sheet() -> None:
    """Fewer frames than pictures: the last one fills the rest."""
    assert (968, 548) == sheet_of(film(1)).size


def test_a_sheet_wants_all_of_its_moments() -> None:
    """Where one of them could not be shown, or none was, there is no sheet."""
    for tiles in ([], [*probe_film(BytesIO(FILM), moments=8, show=tile).moments, None]):
        with pytest.raises(NotMedia):
            contact_sheet(tiles)


FILM = film(2)
