# SPDX-License-Identifier: Apache-2.0
"""A simulated episode's frame: the scene, what the policy sees beside it, and a caption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]

SCENE = (960, 720)  # px, width and height
VIEW = (320, 240)
SIZE = (SCENE[0] + VIEW[0], SCENE[1])
_GREEN, _WHITE, _SOFT = (92, 219, 149), (255, 255, 255), (190, 199, 210)
_CRF = 23  # x264's quality: small enough to embed in a page


@dataclass(frozen=True)
class Caption:
    """Words over one frame.

    Attributes:
        sentence: the instruction.
        left: figures, shown small.
        right: e.g. "success"; empty for none.
    """

    sentence: str
    left: str
    right: str = ""


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def compose(scene: Picture, views: Mapping[str, Picture], caption: Caption) -> Picture:
    """One frame of the video.

    Args:
        scene: (720, 960, 3) uint8 RGB.
        views: up to three camera pictures by slot, (H, W, 3) uint8 RGB of any size.

    Returns:
        (720, 1280, 3) uint8 RGB.
    """
    canvas = Image.new("RGB", SIZE, (16, 20, 26))
    canvas.paste(Image.fromarray(scene), (0, 0))
    draw = ImageDraw.Draw(canvas, "RGBA")
    for row, (slot, picture) in enumerate(list(views.items())[:3]):
        corner = (SCENE[0], row * VIEW[1])
        canvas.paste(Image.fromarray(picture).resize(VIEW, Image.Resampling.BILINEAR), corner)
        _label(draw, slot, (corner[0] + 8, corner[1] + 8))
        draw.line((corner[0], corner[1], SIZE[0], corner[1]), fill=(16, 20, 26, 255), width=2)
    draw.line((SCENE[0], 0, SCENE[0], SIZE[1]), fill=(16, 20, 26, 255), width=3)
    _caption(draw, caption)
    return np.asarray(canvas)


def _label(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int]) -> None:
    font = _font(15)
    box = draw.textbbox(at, text, font=font)
    draw.rounded_rectangle((box[0] - 5, box[1] - 4, box[2] + 5, box[3] + 4), 4, fill=(0, 0, 0, 150))
    draw.text(at, text, font=font, fill=_WHITE)


def _caption(draw: ImageDraw.ImageDraw, caption: Caption) -> None:
    width, height = SCENE
    draw.rectangle((0, height - 84, width, height), fill=(10, 13, 18, 178))
    draw.text((22, height - 74), caption.sentence, font=_font(28), fill=_WHITE)
    draw.text((22, height - 34), caption.left, font=_font(18), fill=_SOFT)
    if caption.right:
        font = _font(28)
        wide = draw.textlength(caption.right, font=font)
        draw.text((width - 22 - wide, height - 56), caption.right, font=font, fill=_GREEN)


def write_mp4(path: Path, frames: Iterable[Picture], rate: float) -> int:
    """Encode H.264 with the index in front, so that a browser plays it at once.

    Args:
        frames: (H, W, 3) uint8 RGB, even sizes, all the same.
        rate: frames per second.

    Returns:
        Number of frames.
    """
    import av

    count = 0
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(_CRF), "preset": "veryfast"}
        for frame in frames:
            if count == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            count += 1
        container.mux(stream.encode())
    return count
