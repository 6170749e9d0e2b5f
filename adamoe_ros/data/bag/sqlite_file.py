# SPDX-License-Identifier: Apache-2.0
"""One rosbag2 SQLite file, passing over pages that cannot be read.

Rows are read in the order in which they were written. A ``-wal`` beside the file holds messages that
a killed recorder did not fold in yet; then a copy is opened, so that the bag stays as it was found.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag.bag_entry import (
    LATEST_NS,
    FileOrder,
    Placed,
    RawMessage,
    TopicEntry,
    Waiting,
    add_topic,
    full_type,
)

MAGIC = b"SQLite format 3\0"
_LONGEST_SKIP = 1 << 20  # rows
_SORTED_NS = 1_000_000_000  # rows that are out of order by less are sorted here, others by SQLite
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


def extent(path: Path) -> tuple[set[str], int, int]:
    """Topics, and log times (ns) of the first and last message.

    Raises:
        sqlite3.Error, TypeError: not a rosbag2 database, or an empty one.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1&mode=ro", uri=True)
    try:
        topics = {str(name) for (name,) in connection.execute("SELECT name FROM topics")}
        query = "SELECT min(timestamp), max(timestamp) FROM messages"
        begin, end = connection.execute(query).fetchone()
        return topics, int(begin), int(end)
    finally:
        connection.close()


class SqliteFile:
    """One file.

    Args:
        path: the file.

    Attributes:
        topics: by name, with the messages that can be read.
        problems: one line per kind of damage.
        distro: that wrote it, by its own account or by its age, where its messages have no
            definitions and several types have changed since; empty: not needed, or not known.
        start_ns: key of the first message; None: it has none.

    Raises:
        ContractError: not a rosbag2 database, or its list of topics cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.topics: dict[str, TopicEntry] = {}
        self._names: dict[int, str] = {}
        self.distro = self._read_topics()
        self._order = FileOrder()
        counts: Counter[str] = Counter()
        self.start_ns: int | None = None
        for number, topic, time_ns in self._rows("topic_id, timestamp"):
            if topic in self._names and isinstance(time_ns, int) and 0 <= time_ns < LATEST_NS:
                counts[self._names[topic]] += 1
                self._order.add(topic, time_ns, number)
                key = time_ns + self._order.shift(number)
                self.start_ns = key if self.start_ns is None else min(self.start_ns, key)
            else:
                self._note("rows without a topic or a time are left out")
        if self._order.steps_line:
            self._note(self._order.steps_line)
        self.topics = {
            name: replace(entry, count=counts[name]) for name, entry in self.topics.items()
        }

    def _note(self, line: str) -> None:
        line = f"{self.path.name}: {line}"
        if line not in self.problems:
            self.problems.append(line)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?immutable=1&mode=ro", uri=True
        )
        connection.execute("PRAGMA writable_schema=ON")  # else a shortened file is refused whole
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        return connection

    def _read_topics(self) -> str:
        """Fill in the topics; gives the distribution."""
        connection = self._connect()
        try:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(topics)")}
            hashes = "type_description_hash" if "type_description_hash" in columns else "''"
            rows = connection.execute(
                f"SELECT id, name, type, serialization_format, {hashes} FROM topics ORDER BY id"
            ).fetchall()
            definitions = self._definitions(connection)
            distro = self._recorded_by(connection)
        except sqlite3.Error as error:
            line = problem(str(self.path), "a rosbag2 database", str(error), "check the file")
            raise ContractError(line) from error
        finally:
            connection.close()
        for number, name, kind, encoding, digest in rows:
            text, idl = definitions.get(str(kind), ("", False))
            entry = TopicEntry(str(name), full_type(str(kind)), 0, text, idl, str(digest or ""))
            self._names[number] = add_topic(
                self.topics, replace(entry, encoding=str(encoding or "cdr"))
            )
        return distro

    @staticmethod
    def _definitions(connection: sqlite3.Connection) -> dict[str, tuple[str, bool]]:
        try:
            rows = connection.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ).fetchall()
        except sqlite3.Error:
            return {}  # before Iron there were none
        return {
            str(kind): (str(text or ""), encoding == "ros2idl") for kind, encoding, text in rows
        }

    @staticmethod
    def _recorded_by(connection: sqlite3.Connection) -> str:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "message_definitions" in tables:
            return ""
        try:
            row = connection.execute("SELECT ros_distro FROM schema").fetchone()
        except sqlite3.Error:
            row = None
        return str(row[0]) if row and row[0] else _BEFORE_DEFINITIONS

    def messages(self, topics: set[str]) -> Iterator[Placed]:
        """Messages of some topics in their order."""
        wanted = {number: name for number, name in self._names.items() if name in topics}
        if self._order.disorder_ns > _SORTED_NS:
            for first, last in self._order.stretches:
                below = "" if last is None else f"AND id < {last}"
                where = f"id >= {first} {below} AND topic_id IN ({','.join(map(str, wanted))})"
                yield from self._placed(self._sorted_rows(where), wanted)
            return
        waiting = Waiting()
        for item in self._placed(self._rows("topic_id, timestamp, data", wanted), wanted):
            yield from waiting.through([item], item[0] - _SORTED_NS)
        yield from waiting.through([], None)

    def _placed(self, rows: Iterator[Any], wanted: dict[int, str]) -> Iterator[Placed]:
        for number, topic, time_ns, data in rows:
            name = wanted.get(topic)
            if name is None or not isinstance(time_ns, int) or not 0 <= time_ns < LATEST_NS:
                continue
            if isinstance(data, str):
                data = data.encode()
            content = data if isinstance(data, bytes) else b""
            key = time_ns + self._order.shift(number)
            yield key, number, RawMessage(time_ns, name, content)

    def _sorted_rows(self, where: str) -> Iterator[Any]:
        connection = self._connect()
        try:
            yield from connection.execute(
                f"SELECT id, topic_id, timestamp, data FROM messages WHERE {where} "
                "ORDER BY timestamp, id"
            )
        except sqlite3.Error as error:
            self._note(f"{error}: messages are missing from the file")
        finally:
            connection.close()

    def _rows(self, columns: str, topics: dict[int, str] | None = None) -> Iterator[Any]:
        """Rows in the order in which they were written; what cannot be read is passed over."""
        last, skip = -1, 0
        chosen = "" if topics is None else f"AND topic_id IN ({','.join(map(str, topics))})"
        while skip <= _LONGEST_SKIP:
            connection = self._connect()
            try:
                for row in connection.execute(
                    f"SELECT id, {columns} FROM messages WHERE id > ? {chosen} ORDER BY id",
                    (last + skip,),
                ):
                    # a damaged tree may lead back
                    if not isinstance(row[0], int) or row[0] <= last:
                        raise sqlite3.DatabaseError("database disk image is malformed")
                    last, skip = row[0], 0
                    yield row
                return
            except sqlite3.Error as error:
                self._note(f"{error}: messages are missing from the file")
                skip = max(2 * skip, 1)
            finally:
                connection.close()
