# SPDX-License-Identifier: Apache-2.0
"""Camera frames as JPEG, while somebody looks: as they come, or as the model sees them.

One thread, which never touches what stops or steers: a frame that is late is left out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.serving.pictures import encode_jpeg
from adamoe_ros.streams.encodings import opencv
from adamoe_ros.streams.images import fitted_size

VIEWS = ("raw", "model")
_WIDEST = 640  # px; a larger picture is made smaller for the page
_QUALITY = 80
_RATE_FRAMES = 20  # that a camera's rate is counted over

Decode = Callable[[], NDArray[np.uint8]]


class PictureFeed:
    """Newest frame of each camera -> JPEG for whoever looks.

    Args:
        slots: cameras, in the page's order.
        model_size: (height, width) of the model's pictures; None: unknown, they are not shown.
        rate: Hz, at most, of each camera.
        failed: called with a line where a frame cannot be read, once a line.
    """

    def __init__(
        self,
        slots: tuple[str, ...],
        model_size: tuple[int, int] | None,
        rate: float,
        failed: Callable[[str], None],
    ) -> None:
        self.slots, self.model_size = slots, model_size
        self._period, self._failed = 1.0 / rate, failed
        self._lock = threading.Condition()
        self._frames: dict[str, Decode] = {}
        self._lookers: dict[Any, tuple[str, Callable[[int, str, bytes], None]]] = {}
        self._sent: dict[str, deque[float]] = {slot: deque(maxlen=_RATE_FRAMES) for slot in slots}
        self._said: set[str] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def offer(self, slot: str, decode: Decode) -> None:
        """The newest frame; read only when it is its turn."""
        with self._lock:
            self._frames[slot] = decode
            self._lock.notify()

    def look(self, key: Any, view: str, take: Callable[[int, str, bytes], None]) -> None:
        """Somebody looks: ``take(camera, view, jpeg)`` is called in the feed's thread."""
        with self._lock:
            self._lookers[key] = (view, take)

    def look_away(self, key: Any) -> None:
        """Not any more."""
        with self._lock:
            self._lookers.pop(key, None)

    @property
    def looked_at(self) -> bool:
        """Whether anybody looks: frames are wanted."""
        return bool(self._lookers)

    def rates(self) -> dict[str, float]:
        """Hz of each camera on the page."""
        now, found = time.monotonic(), {}
        for slot, times in self._sent.items():
            recent = [at for at in list(times) if now - at < 2.0]
            if len(recent) > 1:
                found[slot] = round((len(recent) - 1) / (recent[-1] - recent[0]), 1)
        return found

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join(2.0)

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            with self._lock:
                while not self._closing and not (self._frames and self._lookers):
                    self._lock.wait(0.5)
                if self._closing:
                    return
                frames, self._frames = self._frames, {}
                lookers = list(self._lookers.values())
            for slot, decode in frames.items():
                if slot in self._sent:
                    self._show(slot, decode, lookers)
            due = max(due + self._period, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def _show(self, slot: str, decode: Decode, lookers: list[Any]) -> None:
        number, made = self.slots.index(slot), {}
        try:
            for view in {view for view, _ in lookers}:
                made[view] = self._encode(decode(), view)
        except Exception as error:
            line = f"{slot}: {error}"
            if line not in self._said:
                self._said.add(line)
                self._failed(line)
            return
        self._sent[slot].append(time.monotonic())
        for view, take in lookers:
            take(number, view, made[view])

    def _encode(self, image: NDArray[np.uint8], view: str) -> bytes:
        """JPEG of an RGB picture (H, W, 3)."""
        if view == "model" and self.model_size is not None:
            image = as_the_model_sees(image, self.model_size)
        elif image.shape[1] > _WIDEST:
            height = round(image.shape[0] * _WIDEST / image.shape[1])
            cv2 = opencv()
            image = cv2.resize(image, (_WIDEST, height), interpolation=cv2.INTER_AREA)
        return encode_jpeg(image, _QUALITY)


def as_the_model_sees(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scaled into ``size`` (height, width) and centred on black, as ``policy/resizing.py`` does it.

    By PIL, to which that one is equal within a grey level, so that torch need not be loaded.
    """
    from PIL import Image

    height, width = fitted_size(image.shape[0], image.shape[1], size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    out = np.zeros((*size, 3), dtype=np.uint8)
    small = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    out[top : top + height, left : left + width] = np.asarray(small)
    return out
