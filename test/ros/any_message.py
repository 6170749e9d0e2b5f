# SPDX-License-Identifier: Apache-2.0
"""Any message of a type, drawn by hypothesis from the type's own field declarations (rosidl)."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any

from hypothesis import strategies as st

_TEXT = st.text(max_size=20) | st.sampled_from(["", "x" * 10_000, "../..", "nan", "\n", "\x00"])
_FLOATS = st.floats() | st.sampled_from([1e300, 1e-300, 5e-324, 0.02])
_BASIC: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "double": _FLOATS,
    "float": st.floats(width=32),
    "octet": st.binary(min_size=1, max_size=1),
    "string": _TEXT,
}


def values(kind: str) -> st.SearchStrategy[Any]:
    """Any value of a field type as rosidl names it."""
    if found := re.fullmatch(r"sequence<([^,>]+)(?:, (\d+))?>", kind):
        return st.lists(values(found[1]), max_size=min(int(found[2] or 4), 4))
    if found := re.fullmatch(r"(.+)\[(\d+)\]", kind):
        size = int(found[2])
        return st.lists(values(found[1]), min_size=size, max_size=size)
    if found := re.fullmatch(r"string<(\d+)>", kind):
        return st.text(max_size=int(found[1]))
    if kind in _BASIC:
        return _BASIC[kind]
    if found := re.fullmatch(r"(u?)int(\d+)", kind):
        bits = int(found[2])
        low, high = (0, 2**bits) if found[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        return st.integers(low, high - 1) | st.sampled_from([low, high - 1])
    package, name = kind.split("/")
    if found := re.fullmatch(r"(.+)_(Goal|Result|Feedback)", name):
        return messages(getattr(_found(package, "action", found[1]), found[2]))
    return messages(_found(package, "msg", name))


@cache
def messages(kind: Any) -> st.SearchStrategy[Any]:
    """Any message of a type, a service's request or an action's goal."""
    fields = kind.get_fields_and_field_types()
    return st.builds(kind, **{name: values(text) for name, text in fields.items()})


def _found(package: str, folder: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"{package}.{folder}"), name, None)
    except ImportError:
        return None


def interface(text: str) -> Any:
    """The class of ``package/msg|srv|action/Name``, also of an action's hidden services; None: unknown."""
    package, folder, name = text.split("/")
    if folder == "action":
        for suffix in ("SendGoal", "GetResult"):
            if name.endswith(f"_{suffix}"):
                action = _found(package, folder, name.removesuffix(f"_{suffix}"))
                return getattr(action.Impl, f"{suffix}Service")
        return _found(package, folder, name)
    return _found(package, folder, name)
