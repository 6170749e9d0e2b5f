# SPDX-License-Identifier: Apache-2.0
"""Where the values of an OCDBT database lie in its files, so that they can be read piece by piece.

tensorstore gives a value only as a whole and in three copies; it does tell the tree's nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Place:
    """Bytes of a value: in a file, or inline.

    Attributes:
        file: None for an inline value.
    """

    file: Path | None
    offset: int
    length: int
    inline: bytes = b""


def ocdbt_places(folder: Path, base: Any, keys: set[str]) -> dict[str, Place] | None:
    """Key -> place, of the newest version.

    Args:
        base: tensorstore's key-value store of the folder's files.
        keys: every key, as tensorstore lists them.

    Returns:
        None where the tree cannot be followed to exactly these keys.
    """
    from tensorstore import ocdbt

    try:
        root = ocdbt.dump(base).result()["versions"][-1]["root"]["location"]
        places: dict[str, Place] = {}
        _walk(folder, lambda node: ocdbt.dump(base, node).result(), root, b"", places)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None
    return places if set(places) == keys else None


def _walk(folder: Path, dump: Any, node: str, prefix: bytes, places: dict[str, Place]) -> None:
    for entry in dump(node)["entries"]:
        key = prefix + entry["key"]
        if "inline_value" in entry:
            value = entry["inline_value"]
            places[key.decode()] = Place(None, 0, len(value), value)
        elif "indirect_value" in entry:
            places[key.decode()] = _place(folder, entry["indirect_value"])
        else:
            shared = prefix + entry["subtree_common_prefix"]
            _walk(folder, dump, entry["location"], shared, places)


def _place(folder: Path, location: str) -> Place:
    """``value:<folder>:<file>:<offset>:<length>``, names percent-encoded."""
    _, base, file, offset, length = location.split(":")
    return Place(folder / (unquote(base) + unquote(file)), int(offset), int(length))
