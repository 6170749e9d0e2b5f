# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are whole at any moment: written beside, flushed, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a neighbour, flush it to disk, and put it in the old file's place.

    Raises:
        OSError: the disk is full or not writable; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """``replace_file`` with UTF-8 text.

    Raises:
        OSError: the disk is full or not writable; the old file is untouched.
    """
    replace_file(path, lambda stream: stream.write(text.encode()))


@contextmanager
def new_folder(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A place beside ``folder`` to write into; renamed at the end, removed on any error.

    Args:
        overwrite: replace a folder of this name.

    Raises:
        ContractError: the folder exists, or the disk is full or not writable.
    """
    if folder.exists() and not overwrite:
        where = str(folder)
        raise ContractError(problem(where, "a new folder", "one that exists", "choose another"))
    beside = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        _replace_folder(beside, folder)
    except OSError as error:
        where, line = str(folder), str(error)
        raise ContractError(problem(where, "room to write it", line, "free the disk")) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace_folder(beside: Path, folder: Path) -> None:
    """Rename into place; an old folder is moved aside first and removed last."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(beside, folder)
    shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class PackedFolder:
    """The files of a folder in memory, to be made again on another machine.

    Attributes:
        files: path inside the folder -> (N,) uint8, which a store hands out without a copy.
    """

    files: Mapping[str, NDArray[np.uint8]]

    @staticmethod
    def of(folder: Path) -> PackedFolder:
        """Read it."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        read = {str(path.relative_to(folder)): np.fromfile(path, np.uint8) for path in paths}
        return PackedFolder(read)

    def unpack(self, below: Path) -> Path:
        """A folder below ``below`` that is named by its content; the first that asks makes it."""
        total = hashlib.sha256()
        for name, content in self.files.items():
            total.update(f"{name} {len(content)} ".encode())
            total.update(content.data)
        target = below / total.hexdigest()[:32]
        if target.is_dir():
            return target
        below.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=below))
        try:
            for name, content in self.files.items():
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                content.tofile(beside / name)
            os.rename(beside, target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return target
