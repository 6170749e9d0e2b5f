# SPDX-License-Identifier: Apache-2.0
"""Frames of any content for a policy server, and what it may answer.

Anything that is msgpack or not, observations with a part replaced, and real ones with damaged bytes. A frame is
answered, or refused with one line, or ends its connection with a code of the websocket protocol; a traceback, an
internal error and silence are faults.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import Any, Protocol

import msgpack
import numpy as np
from hypothesis import strategies as st
from serving_support import PROMPT
from websockets.exceptions import ConnectionClosed

from adamoe_ros.serving import wire
from adamoe_ros.serving.pictures import encode_jpeg

PATHS = ("/openpi", "/vla-eval", "/xpolicylab")
_PATIENCE = 60.0  # s for an answer
_INTERNAL = b"report it"  # the server's word for a fault of its own

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.sampled_from([10**6, 2**31, 2**63, "x" * 70_000, b"\xff\xd8\xff", [[[]]] * 40]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.binary(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
_names = [b"__ndarray__", b"data", b"dtype", b"shape"], ["__ndarray__", "data", "dtype", "shape"]
_names += ([b"nd", b"data", b"type", b"shape"], [b"__npgeneric__", b"data", b"dtype", b"shape"])
arrays = st.tuples(
    st.sampled_from(_names),
    st.just(True) | values,
    st.binary(max_size=64) | values,
    st.sampled_from(["<f4", "|u1", "<i8", "|O", "<U8", ">f8", "<c8", "|V4", "<M8[s]", "", 3]),
    st.lists(st.integers(-3, 2**40), max_size=6) | values,
).map(lambda made: dict(zip(made[0], made[1:], strict=True)))
extras = st.dictionaries(
    st.sampled_from(
        [
            "images",
            "state",
            "prompt",
            "noise",
            "noise_seed",
            "rows",
            "weights",
            "prefix_rows",
            "max_weight",
            "age",
            "trace",
            "echo",
        ]
    ),
    values | arrays,
    max_size=5,
)


def _png(width: int, height: int) -> bytes:
    """The head of a picture that announces its size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))


_jpeg = encode_jpeg(np.full((8, 8, 3), 90, np.uint8), 90)
pictures = st.sampled_from(
    [
        _jpeg,
        _jpeg[:-30],
        _jpeg.replace(b"\0\x08\0\x08\x03", b"\xff\xff\xff\xff\x03"),  # 65535 x 65535
        _png(2**31 - 1, 2**31 - 1),
        _png(4096, 4096),
        b"GIF89a" + bytes(40),
        b"",
    ]
)


def observation(path: str) -> dict[str, Any]:
    """A whole one of a protocol, with small pictures."""
    image, state = np.full((4, 4, 3), 90, np.uint8), np.zeros(14)
    parts = (("left", 6), ("right", 6))
    if path == "/vla-eval":
        cameras = {f"{name}_camera": _keyed(image) for name in ("head", "left", "right")}
        seen = {"images": cameras, "joint_state": _keyed(state), "task_description": PROMPT}
        return {"type": "observation", "payload": seen, "seq": 1, "timestamp": 0.0}
    if path == "/xpolicylab":
        cameras = ("cam_head", "cam_left_wrist", "cam_right_wrist")
        joints = {
            f"{arm}_{what}_joint_state": np.zeros(size)
            for arm, width in parts
            for what, size in (("arm", width), ("ee", 1))
        }
        seen = {
            "vision": {name: {"color": image} for name in cameras},
            "state": joints,
            "instruction": PROMPT,
        }
        return {"message_type": "infer", "message_id": "1", "payload": {"observation": seen}}
    names = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    return {"state": state, "images": dict.fromkeys(names, image), "prompt": PROMPT}


def _keyed(array: np.ndarray) -> dict[str, Any]:
    data, shape = array.tobytes(), list(array.shape)
    return {"__ndarray__": True, "data": data, "dtype": array.dtype.str, "shape": shape}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [*([path] if path else []), *(p for k, v in inner for p in _places(v, (*path, k)))]


def _replaced(tree: dict[str, Any], place: tuple[Any, ...], new: Any) -> dict[str, Any]:
    first, rest = place[0], place[1:]
    return {**tree, first: _replaced(tree[first], rest, new) if rest else new}


def _damaged(frame: bytes, edits: list[tuple[int, str, bytes]]) -> bytes:
    for where, kind, data in edits:
        at = where % (len(frame) + 1)
        cut = {"set": len(data), "cut": 4 * len(data), "put": 0, "end": len(frame)}[kind]
        frame = frame[:at] + (b"" if kind == "cut" else data) + frame[at + cut :]
    return frame


@st.composite  # whose repr is short
def frames(draw: st.DrawFn, path: str) -> bytes | str:
    """Of a protocol."""
    return draw(_frames(path))


@cache
def _frames(path: str) -> st.SearchStrategy[bytes | str]:
    whole = observation(path)
    edits = st.tuples(
        st.integers(0, 2**20),
        st.sampled_from(["set", "cut", "put", "end"]),
        st.binary(min_size=1, max_size=3),
    )
    replaced = st.tuples(
        st.sampled_from(_places(whole)),
        values | arrays | pictures | st.just(observation("/openpi")),
    ).map(lambda made: wire.pack(_replaced(whole, *made)))
    return (
        st.binary(max_size=200)
        | st.text(max_size=60)
        | values.map(wire.pack)
        | st.dictionaries(st.sampled_from(list(whole)), values | arrays, max_size=4).map(wire.pack)
        | extras.map(lambda extra: wire.pack({**whole, wire.EXTRA: extra}))
        | replaced
        | st.lists(edits, min_size=1, max_size=4).map(lambda made: _damaged(wire.pack(whole), made))
    )


class Client(Protocol):
    """Of websockets' synchronous ones."""

    def send(self, frame: bytes | str) -> None: ...
    def recv(self, timeout: float) -> bytes | str: ...


_HELLO = {
    "/vla-eval": {"type": "hello", "payload": {}, "seq": 7},
    "/xpolicylab": {"message_type": "hello", "payload": {}},
}


def outcome(client: Client, path: str, frame: bytes | str) -> tuple[str, str]:
    """What a frame comes to, in a word; and the fault, empty for none.

    Args:
        client: connected; openpi's greeting has been read.
    """
    try:
        client.send(frame)
        if path in _HELLO:  # some messages have no answer of their own: then it is this one's
            client.send(msgpack.packb(_HELLO[path]))
        answer = client.recv(_PATIENCE)
    except TimeoutError:
        return "silence", f"no answer within {_PATIENCE:g} s"
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else 0
        return f"closed {code}", "" if code in (1000, 1002, 1007, 1009) else str(closed)
    data = answer.encode() if isinstance(answer, str) else answer
    if b"expected" in data:
        return "refused", data.decode(errors="replace")[:300] if _INTERNAL in data else ""
    known = (b"action", b"hello", b"_ack", b"_result", b"time_ns")
    return "answered", "" if any(word in data for word in known) else repr(data[:200])
