# SPDX-License-Identifier: Apache-2.0
"""Frames out of the middle of a film that many episodes share, without decoding what is before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any


def frames_from(container: Any, first: int, fps: float) -> Iterator[Any]:
    """The frames of the first video stream from number ``first`` on, in the order they are shown.

    Begins at the key frame before it. Where a film does not tell the times of its frames, or its
    index leads past the frame, everything before is decoded and thrown away.

    Args:
        container: an open ``av`` container.
        first: counted from 0.
        fps: frames per second of the film.
    """
    stream = container.streams.video[0]
    if first > 0:
        container.seek(_begin(stream) + round(first / fps / stream.time_base), stream=stream)
        frames = container.decode(stream)
        head = next(frames, None)
        place = None if head is None else _place(head, stream, fps)
        if place is not None and place <= first:
            yield from islice(chain([head], frames), first - place, None)
            return
        container.seek(_begin(stream), stream=stream)
    yield from islice(container.decode(stream), first, None)


def _begin(stream: Any) -> int:
    return int(stream.start_time or 0)


def _place(frame: Any, stream: Any, fps: float) -> int | None:
    """Number of a frame by its time; None: it tells none."""
    if frame.pts is None:
        return None
    return round(float((frame.pts - _begin(stream)) * stream.time_base) * fps)
