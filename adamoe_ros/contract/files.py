# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are whole at any moment: written beside, flushed, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
