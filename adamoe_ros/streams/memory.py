# SPDX-License-Identifier: Apache-2.0
"""How this process gives memory back, for those who decode many pictures. Standard library only."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # parameters of glibc's mallopt
_KEPT = 32 * 2**20  # bytes that may lie free at the end of the heap
_KEPT_BY_THREAD = 4 * 2**20  # the same for what other threads took; they look at no threshold
# bytes of a block that is kept for the next: a picture of 1280 x 720 is 2.8 MB
_LARGEST = 3 * 2**20


def keep_freed_pictures() -> bool:
    """Let the next picture use the memory of one that was freed; False: not with this C library.

    glibc gives blocks of a picture's size back to the system when they are freed, and gets zeroed
    pages, one fault each, for the next: a third of the time that decoding a JPEG takes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _KEPT_BY_THREAD))
    return all(bool(mallopt(*item)) for item in wanted)
