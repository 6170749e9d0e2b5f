# SPDX-License-Identifier: Apache-2.0
"""Pictures of a dataset in the model's size: decoded once, then read straight from disk.

A file of plain numbers an episode, mapped into memory: a step reads the frames that it shows and
decodes nothing, and a data set may be larger than the memory. The name tells what it was made of,
so that a changed dataset is decoded anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.data.lerobot.dataset_reader import Dataset, EpisodeEntry
from adamoe_ros.policy.resizing import resize_picture
from adamoe_ros.training.run_state import write_file

Pictures = NDArray[np.uint8]


def cached_pictures(
    dataset: Dataset,
    entry: EpisodeEntry,
    steps: NDArray[np.int64],
    cameras: Mapping[str, str],
    size: tuple[int, int],
    cache: Path | None,
) -> Pictures:
    """(F, C, H, W, 3) pictures of an episode's frames ``steps``, decoded if need be.

    Args:
        cameras: slot -> feature, in the model's order. size: (height, width).
        cache: folder of the files; None: nothing is stored.

    Raises:
        ContractError: pictures that cannot be decoded, or a full disk.
    """
    if cache is None:
        return np.stack(list(_frames(dataset, entry, steps, cameras, size)))
    mark = _mark(dataset, entry, cameras, size)
    path = cache / f"{dataset.folder.name}-{entry.index:06d}-{mark}.npy"
    if not path.is_file():
        shape = (len(steps), len(cameras), *size, 3)

        def write(stream: IO[bytes]) -> None:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for frame in _frames(dataset, entry, steps, cameras, size):
                stream.write(frame.data)

        write_file(path, write)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def _mark(
    dataset: Dataset, entry: EpisodeEntry, cameras: Mapping[str, str], size: tuple[int, int]
) -> str:
    """What decides a file's content, shortened."""
    files = [entry.data, *(path for path, _ in entry.videos.values())]
    made_of = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    starts = [start for _, start in entry.videos.values()]
    rows = dataset.rows(entry).first, entry.length, dataset.fps
    what: list[Any] = [made_of, starts, *rows, list(cameras.items()), size]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


def _frames(
    dataset: Dataset,
    entry: EpisodeEntry,
    steps: NDArray[np.int64],
    cameras: Mapping[str, str],
    size: tuple[int, int],
) -> Iterator[Pictures]:
    """(C, H, W, 3) of every wanted frame."""
    views = [dataset.pictures(entry, key, steps) for key in cameras.values()]
    for pictures in zip(*views, strict=True):
        yield model_pictures(pictures, size)


def model_pictures(pictures: Iterable[Pictures], size: tuple[int, int]) -> Pictures:
    """(C, H, W, 3) of one moment's pictures, resized as the policy sees them."""
    return np.stack([resize_picture(picture, size) for picture in pictures])
