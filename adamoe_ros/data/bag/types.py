# SPDX-License-Identifier: Apache-2.0
"""Message types of a bag: from its own definitions, else from ROS and this package.

Every definition gets a type store of its own, so that two of one name cannot meet; making one takes
as long as reading a thousand messages, so topics and bags with the same definition share it.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.resources import share_dir
from adamoe_ros.data.bag.bag_entry import TopicEntry
from adamoe_ros.data.bag.cdr_layout import LayoutMemory

_DEFAULT = "jazzy"
_READ = {  # types whose fields we read; the same in every distribution
    "builtin_interfaces/msg/Time",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/JointState",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/Header",
    "std_msgs/msg/String",
    "trajectory_msgs/msg/JointTrajectory",
    "trajectory_msgs/msg/JointTrajectoryPoint",
}
_LINE = re.compile(r"^ ?={3,}$")
_SPACES = re.compile(r"[^\S\n]+")
_CHAR = re.compile(r"\bchar\b")
_NAME = re.compile(r"^[a-zA-Z]\w*(/[a-zA-Z]\w*){0,2}$")


@lru_cache(maxsize=4)
def distro_store(distro: str) -> Any:
    """Types that ship with a distribution, e.g. ``kilted``; an unknown one gets those of Jazzy."""
    from rosbags.typesys import Stores, get_typestore

    name = f"ros2_{distro}"
    known = name if name in {store.value for store in Stores} else f"ros2_{_DEFAULT}"
    return get_typestore(Stores(known))


class TypeReader:
    """Deserialises messages of one type.

    Args:
        entry: a topic of that type.
        distro: that recorded the bag; empty: not known.

    Attributes:
        store: rosbags type store that knows the type.
        problem: the type's hash is not that of its definition; None: it fits or is not there.

    Raises:
        ContractError: the type is not known, or not CDR.
    """

    def __init__(self, entry: TopicEntry, distro: str = "") -> None:
        where = f"topic {entry.topic}"
        if entry.encoding != "cdr":
            raise ContractError(problem(where, "CDR messages", entry.encoding, "record it anew"))
        self._type = entry.type
        try:
            self.store = _store(entry, distro)
        except ContractError as error:
            raise ContractError([f"{where}: {line}" for line in error.problems]) from error
        self.problem = self._hash_problem(entry, where)
        self._layouts = LayoutMemory(self.store, entry.type)

    def _hash_problem(self, entry: TopicEntry, where: str) -> str | None:
        if not entry.digest.startswith("RIHS01_") or not entry.definition:
            return None
        if _CHAR.search(entry.definition):
            return None  # rosbags reads a char as uint8, which changes the hash and nothing else
        have = self.store.hash_rihs01(self._type)
        if have == entry.digest:
            return None
        return problem(
            where,
            f"{entry.type} with the hash {entry.digest[:15]}... that the bag states",
            f"{have[:15]}... for the definition that is there",
            "values may be wrong: record with matching messages",
        )

    def read(self, data: bytes) -> Any:
        """A message as an object with the fields of its type.

        Raises:
            ContractError: the bytes are not of this type.
        """
        known = self._layouts.read(data)
        if known is not None:
            return known
        try:
            message = self.store.deserialize_cdr(memoryview(data), self._type)
        except Exception as error:  # truncated or foreign bytes fail in many ways
            line = f"{len(data)} bytes that are not ({type(error).__name__})"
            raise ContractError(problem(self._type, "a whole message", line, "skip it")) from error
        self._layouts.learn(data, message)
        return message


def _store(entry: TopicEntry, distro: str) -> Any:
    definition, base = _clean(entry.definition), distro_store(distro)
    if definition:
        return _defined(entry.type, definition, entry.idl, distro)
    return base if entry.type in base.fielddefs else _with_found(base, entry.type)


@lru_cache(maxsize=64)
def _defined(kind: str, definition: str, idl: bool, distro: str) -> Any:
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    base = distro_store(distro)
    try:
        if idl:
            types = {}
            for text in _idl_parts(definition):
                types.update(get_types_from_idl(text))
        else:
            types = get_types_from_msg(definition, kind)
    except Exception as error:
        line = " ".join(str(error).split())[:120]
        raise ContractError(problem(kind, "a readable definition", line, "leave it out")) from error
    _check_fields(types, base)
    store = get_typestore(Stores.EMPTY)
    store.register({**_missing(types, base), **types})
    unknown = sorted(set(_used(types)) - store.fielddefs.keys())
    if unknown:
        do = "values may be wrong: the topic is left out"
        raise ContractError(problem(kind, f"a definition of {', '.join(unknown)}", "none", do))
    return store


def _check_fields(types: Any, base: Any) -> None:
    """A definition of a type that we read has at least the fields that it always had.

    Raises:
        ContractError: it is damaged, or somebody else's type of the same name.
    """
    for name in _READ & types.keys():
        have = {field for field, _ in types[name][1]}
        lost = [field for field, _ in base.fielddefs[name][1] if field not in have]
        if lost:
            do = "values may be wrong: the topic is left out"
            raise ContractError(problem(name, f"the fields {', '.join(lost)}", "none", do))


def _clean(definition: str) -> str:
    """A definition with plain line ends and spaces, whatever the editor of its files left there."""
    text = definition.removeprefix("\ufeff").replace("\0", "")
    lines = [_SPACES.sub(" ", line).rstrip() for line in text.splitlines()]
    return "\n".join("=" * 80 if _LINE.match(line) else line for line in lines if line)


def _idl_parts(text: str) -> list[str]:
    line = "=" * 80 + "\n"
    if not text.startswith(f"{line}IDL: "):
        return [text]
    return [part.split("\n", 1)[1] for part in text.split(line)[1:]]


def _missing(types: Any, base: Any) -> dict[str, Any]:
    """Types that a definition uses without bringing them."""
    found: dict[str, Any] = {}
    waiting = [name for name in _used(types) if name not in types]
    while waiting:
        name = waiting.pop()
        if name in found or name in types or name not in base.fielddefs:
            continue
        found[name] = base.fielddefs[name]
        waiting += _used({name: found[name]})
    return found


def _used(value: Any) -> list[str]:
    """Every type name in a nested structure of field definitions."""
    if isinstance(value, str):
        return [value] if _NAME.match(value) and value.count("/") == 2 else []
    if isinstance(value, dict):
        return [name for item in value.values() for name in _used(item)]
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _used(item)]
    return []


def _with_found(base: Any, kind: str) -> Any:
    """A store with a type whose ``.msg`` file lies in an installed package or in this one."""
    from rosbags.typesys import Stores, get_typestore

    types = found_types(kind, base)
    if kind not in types:
        raise ContractError(
            problem(
                kind,
                "a definition in the bag, or its package installed",
                "neither",
                "source the overlay that has it; the other topics are read",
            )
        )
    store = get_typestore(Stores.EMPTY)
    store.register({**_missing(types, base), **types})
    return store


def found_types(name: str, base: Any) -> dict[str, Any]:
    """Definitions of a type and of what it uses, from ``.msg`` files; empty where there is none."""
    from rosbags.typesys import get_types_from_msg

    types: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        wanted = waiting.pop()
        path = _msg_file(wanted)
        if wanted in types or path is None or (wanted in base.fielddefs and wanted != name):
            continue
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), wanted))
        waiting += _used({wanted: types[wanted]})
    return types


def _msg_file(name: str) -> Path | None:
    package, kind, message = name.split("/")
    prefixes = [item for item in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if item]
    places = [Path(prefix) / "share" / package / kind / f"{message}.msg" for prefix in prefixes]
    if package == "adamoe_ros":
        places.append(share_dir() / kind / f"{message}.msg")
    return next((path for path in places if path.is_file()), None)
