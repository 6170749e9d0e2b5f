# SPDX-License-Identifier: Apache-2.0
"""Writes bags that a crash leaves readable: MCAP whose chunks are closed and flushed regularly.

A chunk that is on disk is read by ``mcap_file`` (and by ``mcap recover``) without the index that a
regular end writes. Imports: rosbags, contract.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag.bag_entry import TopicEntry
from adamoe_ros.data.bag.types import distro_store, found_types

METADATA_VERSION: Literal[8] = 8  # read by rosbag2 of Humble and later; 9 is of newer ones


class BagWriter:
    """One new bag; a context manager.

    Args:
        folder: the bag's folder; it may not exist.
        compress: zstd inside of the file, as rosbag2's ``zstd_fast`` preset.
        flush_s: s after which a chunk is closed and given to the disk; what came later than that
            is lost when the process is killed.
        clock: s, monotonic.

    Raises:
        ContractError: the folder exists or cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        compress: bool = False,
        flush_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        if folder.exists():
            raise ContractError(problem(str(folder), "a new folder", "one that exists", "choose"))
        self.folder = folder
        self._flush_s, self._clock = flush_s, clock
        self._flushed = clock()
        self._writer = Writer(folder, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._writer.open()
        except OSError as error:
            raise ContractError(
                problem(str(folder), "a folder to write to", str(error), "choose another")
            ) from error
        self._topics: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.bytes = 0

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_topic(self, topic: str, kind: str, store: Any | None = None) -> None:
        """Declare a topic of a known type.

        Args:
            kind: ``package/msg/Name``.
            store: rosbags type store that knows it; None: see ``type_store``.
        """
        store = store or type_store(kind)
        self._add(topic, kind, typestore=store)

    def add_entry(self, entry: TopicEntry) -> None:
        """Declare a topic as another bag has it; its own definition goes along."""
        if entry.definition and entry.digest:
            self._add(entry.topic, entry.type, msgdef=entry.definition, rihs01=entry.digest)
            return
        from adamoe_ros.data.bag.types import TypeReader

        self._add(entry.topic, entry.type, typestore=TypeReader(entry).store)

    def _add(self, topic: str, kind: str, **how: Any) -> None:
        if topic not in self._topics:
            self._topics[topic] = self._writer.add_connection(topic, kind, **how)
            self.counts[topic] = 0

    def write(self, topic: str, time_ns: int, data: bytes | memoryview) -> None:
        """Append a message.

        Raises:
            OSError: the disk refuses it.
        """
        self._writer.write(self._topics[topic], time_ns, data)
        self.counts[topic] += 1
        self.bytes += len(data)
        if self._clock() - self._flushed >= self._flush_s:
            self.flush()

    def flush(self) -> None:
        """Close the current chunk and give it to the operating system."""
        self._flushed = self._clock()
        storage: Any = self._writer.storage
        if storage is not None and storage.chunk.bio.tell():
            storage.close_chunk()
            storage.bio.flush()

    def note(self, entries: Mapping[str, str]) -> None:
        """Entries for ``custom_data`` of metadata.yaml; a later one of the same key replaces."""
        for key, value in entries.items():
            self._writer.set_custom_data(key, value)

    def close(self) -> None:
        """Write index and metadata. May be called twice."""
        if self._writer.storage is not None:
            self._writer.close()


def type_store(kind: str) -> Any:
    """A rosbags type store that knows a type: ROS's own, or one whose ``.msg`` is installed.

    Raises:
        ContractError: nobody knows it.
    """
    from rosbags.typesys import Stores, get_typestore

    base = distro_store("")
    if kind in base.fielddefs:
        return base
    types = found_types(kind, base)
    if kind not in types:
        raise ContractError(
            problem(kind, "a message type with its .msg installed", "none", "source its overlay")
        )
    store = get_typestore(Stores.EMPTY)
    store.register({**base.fielddefs, **types})
    return store
