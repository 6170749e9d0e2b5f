# SPDX-License-Identifier: Apache-2.0
"""Reads damaged rosbag2 SQLite files row by row, passing over pages that cannot be read.

Whole files go through rosbags. A ``-wal`` beside the file holds messages that a killed recorder did
not fold in yet; then a copy is opened, so that the bag itself stays as it was found.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag.entry import RawMessage, TopicEntry, full_type, in_order

_LONGEST_SKIP = 1 << 20  # rows
_BEFORE_DEFINITIONS = "humble"  # the last one whose databases have no message definitions


def has_wal(path: Path) -> bool:
    """Whether a write-ahead log with content lies beside a database."""
    wal = path.with_name(path.name + "-wal")
    return wal.is_file() and wal.stat().st_size > 0


def folded(path: Path, folder: Path) -> Path:
    """A copy of a database with its write-ahead log folded in."""
    copy = folder / path.name
    shutil.copyfile(path, copy)
    shutil.copyfile(path.with_name(path.name + "-wal"), copy.with_name(copy.name + "-wal"))
    connection = sqlite3.connect(copy)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.DatabaseError:
        pass  # a torn log: what stands in the database itself is still read
    finally:
        connection.close()
    return copy


def recorded_by(path: Path) -> str:
    """Distribution that wrote a database, by its own account or by its age; empty: not known.

    Only databases up to Humble need it: their messages have no definitions, and several types have
    changed since.
    """
    connection = sqlite3.connect(f"file:{path}?immutable=1&mode=ro", uri=True)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "message_definitions" in tables:
            return ""
        row = None
        if "schema" in tables:
            row = connection.execute("SELECT ros_distro FROM schema").fetchone()
        return str(row[0]) if row and row[0] else _BEFORE_DEFINITIONS
    except sqlite3.DatabaseError:
        return ""  # a damaged file; what can be read of it is read elsewhere
    finally:
        connection.close()


class SqliteScan:
    """One file, read by row number.

    Args:
        path: the file.

    Attributes:
        topics: by name, with the messages that could be read.
        problems: one line per kind of damage.

    Raises:
        ContractError: not a rosbag2 database, or its list of topics cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.distro = recorded_by(path)
        self.problems: list[str] = []
        self._names: dict[int, str] = {}
        self.topics = self._read_topics()
        counts: dict[str, int] = {}
        for message in self._rows(set(self.topics), self.problems):
            counts[message.topic] = counts.get(message.topic, 0) + 1
        self.topics = {
            name: TopicEntry(name, entry.type, counts.get(name, 0), entry.definition, entry.idl)
            for name, entry in self.topics.items()
        }

    def messages(self, topics: set[str]) -> Iterator[RawMessage]:
        """Messages of some topics in order of time."""
        return in_order(self._rows(topics, []))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{self.path}?immutable=1&mode=ro", uri=True)
        connection.execute("PRAGMA writable_schema=ON")  # else a shortened file is refused whole
        return connection

    def _read_topics(self) -> dict[str, TopicEntry]:
        connection = self._connect()
        try:
            rows = connection.execute("SELECT id, name, type FROM topics").fetchall()
            definitions = self._definitions(connection)
        except sqlite3.DatabaseError as error:
            raise ContractError(
                problem(str(self.path), "a rosbag2 database", str(error), "check the file")
            ) from error
        finally:
            connection.close()
        self._names = {number: name for number, name, _ in rows}
        return {
            name: TopicEntry(name, full_type(kind), 0, *definitions.get(kind, ("", False)))
            for _, name, kind in rows
        }

    @staticmethod
    def _definitions(connection: sqlite3.Connection) -> dict[str, tuple[str, bool]]:
        try:
            rows = connection.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ).fetchall()
        except sqlite3.DatabaseError:
            return {}  # before Iron there were none
        return {kind: (text, encoding == "ros2idl") for kind, encoding, text in rows}

    def _rows(self, topics: set[str], problems: list[str]) -> Iterator[RawMessage]:
        last, skip = -1, 0
        while skip <= _LONGEST_SKIP:
            connection = self._connect()
            try:
                cursor = connection.execute(
                    "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id",
                    (last + skip,),
                )
                for number, topic, time_ns, data in cursor:
                    last, skip = number, 0
                    name = self._names.get(topic)
                    if name in topics:
                        yield RawMessage(time_ns, name, bytes(data))
                return
            except sqlite3.DatabaseError as error:
                line = f"{self.path.name}: {error}: messages are missing from the file"
                if line not in problems:
                    problems.append(line)
                skip = max(2 * skip, 1)
            finally:
                connection.close()
