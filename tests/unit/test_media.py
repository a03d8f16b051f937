import struct
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from infra.boxes import BoxWalk, NotMedia
from infra.emulator.tone import tone_frames
from infra.media import Film, MediaFacts, agree, look_at_film, probe, probe_film
from infra.room import room
from infra.stills import probe_image


def film(*, seconds: int = 1, faststart: bool = True, movflags: str = "", g: str = "250") -> bytes:
    """A real MP4 of 320x180 at 24 frames a second, a key frame among each `g`."""
    options = {"movflags": movflags or ("faststart" if faststart else "0")}
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w", options=options) as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "g": g})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(24 * seconds):
            image = Image.new("RGB", (320, 180), (number * 5 % 255, 80, 120))
            frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]  # PyAV leaves this one untyped
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        container.close()
        return Path(out.name).read_bytes()


FILM = film()


def boxes_of(body: bytes) -> list[tuple[int, bytes]]:
    """Where each top-level box begins, and its name."""
    found, at = [], 0
    while at < len(body):
        found.append((at, body[at + 4 : at + 8]))
        at += int.from_bytes(body[at : at + 4], "big")
    return found


def walk(body: bytes, *, step: int = 1000) -> BoxWalk:
    """Let `body` pass by in pieces of `step` bytes."""
    boxes = BoxWalk()
    for at in range(0, len(body), step):
        boxes.feed(body[at : at + step])
    boxes.finish()
    return boxes


def test_the_facts_of_a_film_are_read_from_the_film() -> None:
    """Size, length, rate and codec come out as they went in."""
    facts = probe(BytesIO(FILM))

    assert (320, 180, 24.0, 1.0, "h264", None) == (
        facts.width, facts.height, facts.fps, facts.duration, facts.video_codec, facts.audio_codec,
    )  # fmt: skip


@pytest.mark.parametrize("faststart", [True, False])
@pytest.mark.parametrize("step", [1, 7, 8, 15, 4096, 10**7])
def test_a_whole_film_passes_in_pieces_of_any_size(step: int, *, faststart: bool) -> None:
    """Wherever the stream is cut into chunks, the same boxes are seen."""
    assert {"ftyp", "moov", "mdat"} <= set(walk(film(faststart=faststart), step=step).boxes)


@given(st.integers(0, len(FILM) - 1), st.integers(1, 5000))
def test_a_film_that_was_cut_anywhere_is_refused(length: int, step: int) -> None:
    """No proper beginning of a file passes for the file."""
    with pytest.raises(NotMedia):
        walk(FILM[:length], step=step)


@given(st.binary(max_size=4000), st.integers(1, 100))
def test_any_bytes_are_walked_or_refused(body: bytes, step: int) -> None:
    """Whatever comes, the walk ends in its one documented error or in having seen moov and mdat."""
    try:
        boxes = walk(body, step=step)
    except NotMedia:
        return
    assert {"moov", "mdat"} <= set(boxes.boxes)


def test_a_box_with_a_64_bit_length_is_followed() -> None:
    """Mdat of a file beyond 4 GiB has its length in a second field."""
    body = struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 20) + b"1234"
    body += struct.pack(">I4s", 8, b"moov")

    assert ["ftyp", "mdat", "moov"] == walk(body, step=3).boxes


