# SPDX-License-Identifier: Apache-2.0
"""Records one episode to a bag in a thread of its own; knows nothing of ROS.

Messages wait in a queue that is bounded in bytes: when the disk is slower than the topics for long,
messages are dropped and counted. A disk that is nearly full ends the episode in order.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.bag.writer import BagWriter, type_store
from adamoe_ros.data.episode_info import EpisodeInfo

_LOOK_S = 0.5  # between looks at the disk


class _Item(NamedTuple):
    topic: str
    kind: str
    time_ns: int
    data: bytes


def free_bytes(folder: Path) -> int:
    """Bytes left on the disk of a folder, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def utc_now() -> str:
    """ISO 8601 with seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class EpisodeRecorder:
    """One episode that is being recorded.

    Args:
        folder: of the bag; it may not exist.
        info: what is known at the begin.
        topics: topic -> type of everything that is listened to; those without a message count 0.
        min_free: bytes that stay free on the disk.
        queue_bytes: that may wait for the disk.
        compress: zstd in the file.
        free: bytes left on the disk of a folder.

    Attributes:
        ended_by: empty while it records; then ``disk_full``, ``write_failed`` or what ``stop`` said.
        error: what the disk said.

    Raises:
        ContractError: the folder cannot be made, or the disk is nearly full already.
    """

    def __init__(
        self,
        folder: Path,
        info: EpisodeInfo,
        topics: dict[str, str],
        min_free: int,
        queue_bytes: int = 256 << 20,
        compress: bool = False,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        if free(folder) < min_free:
            left = free(folder) / 2**30
            raise ContractError(
                f"{folder}: expected {min_free / 2**30:.1f} GiB free, got {left:.1f}; "
                "delete recordings or lower min_free"
            )
        self.folder, self.info = folder, replace(info, started=utc_now())
        self.ended_by = self.error = ""
        self.dropped = 0
        self._min_free, self._limit, self._free = min_free, queue_bytes, free
        self._begun = time.monotonic()
        self._elapsed: float | None = None
        self._unknown: set[str] = set()
        self._topics = dict(topics)
        self._writer = BagWriter(folder, compress=compress)
        for topic, kind in topics.items():
            self._declare(topic, kind)
        self.info.write(folder)
        self._queue: deque[_Item] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._stop = ""
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether messages are still taken."""
        return not self.ended_by and not self._stop

    @property
    def finished(self) -> bool:
        """Whether everything is written and the files are closed."""
        return not self._thread.is_alive()

    @property
    def elapsed(self) -> float:
        """s since the begin, or until the end."""
        return time.monotonic() - self._begun if self._elapsed is None else self._elapsed

    @property
    def counts(self) -> dict[str, int]:
        """Messages per topic that are written."""
        return {topic: self._writer.counts.get(topic, 0) for topic in self._topics}

    @property
    def written(self) -> int:
        """Bytes of messages so far."""
        return self._writer.bytes

    def put(self, topic: str, kind: str, time_ns: int, data: bytes) -> bool:
        """Take a message; False when it is dropped or the episode has ended."""
        with self._changed:
            if self._stop or self.ended_by:
                return False
            if self._waiting + len(data) > self._limit:
                self.dropped += 1
                return False
            self._queue.append(_Item(topic, kind, time_ns, data))
            self._waiting += len(data)
            self._changed.notify()
        return True

    def stop(
        self, why: str = "stopped", success: bool | None = None, notes: str = ""
    ) -> EpisodeInfo:
        """End the episode, wait until everything is written, say what it holds. May be repeated."""
        with self._changed:
            self._stop = self._stop or why
            self._changed.notify()
        self._thread.join()
        if success is not None or notes:
            self.label(success, notes)
        return self.info

    def label(self, success: bool | None, notes: str = "") -> None:
        """Judge it, now or after its end."""
        judged = self.info.success if success is None else success
        self.info = replace(self.info, success=judged, notes=notes or self.info.notes)
        self.info.write(self.folder)

    def instruct(self, instruction: str) -> None:
        """Note the sentence that was heard first."""
        self.info = replace(self.info, heard=instruction)
        self.info.write(self.folder)

    def set_parameters(self, node: str, values: dict[str, object]) -> None:
        """Note the parameters of a node."""
        parameters = {**self.info.parameters, node: values}
        self.info = replace(self.info, parameters=parameters)
        self.info.write(self.folder)

    def discard(self) -> None:
        """End it and delete it."""
        self.stop("discarded")
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        looked = 0.0
        try:
            while True:
                with self._changed:
                    if not self._queue and not self._stop:
                        self._changed.wait(_LOOK_S)
                    batch = list(self._queue)
                    self._queue.clear()
                    self._waiting = 0
                    stopping = self._stop
                for item in batch:
                    self._write(item)
                if stopping and not batch:
                    self._end(stopping)
                    return
                if time.monotonic() - looked > _LOOK_S:
                    looked = time.monotonic()
                    if self._free(self.folder) < self._min_free:
                        self._end("disk_full")
                        return
        except OSError as error:
            self.error = str(error)
            self._end("write_failed")

    def _write(self, item: _Item) -> None:
        if item.topic not in self._topics:
            self._topics[item.topic] = item.kind
            self._declare(item.topic, item.kind)
        if item.topic not in self._unknown:
            self._writer.write(item.topic, item.time_ns, item.data)

    def _declare(self, topic: str, kind: str) -> None:
        try:
            self._writer.add_topic(topic, kind, type_store(kind))
        except ContractError:
            self._unknown.add(topic)

    def _end(self, why: str) -> None:
        with self._changed:
            self.ended_by = why
            self._queue.clear()
        self._elapsed = self.elapsed
        unknown = "".join(f" no definition of {self._topics[t]} ({t});" for t in self._unknown)
        self.info = replace(
            self.info,
            ended=utc_now(),
            end=why,
            counts=self.counts,
            dropped=self.dropped,
            notes=(self.info.notes + unknown).strip(),
        )
        try:
            self._writer.note({"adamoe_episode": self.info.text()})
            self._writer.close()
            self.info.write(self.folder)
        except OSError as error:  # the chunks that were flushed stay readable
            self.error = str(error)


def summary(info: EpisodeInfo, elapsed: float) -> list[str]:
    """Lines for a person at the end; topics without a message come first."""
    silent = [topic for topic, count in info.counts.items() if not count]
    total = sum(info.counts.values())
    lines = [f"{elapsed:.1f} s, {total} messages on {len(info.counts) - len(silent)} topics"]
    lines += [f"NO MESSAGE on {topic}" for topic in silent]
    if info.dropped:
        lines.append(f"{info.dropped} messages DROPPED: the disk was too slow")
    if info.end not in ("stopped", "max_duration", ""):
        lines.append(f"ended by: {info.end}")
    lines += [f"{count:>8}  {topic}" for topic, count in info.counts.items() if count]
    return lines


def next_folder(root: Path) -> Path:
    """A new folder ``episode_NNNN`` that no earlier episode has."""
    taken = [path.name for path in root.glob("episode_*")]
    numbers = [int(name[8:]) for name in taken if name[8:].isdigit()]
    return root / f"episode_{max(numbers, default=-1) + 1:04d}"
