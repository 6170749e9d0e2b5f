# SPDX-License-Identifier: Apache-2.0
"""Small files that are whole at any moment."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file beside and put it in the old one's place: a kill leaves the old or the new one.

    Raises:
        OSError: the disk refuses it; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