def test_a_cut_film_does_not_probe() -> None:
    """A file cut in the middle of its frames still opens; asking for its last frame tells."""
    with pytest.raises(NotMedia):
        probe(BytesIO(FILM[: len(FILM) // 2]))


def test_a_film_with_noise_at_its_end_does_not_probe() -> None:
    """The last frame is looked at although those between are not: bytes that are no picture are noticed."""
    with av.open(BytesIO(FILM), "r") as container:
        last = max(packet.pos or 0 for packet in container.demux(container.streams.video[0]) if packet.size)
    with pytest.raises(NotMedia):
        probe(BytesIO(FILM[:last] + bytes(range(256)) * 8 + FILM[last + 2048 :]))


@pytest.mark.parametrize(
    ("codec", "name"),
    [("libx264", "h264"), ("libx265", "hevc"), ("mpeg4", "mpeg4"), ("libvpx-vp9", "vp9"), ("libsvtav1", "av1")],
)
def test_a_whole_film_probes_whatever_made_it(codec: str, name: str) -> None:
    """Also with frames that refer to later ones, and with decoders that can leave none out. What it is encoded as is
    said, and not what decodes it here.
    """
    with NamedTemporaryFile(suffix=".mp4") as out:
        with av.open(out.name, "w") as container:
            stream: Any = container.add_stream(codec, rate=24)  # the stubs know only some names
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for number in range(24):
                image = Image.effect_noise((64, 64), 20 + number).convert("RGB")
                frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]  # as above
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        facts = probe(BytesIO(Path(out.name).read_bytes()))

    assert (64, 64, 1.0, name) == (facts.width, facts.height, facts.duration, facts.video_codec)


@given(st.binary(max_size=500))
def test_noise_is_no_media(body: bytes) -> None:
    """Any bytes give facts or the documented error, in all three probes."""
    for look in (lambda: probe(BytesIO(body)), lambda: probe_film(BytesIO(body)), lambda: probe_image(body)):
        try:
            look()
        except NotMedia:
            continue


def song(ending: str, seconds: float = 3, **options: str) -> bytes:
    """A real file of sound."""
    with NamedTemporaryFile(suffix=f".{ending}") as out:
        with av.open(out.name, "w", options=options) as made:
            codec = {"mp3": "libmp3lame", "wav": "pcm_s16le", "m4a": "aac", "flac": "flac", "ogg": "libopus"}[ending]
            stream: Any = made.add_stream(codec, rate=48000, layout="mono")  # the stubs know only some names
            for frame in tone_frames(seconds):
                frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), None
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
        return Path(out.name).read_bytes()


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp3", "mp3"), ("wav", "pcm_s16le"), ("m4a", "aac"), ("flac", "flac"), ("ogg", "opus")]
)
def test_sound_lasts_as_long_as_it_is_heard(ending: str, codec: str) -> None:
    """Whatever it is packed in, all of it decodes, and its length is that of what was heard."""
    facts = probe(BytesIO(song(ending)))

    assert (None, codec) == (facts.width, facts.audio_codec)
    assert facts.duration is not None
    assert agree(facts.duration, 3 * 44100 / 48000)


@pytest.mark.parametrize("ending", ["mp3", "wav", "m4a", "flac"])
@pytest.mark.parametrize("part", [0.5, 0.85])
def test_sound_that_was_cut_is_no_media(ending: str, part: float) -> None:
    """It says that it lasts longer than what is there."""
    body = song(ending)
    with pytest.raises(NotMedia):
        probe(BytesIO(body[: int(len(body) * part)]))


def test_sound_that_does_not_say_how_long_it_is_lasts_as_long_as_it_is_heard() -> None:
    """An mp3 without a word of that is guessed at by its size; the guess is nobody's claim."""
    facts = probe(BytesIO(song("mp3", write_xing="0")[: 2 * 10**4]))

    assert facts.duration is not None
    assert 0.5 < facts.duration < 3


def test_a_film_in_pieces_of_which_the_last_are_missing_is_no_media() -> None:
    """Where the index says how long all is, what ends before that was cut, though each piece is whole."""
    body = film(seconds=2, movflags="frag_keyframe+empty_moov+default_base_moof+global_sidx", g="12")
    pieces = [at for at, kind in boxes_of(body) if kind == b"moof"]
    assert 4 == len(pieces)
    with pytest.raises(NotMedia, match="it was cut"):
        probe(BytesIO(body[: pieces[2]]))


