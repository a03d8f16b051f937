"""What the short names in a rule's source stand for: where it is written, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

#: In the order in which they are shown.
SOURCES = MappingProxyType(
    {
        "DOC": "Kling's own documentation says it",
        "OBS": "the live service was seen to do it, and others wrote that down",
        "AMB": "sources disagree",
        "INF": "concluded here, written nowhere",
        "A": 'Kling: "Kling AI Series 3.0 Model API Specification", February 2026',
        "B": "Kling: API reference in English, app.klingai.com, March 2026",
        "B2i": "Kling: image2video, klingai.com/document-api, May 2026",
        "B2o": "Kling: omni-video, the page for /v1 as dataeyes.ai mirrors it, June 2026",
        "C": 'Kling: pages of the "new design standard", June to October 2026',
        "Ce": "Kling: error codes, kling.ai/document-api/api/get-started/error-codes, June 2026",
        "Cv": "Kling: capability map of the video models, May 2026",
        "Ci": "Kling: capability map of the image models, May 2026",
        "map": "Kling: the two capability maps, May 2026",
        "Cio": "Kling: omni-image, June 2026",
        "Cig": "Kling: image generations, June 2026",
        "Cfx": "Kling: video effects, June 2026",
        "K": "Kling: its nodes for ComfyUI, github.com/KwaiVGI/ComfyUI-KLingAI-API, October 2025",
        "R": "Kling's documents retold in github.com/WHQ25/rawgenai, docs/research/kling, February 2026",
        "E": "the request types of another client, written from Kling's documentation of September 2026",
        "M": "errors of the live service as another client's authors noted them, July 2026",
        "P": "Kling's price list as others wrote it down, August and September 2026",
        "AX": "a gateway's OpenAPI description whose texts are those of S1, 2026",
        "S0": "CometAPI's example of omni-video",
        "S1": "AnyAPI's OpenAPI description of omni-video",
        "S2": "Hingnet's examples of omni-video",
        "S3": "CometAPI's example of image2video",
        "S4": "excerpts of A",
        "seeds": "S0 to S4",
    }
)
_WORD = re.compile(r"\w+")


def cited(sources: Iterable[str]) -> dict[str, str]:
    """The short names that occur in `sources`, and what each stands for."""
    words = {word for source in sources for word in _WORD.findall(source)}
    return {name: meaning for name, meaning in SOURCES.items() if name in words}
