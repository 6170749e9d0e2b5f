# SPDX-License-Identifier: Apache-2.0
"""Which files belong to a bag, in order, and what its metadata.yaml says.

A bag is a folder (with metadata.yaml, or with storage files only), a single .mcap or .db3 file, or
one of these compressed as a whole (.zstd).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag import mcap_records, sqlite_file
from adamoe_ros.data.bag.bag_entry import full_type

SUFFIXES = (".mcap", ".db3")
COMPRESSED = ".zstd"
METADATA = "metadata.yaml"


@dataclass(frozen=True)
class BagFiles:
    """Files of one bag.

    Attributes:
        path: what was asked for.
        files: storage files in recording order.
        metadata: content of ``rosbag2_bagfile_information``; empty: none.
        problems: what was found missing, one line each.
    """

    path: Path
    files: tuple[Path, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def custom(self) -> dict[str, str]:
        """The recorder's own entries."""
        entries = self.metadata.get("custom_data")
        return {str(k): str(v) for k, v in entries.items()} if isinstance(entries, dict) else {}

    @property
    def distro(self) -> str:
        """ROS distribution that recorded it; empty: not known."""
        return str(self.metadata.get("ros_distro") or "")


def is_storage(path: Path) -> bool:
    """Whether a file is a storage file by its name."""
    name = path.name.removesuffix(COMPRESSED)
    return name.endswith(SUFFIXES)


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag."""
    if path.is_dir():
        return (path / METADATA).is_file() or any(map(is_storage, path.iterdir()))
    return path.is_file() and is_storage(path)


def bags_below(path: Path) -> list[Path]:
    """The bag itself, or every bag in a folder and its folders, in order of name.

    Raises:
        ContractError: there is none.
    """
    if is_bag(path) and not _holds_single_bags(path):
        return [path]
    found = sorted(_walk(path), key=_natural) if path.is_dir() else []
    if not found:
        got = "nothing there" if not path.exists() else "no .mcap, .db3 or metadata.yaml"
        raise ContractError(problem(str(path), "a rosbag2 bag or a folder of bags", got, "check"))
    return found


def _holds_single_bags(path: Path) -> bool:
    """A folder of independent files: no metadata, names not of a split bag, not parts of one recording."""
    if not path.is_dir() or (path / METADATA).is_file():
        return False
    files = [item for item in path.iterdir() if is_storage(item)]
    return len({re.sub(r"_\d+$", "", _stem(item)) for item in files}) > 1 and not _are_parts(files)


class _Content(NamedTuple):
    """What a file says that it holds, without a look at its messages; times in ns."""

    topics: set[str]
    begin: int
    end: int


def _are_parts(files: Sequence[Path]) -> bool:
    """Whether files are of one recording: some are of the same time, and these of other topics."""
    known = sorted(filter(None, map(_content, files)), key=lambda item: item.begin)
    pairs = [(a, b) for n, a in enumerate(known) for b in known[n + 1 :] if b.begin <= a.end]
    return bool(pairs) and all(one.topics != other.topics for one, other in pairs)


def _content(path: Path) -> _Content | None:
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
            if start.startswith(mcap_records.MAGIC):
                summary = mcap_records.read_summary(stream, path.stat().st_size)
                if not summary.messages:
                    return None
                return _Content({c.topic for c in summary.channels.values()}, *summary.times)
        return _Content(*sqlite_file.extent(path)) if start == sqlite_file.MAGIC else None
    except (OSError, sqlite3.Error, TypeError):
        return None


def _walk(path: Path) -> list[Path]:
    if _holds_single_bags(path):
        here = [item for item in path.iterdir() if is_storage(item)]
    elif is_bag(path):
        return [path]
    else:
        here = []
    folders = (item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    return here + [bag for folder in folders for bag in _walk(folder)]


def find_files(path: Path) -> BagFiles:
    """The files of one bag.

    Raises:
        ContractError: there are none.
    """
    if path.is_file():
        if not is_storage(path):
            raise ContractError(problem(str(path), "a .mcap or .db3 file", path.suffix, "check"))
        return BagFiles(path, (path,))
    if not path.is_dir():
        raise ContractError(problem(str(path), "a bag", "nothing there", "check the path"))
    present = sorted((item for item in path.iterdir() if is_storage(item)), key=_natural)
    metadata, problems = _read_metadata(path / METADATA)
    paths = metadata.get("relative_file_paths")
    names = [PurePath(str(name)).name for name in paths] if isinstance(paths, list) else []
    named = [path / name for name in dict.fromkeys(names) if name]
    files = [item for item in named if item.is_file()]
    problems += [
        f"{item.name}: named in {METADATA}, not there" for item in named if item not in files
    ]
    files += [item for item in present if item not in files]
    if not files:
        line = problem(str(path), "storage files (.mcap or .db3)", "none", "check the folder")
        raise ContractError([line, *problems])
    return BagFiles(path, tuple(files), metadata, tuple(problems))


def _read_metadata(path: Path) -> tuple[dict[str, Any], list[str]]:
    if not path.is_file():
        return {}, [f"{METADATA}: not there; the recording may have ended early"]
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        information = document["rosbag2_bagfile_information"]
        if isinstance(information, dict):
            return information, []
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        return {}, [f"{METADATA}: not readable ({' '.join(str(error).split())[:120]})"]
    return {}, [f"{METADATA}: no information on the bag"]


def _stem(path: Path) -> str:
    return path.name.removesuffix(COMPRESSED).rsplit(".", 1)[0]


def _natural(path: Path) -> list[Any]:
    """Sort key under which _2 comes before _10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def stated_types(metadata: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Topic -> type and type hash (empty: none) by ``rosbag2_bagfile_information``."""
    found = {}
    entries = metadata.get("topics_with_message_count")
    for entry in entries if isinstance(entries, list) else ():
        topic = entry.get("topic_metadata") if isinstance(entry, dict) else None
        if isinstance(topic, dict) and topic.get("name"):
            kind, digest = topic.get("type"), topic.get("type_description_hash")
            found[str(topic["name"])] = full_type(str(kind or "")), str(digest or "")
    return found
