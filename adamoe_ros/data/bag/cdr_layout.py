# SPDX-License-Identifier: Apache-2.0
"""CDR messages whose strings and counts are those of the message before: only the numbers are read.

Joint states and commands repeat their names in every message, and reading these is most of the work.
A layout is learnt from a message that rosbags has read, and used only if reading that message by it
gives the same.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_LARGEST = 4096  # bytes of a message; pictures differ in length, and are quick to read anyhow
_LITTLE_ENDIAN = b"\x00\x01"  # first bytes of plain CDR
_NUMBERS = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_BASE, _NAME, _ARRAY, _SEQUENCE = 1, 2, 3, 4  # as rosbags' Nodetype

Build = Callable[[bytes, tuple[Any, ...]], Any]


class UnknownLayout(Exception):
    """A message of a kind that is left to rosbags."""


class Layout:
    """Where the numbers of one message are, and what everything else is.

    Args:
        store: rosbags type store.
        kind: type of the message.
        data: one message, whole, little endian.

    Raises:
        UnknownLayout: the type has fields that are not read here.
    """

    def __init__(self, store: Any, kind: str, data: bytes) -> None:
        self._store, self._data, self._end = store, data, 4
        self._scalars: list[tuple[int, str]] = []
        self._holes: list[tuple[int, int]] = []
        self._names: dict[str, Any] = {"array": np.frombuffer}
        # one expression of our own words: nested calls take twice as long
        made = f"lambda data, numbers: {self._message(kind)}"
        self._build: Build = eval(made, self._names)
        self._length = len(data)
        edges = [0, *(edge for hole in self._holes for edge in hole), self._length]
        spans = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
        self._fixed = [(slice(a, b), data[a:b]) for a, b in spans]
        self._struct = struct.Struct(self._format())
        del self._data

    def read(self, data: bytes) -> Any | None:
        """A message of the same layout; None: it has another one."""
        if len(data) != self._length:
            return None
        for span, content in self._fixed:
            if data[span] != content:
                return None
        return self._build(data, self._struct.unpack_from(data))

    def _format(self) -> str:
        parts, at = ["<"], 0
        for place, code in self._scalars:
            parts.append(f"{place - at}x{code}")
            at = place + struct.calcsize(code)
        return "".join(parts)

    # --- one look at the fields -----------------------------------------------------------------

    def _align(self, size: int) -> int:
        self._end += -(self._end - 4) % size
        return self._end

    def _count(self) -> int:
        place = self._align(4)
        self._end += 4
        return int(struct.unpack_from("<I", self._data, place)[0])

    def _message(self, kind: str) -> str:
        parts = [self._field(field) for _, field in self._store.fielddefs[kind][1]]
        return f"{self._named(self._store.types[kind])}({', '.join(parts)})"

    def _field(self, field: Any) -> str:
        node, what = int(field[0]), field[1]
        if node == _NAME:
            return self._message(what)
        if node == _BASE:
            return self._named(self._text()) if what[0] == "string" else self._number(what[0])
        item = what[0]
        count = what[1] if node == _ARRAY else self._count()
        if int(item[0]) != _BASE:
            return f"[{', '.join(self._field(item) for _ in range(count))}]"
        if item[1][0] == "string":  # the names of joints
            return f"{self._named([self._text() for _ in range(count)])}.copy()"
        return self._numbers(item[1][0], count)

    def _named(self, value: Any) -> str:
        """A name in the expression for what is the same in every message of the layout."""
        name = f"known{len(self._names)}"
        self._names[name] = value
        return name

    def _text(self) -> str:
        size = self._count()
        value = self._data[self._end : self._end + size - 1].decode()
        self._end += size
        return value

    def _number(self, name: str) -> str:
        code = _code(name)
        size = struct.calcsize(code)
        place, index = self._align(size), len(self._scalars)
        self._scalars.append((place, code))
        self._hole(place, size)
        return f"numbers[{index}]"

    def _numbers(self, name: str, count: int) -> str:
        code = _code(name)
        if not count:
            return self._named(np.frombuffer(b"", code))
        size = struct.calcsize(code)
        place = self._align(size)
        self._hole(place, size * count)
        return f"array(data, {self._named(np.dtype(code))}, {count}, {place})"

    def _hole(self, place: int, size: int) -> None:
        self._end = place + size
        self._holes.append((place, self._end))


def _code(name: str) -> str:
    if name not in _NUMBERS:
        raise UnknownLayout(name)
    return _NUMBERS[name]


class LayoutMemory:
    """Layouts of one topic's messages: the last one is tried first.

    Args:
        store: rosbags type store.
        kind: type of the messages.
    """

    def __init__(self, store: Any, kind: str) -> None:
        self._store, self._kind = store, kind
        self._layout: Layout | None = None
        self._hits, self._misses = 0, 0
        self._useful = sys.byteorder == "little"

    def read(self, data: bytes) -> Any | None:
        """The message; None: rosbags has to read it, see ``learn``."""
        found = self._layout.read(data) if self._layout is not None else None
        self._hits += found is not None
        return found

    def learn(self, data: bytes, message: Any) -> None:
        """Take over the layout of a message that was read by rosbags."""
        if not self._useful or len(data) > _LARGEST or data[:2] != _LITTLE_ENDIAN:
            return
        self._misses += 1
        self._useful = self._misses < 16 + self._hits
        self._layout = None
        try:
            layout = Layout(self._store, self._kind, data)
            same = self._same(layout.read(data), message)
        except (UnknownLayout, KeyError, struct.error, UnicodeDecodeError, ValueError, TypeError):
            self._useful = False
            return
        if same:
            self._layout = layout

    def _same(self, one: Any, other: Any) -> bool:
        if one is None:
            return False
        wire = [self._store.serialize_cdr(item, self._kind) for item in (one, other)]
        return bool(wire[0] == wire[1])
