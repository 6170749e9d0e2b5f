# SPDX-License-Identifier: Apache-2.0
"""openpi's frames: msgpack with numpy arrays, read with bounds on everything that a stranger may send.

An array is ``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [...]}``, a numpy scalar
``{b"__npgeneric__": True, b"data", b"dtype"}``. Nothing that is read can run code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem

_DTYPES = {
    np.dtype(f"<{kind}").str
    for kind in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "b1"]
}
VERSION = 1  # of what is below the key EXTRA, both ways
EXTRA = "adamoe"
_MOST_DIMENSIONS = 4
_MOST_ITEMS = 20_000  # of a list
_MOST_KEYS = 500  # of a mapping
_MOST_CHARACTERS = 1 << 20

Frame = Mapping[str, Any]
Decode = Callable[[dict[Any, Any]], Any]


def pack(value: Any) -> bytes:
    """A frame.

    Raises:
        TypeError: something that has no place in one.
    """
    return cast(bytes, msgpack.packb(value, default=_encode))


def _encode(value: Any) -> dict[bytes, Any]:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "VOc":
        if isinstance(value, np.generic):
            return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
        data, shape = value.tobytes(), value.shape
        return {b"__ndarray__": True, b"data": data, b"dtype": value.dtype.str, b"shape": shape}
    raise TypeError(f"expected numbers, text, lists and mappings, got {type(value).__name__}")


def decode_array(data: Any, dtype: Any, shape: Any) -> NDArray[Any]:
    """A read-only array over its bytes.

    Raises:
        ValueError: one line, what does not fit.
    """
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"an array of {str(dtype)[:20]!r}")
    sizes = list(shape) if isinstance(shape, (list, tuple)) else [-1]
    if len(sizes) > _MOST_DIMENSIONS or any(type(n) is not int or n < 0 for n in sizes):
        raise ValueError(f"an array of shape {str(shape)[:40]}")
    count = math.prod(sizes) * np.dtype(dtype).itemsize
    if not isinstance(data, bytes) or len(data) != count:
        got = len(data) if isinstance(data, bytes) else type(data).__name__
        raise ValueError(f"{got} bytes for an array {tuple(sizes)} of {dtype}")
    return np.ndarray(tuple(sizes), dtype, data)


def _decode(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return decode_array(value.get(b"data"), value.get(b"dtype"), value.get(b"shape"))
    if b"__npgeneric__" in value:
        kind, data = value.get(b"dtype"), value.get(b"data")
        if kind not in _DTYPES or not isinstance(data, (bool, int, float)):
            raise ValueError(f"a number of {str(kind)[:20]!r}")
        return np.dtype(kind).type(data)
    return value


def unpack(frame: bytes | str, decode: Decode = _decode) -> Frame:
    """A frame's mapping.

    Args:
        decode: what becomes of each mapping inside.

    Raises:
        ContractError: a text frame, no msgpack, or anything out of bounds; one line.
    """
    if isinstance(frame, str):
        raise ContractError(problem("frame", "msgpack (binary)", "text", "send a binary frame"))
    try:
        value = msgpack.unpackb(
            frame,
            object_hook=decode,
            ext_hook=_no_extension,
            max_array_len=_MOST_ITEMS,
            max_map_len=_MOST_KEYS,
            max_str_len=_MOST_CHARACTERS,
            max_ext_len=64,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        what = " ".join(str(error).split())[:120] or type(error).__name__
        do = "send what openpi-client sends"
        raise ContractError(problem("frame", "msgpack of numbers and arrays", what, do)) from error
    if not isinstance(value, dict):
        got = type(value).__name__
        raise ContractError(problem("frame", "a mapping", got, "send an observation"))
    return value


def word(value: Any) -> str:
    """A text of a frame; of anything else, what it is instead."""
    return value if isinstance(value, str) else type(value).__name__


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")
