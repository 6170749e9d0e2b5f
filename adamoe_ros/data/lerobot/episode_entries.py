# SPDX-License-Identifier: Apache-2.0
"""The episodes that a dataset lists: their lengths, files and places there, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.data.lerobot import dataset_metadata as metadata
from adamoe_ros.data.lerobot import dataset_schema
from adamoe_ros.data.lerobot.dataset_metadata import Feature, Record

AGAIN = "make the dataset again, or leave the episode out of it"


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode as the dataset lists it.

    Attributes:
        tasks: the sentences that its line names.
        data: its parquet file.
        index_from: place of its first row in the whole dataset; None: the list does not say.
        videos: feature -> (file, s at which the episode begins there).
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    index_from: int | None
    videos: Mapping[str, tuple[Path, float]]


class EpisodeLists:
    """Makes entries of a dataset's records.

    Args:
        folder: of the dataset. info: content of info.json.
        version: 3.0: several episodes may share a file; 2.1: each has its own.
        fps: rows per second.
    """

    def __init__(
        self, folder: Path, info: Mapping[str, Any], version: dataset_schema.Version, fps: float
    ) -> None:
        self._folder, self._info, self._version, self._fps = folder, info, version, fps
        self._shared = version == "v3.0"

    def data_file(self, record: Record) -> Path:
        """Data file of an episode.

        Raises:
            ContractError: the record or info.json does not name it.
        """
        return self._folder / self._path("data_path", record, "data")

    def entries(self, records: list[Record], features: Mapping[str, Feature]) -> list[EpisodeEntry]:
        """Every episode.

        Raises:
            ContractError: a record that lacks something or contradicts itself, files that are
                missing, or episodes that share the same frames; every problem of the last two.
        """
        found = [self._entry(record, features) for record in records]
        self._check_files(found)
        return self._placed(found)

    def _entry(self, record: Record, features: Mapping[str, Feature]) -> EpisodeEntry:
        number, length = (metadata.whole(record, name) for name in ("episode_index", "length"))
        assert number is not None
        begin = end = None
        if self._shared:
            begin = metadata.whole(record, "dataset_from_index")
            end = metadata.whole(record, "dataset_to_index")
        if begin is not None and end is not None:
            if length not in (None, end - begin):
                got = f"{length}, and rows {begin} to {end} of the dataset"
                raise ContractError(problem(f"{record[0]}: length", str(end - begin), got, AGAIN))
            length = end - begin
        if length is None or length < 0:
            where = f"{record[0]}: episode {number}: length"
            raise ContractError(problem(where, "a number of rows", length or "none", AGAIN))
        videos = self._videos(record, length, features) if length else {}
        tasks = metadata.sentences_of(record)
        return EpisodeEntry(number, length, tasks, self.data_file(record), begin, videos)

    def _videos(
        self, record: Record, length: int, features: Mapping[str, Feature]
    ) -> dict[str, tuple[Path, float]]:
        """Feature -> file and begin there; NaN: not said."""
        found = {}
        for key, feature in features.items():
            if feature.dtype != "video":
                continue
            path = self._folder / self._path("video_path", record, f"videos/{key}", key)
            if not self._shared:
                found[key] = path, 0.0
                continue
            begin = metadata.seconds(record, f"videos/{key}/from_timestamp")
            end = metadata.seconds(record, f"videos/{key}/to_timestamp")
            if begin is not None and end is not None:
                lasts = length / self._fps
                if abs(end - begin - lasts) > 1.5 / self._fps:
                    where = f"{record[0]}: videos/{key}: from_timestamp to to_timestamp"
                    expected = f"{lasts:.3f} s, {length} rows at {self._fps:g} Hz"
                    raise ContractError(problem(where, expected, f"{end - begin:.3f} s", AGAIN))
            found[key] = path, np.nan if begin is None else begin
        return found

    def _path(self, template: str, record: Record, before: str, key: str = "") -> str:
        number = metadata.whole(record, "episode_index") or 0
        default = dataset_schema.DATA if template == "data_path" else dataset_schema.VIDEO
        size = self._info.get("chunks_size")
        chunk = size if isinstance(size, int) and size > 0 else dataset_schema.CHUNK
        known: dict[str, Any] = {"episode_index": number, "video_key": key}
        known["episode_chunk"] = number // chunk
        for name in ("chunk_index", "file_index") if self._shared else ():
            value = metadata.whole(record, f"{before}/{name}")
            known |= {} if value is None else {name: value}
        said = self._info.get(template)
        try:
            return str(said or default[self._version]).format(**known)
        except KeyError as error:
            where, do = f"{record[0]}: {before}/{error.args[0]}", "make the dataset again"
            raise ContractError(problem(where, "a number", "none", do)) from error
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            where, expected = f"{dataset_schema.INFO}: {template}", default[self._version]
            raise ContractError(problem(where, expected, repr(said), "correct it")) from error

    def _check_files(self, entries: list[EpisodeEntry]) -> None:
        problems = Problems()
        for entry in entries:
            files = [entry.data, *(path for path, _ in entry.videos.values())]
            for path in files if entry.length else ():
                if not path.is_file():
                    where = f"{self._folder.name}: episode {entry.index}"
                    name = str(path.relative_to(self._folder))
                    problems.add(where, name, "no such file", "make the dataset again")
        problems.raise_if_any()

    def _placed(self, entries: list[EpisodeEntry]) -> list[EpisodeEntry]:
        """With a begin in every video: 0 where the episode is alone there."""
        problems, sharing = Problems(), by_video(entries)
        for (path, key), others in sharing.items():
            begins = {entry.index: entry.videos[key][1] for entry in others}
            if len(others) == 1:
                continue
            for number, begin in begins.items():
                if np.isnan(begin):
                    where = f"{self._folder.name}: episode {number}: videos/{key}/from_timestamp"
                    problems.add(where, "a time", f"none, and {path.name} is shared", AGAIN)
            ordered = sorted(others, key=lambda entry: (begins[entry.index], entry.index))
            for before, entry in pairwise(ordered):
                end = begins[before.index] + before.length / self._fps
                if begins[entry.index] < end - 0.5 / self._fps:
                    where = f"{self._folder.name}: episode {entry.index}: {key}: from_timestamp"
                    expected = f"at least {end:.3f} s, where episode {before.index} ends"
                    problems.add(where, expected, f"{begins[entry.index]:.3f} s", AGAIN)
        problems.raise_if_any()
        return [_begun(entry) for entry in entries]


def _begun(entry: EpisodeEntry) -> EpisodeEntry:
    begun = {
        key: (path, 0.0 if np.isnan(begin) else begin)
        for key, (path, begin) in entry.videos.items()
    }
    return replace(entry, videos=begun)


def by_video(entries: list[EpisodeEntry]) -> dict[tuple[Path, str], list[EpisodeEntry]]:
    """(File, feature) -> the episodes that have frames there."""
    found: dict[tuple[Path, str], list[EpisodeEntry]] = {}
    for entry in entries:
        for key, (path, _) in entry.videos.items():
            found.setdefault((path, key), []).append(entry)
    return found
