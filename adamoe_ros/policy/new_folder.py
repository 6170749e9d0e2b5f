# SPDX-License-Identifier: Apache-2.0
"""A folder that appears only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adamoe_ros.contract.errors import ContractError, problem


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
        _replace(beside, folder)
    except OSError as error:
        where, line = str(folder), str(error)
        raise ContractError(problem(where, "room to write it", line, "free the disk")) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace(beside: Path, folder: Path) -> None:
    """Rename into place; an old folder is moved aside first and removed last."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(beside, folder)
    shutil.rmtree(old, ignore_errors=True)