def saying(body: bytes, name: bytes, content: bytes) -> bytes:
    """The film with a box more in its `mvex`, or with other bytes at the beginning of its `mvhd`."""
    moov = body.index(b"moov") - 4
    if name == b"mvhd":
        at = body.index(name) + 4
        return body[:at] + content + body[at + len(content) :]
    mvex = body.index(b"mvex") - 4
    added = (8 + len(content)).to_bytes(4, "big") + name + content
    grown = bytearray(body[: mvex + 8] + added + body[mvex + 8 :])
    for at in (moov, mvex):
        size = int.from_bytes(body[at : at + 4], "big") + len(added)
        grown[at : at + 4] = size.to_bytes(4, "big")
    return bytes(grown)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"mehd", bytes(4) + (2000).to_bytes(4, "big")),
        (b"mehd", b"\1" + bytes(3) + (2000).to_bytes(8, "big")),
        (b"mvhd", bytes(12) + (1000).to_bytes(4, "big") + (2000).to_bytes(4, "big")),
    ],
)
def test_a_film_says_at_its_head_how_long_all_fragments_are(name: bytes, content: bytes) -> None:
    """Cut exactly between two of them, with no index of them anywhere, it is no media; whole, it is."""
    body = saying(film(seconds=2, movflags="frag_keyframe+empty_moov+default_base_moof", g="12"), name, content)
    pieces = [at for at, kind in boxes_of(body) if kind == b"moof"]
    assert 2.0 == probe(BytesIO(body)).duration == probe_film(BytesIO(body), moments=2).facts.duration
    walk(body[: pieces[2]])
    for look in (probe, probe_film):
        with pytest.raises(NotMedia, match=r"ends after 1.00 s, and says that it lasts 2.00 s: it was cut"):
            look(BytesIO(body[: pieces[2]]))


def test_an_ogg_of_which_the_last_pages_are_missing_is_no_media() -> None:
    """Each page is whole in itself: cut between two of them, or in one, it has none that says that it is the last."""
    body = song("ogg", 6)
    pages = [at for at in range(len(body)) if body[at : at + 4] == b"OggS"]
    assert 3 < len(pages)
    probe(BytesIO(body))
    for cut in (*pages[3:], pages[-1] + 30, len(body) - 1):
        with pytest.raises(NotMedia, match="it was cut"):
            probe(BytesIO(body[:cut]))


def page_sum(page: bytes) -> int:
    """The check sum of an Ogg page without one. Source: RFC 3533, 6."""
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1) ^ (0x104C11DB7 if total >> 31 else 0)
    return total


def test_an_ogg_without_a_last_page_needs_somebody_to_say_how_long_it_is() -> None:
    """Not every maker marks it: where it is known how long the sound lasts, that tells whether all of it is there."""
    whole = song("ogg", 6)
    body = bytearray(whole)
    last = body.rfind(b"OggS")
    body[last + 5] &= ~4
    body[last + 22 : last + 26] = bytes(4)
    body[last + 22 : last + 26] = page_sum(bytes(body[last:])).to_bytes(4, "little")
    with pytest.raises(NotMedia, match="it was cut"):
        probe(BytesIO(body))

    assert agree(probe(BytesIO(body), told=True).duration or 0, probe(BytesIO(whole)).duration or 1)
    for length in (len(body) - 1, body.rfind(b"OggS") + 30):
        with pytest.raises(NotMedia, match="it was cut"):
            probe(BytesIO(body[:length]), told=True)


@pytest.mark.parametrize("after", [bytes(4) + b"\x93\x01 z" * 99, bytes(999), b"\xff" * 999, bytes(4) + b"free" * 9])
def test_what_follows_a_film_has_to_be_a_box(after: bytes) -> None:
    """A length of nothing means "to the end" for frames only; a box's name can be read."""
    with pytest.raises(NotMedia):
        walk(FILM + after)


