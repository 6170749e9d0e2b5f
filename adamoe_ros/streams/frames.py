# SPDX-License-Identifier: Apache-2.0
"""Pictures that were checked when they arrived and are decoded when somebody looks.

Most pictures are never part of an observation, because a newer one comes before the next inference.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray


class Frame:
    """A picture that may still have to be decoded; (H, W, 3) uint8 RGB once it is."""

    def __init__(self, decode: Callable[[], NDArray[np.uint8]]) -> None:
        self._decode: Callable[[], NDArray[np.uint8]] | None = decode
        self._pixels: NDArray[np.uint8] | None = None
        self._lock = Lock()  # observations of a slow camera share its frames

    def pixels(self) -> NDArray[np.uint8]:
        """The picture; decoded once.

        Raises:
            ContractError: it cannot be decoded.
        """
        with self._lock:
            if self._pixels is None:
                assert self._decode is not None
                self._pixels = self._decode()
                self._decode = None
            return self._pixels
