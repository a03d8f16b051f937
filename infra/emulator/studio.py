"""Makes the files of a task and publishes them: real MP4s, PNGs, JPEGs, mp3s and wavs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.emulator.ask import Ask
from infra.emulator.ids import sequence
from infra.emulator.inputs import Inputs
from infra.emulator.prices import units
from infra.emulator.tasks import Made
from infra.emulator.world import Clip, World

#: Image families that answer with JPEG; the others answer with PNG.
_JPEG = {"images/kolors-virtual-try-on", "images/editing/expand"}
_FILES_KEPT = 512


def warm_up() -> None:
    """Load FFmpeg's libraries ahead of the first task, but after the server listens."""
    from infra.emulator import plan  # noqa: F401, PLC0415


class Studio:
    """Renders into one folder. Equal requests share a file: its bytes are equal, its URLs are not."""

    def __init__(self, world: World, folder: Path, stopped: Callable[[], bool]) -> None:
        self._world = world
        self._folder = folder
        self._stopped = stopped
        self._made: dict[object, Path] = {}

    def make(self, ask: Ask, inputs: Inputs) -> Made:
        """The result of a task, with all its files in place."""
        kinds = {"video": self._video, "image": self._images, "audio": self._audio, "voice": self._voice}
        return kinds.get(ask.family.kind, self._element)(ask, inputs)

    def _video(self, ask: Ask, inputs: Inputs) -> Made:
        from infra.emulator import film, plan  # noqa: PLC0415 - FFmpeg's libraries load when first needed

        wanted = plan.film(ask, inputs)

        def render(film_: film.Film) -> Path:
            return self._cached(film_, ".mp4", lambda path: film.make(film_, path, self._stopped))

        path = render(wanted)
        row = {"url": self._publish(path), "duration": _seconds(wanted.seconds)}
        if ask.watermark:
            row["watermark_url"] = self._publish(render(plan.marked(wanted)))
        video_id = self._world.keep_clip(Clip(path, row["url"], row["duration"]), time.time())
        return Made({"videos": [{"id": video_id, **row}]}, units(ask, wanted.seconds))

    def _images(self, ask: Ask, inputs: Inputs) -> Made:
        from dataclasses import replace  # noqa: PLC0415

        from infra.emulator import plan  # noqa: PLC0415 - as in `_video`

        rows: list[dict[str, Any]] = []
        for index, sheet in enumerate(plan.sheets(ask, inputs)):
            row = {"index": index, "url": self._publish(self._sheet(sheet, ask))}
            if ask.watermark:
                row["watermark_url"] = self._publish(self._sheet(replace(sheet, mark=plan.MARK), ask))
            rows.append(row)
        return Made(_image_result(ask, rows), units(ask, 0))

    def _sheet(self, sheet: Any, ask: Ask) -> Path:
        from infra.emulator.canvas import draw  # noqa: PLC0415 - as in `_video`

        suffix = ".jpg" if ask.family.path in _JPEG else ".png"
        return self._cached((sheet, suffix), suffix, lambda path: draw(sheet).save(path, compress_level=1))

    def _audio(self, ask: Ask, inputs: Inputs) -> Made:
        from infra.emulator import plan  # noqa: PLC0415 - as in `_video`

        seconds = plan.length(ask, inputs)
        row = {"id": self._world.mint(time.time())}
        for kind in ("mp3", "wav"):
            row[f"url_{kind}"] = self._publish(self._tone(seconds, f".{kind}"))
            row[f"duration_{kind}"] = _seconds(seconds)
        return Made({"audios": [row]}, units(ask, seconds))

    def sound(self, seconds: float) -> str:
        """The URL of a sound file of that length."""
        return self._publish(self._tone(seconds, ".mp3"))

    def picture(self, image: Any) -> str:
        """The URL of an image of Pillow's."""
        path = self._folder / f"picture-{next(sequence)}.png"
        image.save(path)
        return self._publish(path)

    def copied(self, path: Path) -> str:
        """The URL of an image file that is somebody else's."""
        from PIL import Image  # noqa: PLC0415 - as in `_video`

        with Image.open(path) as image:
            return self.picture(image)

    def _voice(self, ask: Ask, _inputs: Inputs) -> Made:
        voice_id = self._world.mint(time.time())
        row = {
            "voice_id": voice_id, "voice_name": ask.text("voice_name"), "trial_url": self.sound(5.0),
            "owned_by": "emulator",
        }  # fmt: skip
        self._world.library.keep("voice", voice_id, row)
        return Made({"voices": [row]}, units(ask, 0))

    def _element(self, ask: Ask, _inputs: Inputs) -> Made:
        kept = {
            key: ask.body[key]
            for key in ("element_name", "element_description", "reference_type", "tag_list")
            if key in ask.body
        }
        element_id = self._world.mint(time.time())
        if ask.text("reference_type") == "video_refer":
            self._world.declare([element_id])
        row = {"element_id": int(element_id), **kept, "owned_by": "emulator", "status": "succeed"}
        self._world.library.keep("element", element_id, row)
        return Made({"elements": [row]}, units(ask, 0))

    def _tone(self, seconds: float, suffix: str) -> Path:
        from infra.emulator.tone import write_tone  # noqa: PLC0415 - as in `_video`

        return self._cached((seconds, suffix), suffix, lambda path: write_tone(path, seconds))

    def _cached(self, key: object, suffix: str, write: Callable[[Path], object]) -> Path:
        path = self._made.get(key)
        if path is None:
            path = self._folder / f"result-{next(sequence)}{suffix}"
            write(path)
            if len(self._made) >= _FILES_KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[key] = path
        return path

    def _publish(self, path: Path) -> str:
        return self._world.publish(path, f"{next(sequence):08x}-output{path.suffix}")


def _seconds(value: float) -> str:
    """Seconds as Kling writes them: "5", "5.042"."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _image_result(ask: Ask, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if ask.family.path != "images/omni-image":
        return {"images": rows}
    series = ask.text("result_type") == "series"
    return {
        "result_type": "series" if series else "single",
        "images": [] if series else rows,
        "series_images": rows if series else [],
    }