def test_what_lists_files_or_ports_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session description listens at a port, a list opens files of this machine: neither is a film."""
    (tmp_path / "film.mp4").write_bytes(FILM)
    monkeypatch.chdir(tmp_path)
    listed = b"ffconcat version 1.0\nfile film.mp4\n"
    session = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
    for body in (listed, session, b"#EXTM3U\n#EXTINF:1\nfilm.mp4\n", b"\0" * 99, b""):
        for look in (probe, probe_film, look_at_film):
            with pytest.raises(NotMedia, match="any format that is read"):
                look(BytesIO(body))


def film_of(width: int, height: int) -> bytes:
    """A film of two frames of these sides."""
    with NamedTemporaryFile(suffix=".mp4") as out, av.open(out.name, "w") as made:
        stream = made.add_stream("libx264", rate=24, options={"preset": "ultrafast", "x264-params": "threads=1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(2):
            made.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        made.mux(stream.encode())
        made.close()
        return Path(out.name).read_bytes()


def test_a_film_of_4k_is_read_when_no_other_large_one_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One at a time takes memory for it, and who waits says meanwhile that it lives; a small film waits for none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other processes of this machine have no part in it
    monkeypatch.setattr("infra.room._WAIT_SECONDS", 0.01)
    large = film_of(3840, 2160)
    waits = threading.Event()
    with ThreadPoolExecutor(1) as other:
        with room() as claim:
            claim(large=True)
            seen = other.submit(probe, BytesIO(large), waits.set)
            assert waits.wait(100)
            assert (320, False) == (probe(BytesIO(FILM)).width, seen.done())

        assert 3840 == seen.result(100).width


def test_a_film_beyond_4k_is_refused_whatever_its_index_says() -> None:
    """By its index where that tells, or else by the decoder, before it makes room for a picture."""
    body = film_of(4096, 2320)
    sides = (4096).to_bytes(2, "big") + (2320).to_bytes(2, "big")
    lying = body.replace(sides, (64).to_bytes(2, "big") * 2)
    assert lying != body
    for film in (body, lying):
        for look in (probe, lambda file: probe_film(file, moments=9)):
            with pytest.raises(NotMedia):
                look(BytesIO(film))


def webm(*, sound_seconds: float = 0) -> bytes:
    """A WebM of two seconds of film, and of this much sound."""
    with NamedTemporaryFile(suffix=".webm") as out, av.open(out.name, "w") as made:
        stream = made.add_stream("libvpx", rate=24, options={"deadline": "realtime", "cpu-used": "8", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        sound: Any = made.add_stream("libopus", rate=48000, layout="mono") if sound_seconds else None  # as in `song`
        for number in range(48):
            image = Image.effect_noise((64, 64), 20 + number).convert("RGB")
            made.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]  # as above
        made.mux(stream.encode())
        for frame in tone_frames(sound_seconds) if sound else ():
            frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), None
            made.mux(sound.encode(frame))
        if sound:
            made.mux(sound.encode(None))
        made.close()
        return Path(out.name).read_bytes()


@pytest.mark.parametrize("part", [0.25, 0.5, 0.8])
def test_a_webm_that_was_cut_is_no_media(part: float) -> None:
    """Its head says how long it lasts, which its streams do not."""
    body = webm()
    for look in (probe, lambda file: probe_film(file, moments=9), probe_film):
        assert (64, 2.0) == (_facts(look(BytesIO(body))).width, _facts(look(BytesIO(body))).duration)
        with pytest.raises(NotMedia, match="it was cut"):
            look(BytesIO(body[: int(len(body) * part)]))


def _facts(seen: MediaFacts | Film) -> MediaFacts:
    return seen.facts if isinstance(seen, Film) else seen


def test_a_webm_lasts_as_long_as_its_sound() -> None:
    """What is heard after the last picture makes no cut film of it."""
    body = webm(sound_seconds=4)

    assert 64 == probe(BytesIO(body)).width == probe_film(BytesIO(body), moments=9).facts.width
