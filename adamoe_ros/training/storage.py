# SPDX-License-Identifier: Apache-2.0
"""Files of a run that survive a kill at any point: written beside, flushed, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from adamoe_ros.contract.errors import ContractError, problem


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary neighbour, flush it to disk, and rename it to ``path``.

    Raises:
        ContractError: the disk is full or not writable; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise no_room(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def no_room(path: Path, error: Exception) -> ContractError:
    """What is said when a file cannot be written."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    do = "free the disk; then continue the run with --resume"
    return ContractError(problem(str(path), "room to save it", line, do))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Store a run's tensors and counters."""
    write_atomic(path, lambda stream: torch.save(state, stream))


def load_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote.

    Raises:
        ContractError: missing or not readable.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ContractError(
            problem(str(path), "the state of a run", "no file", "start without --resume")
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        line = str(error).splitlines()[0]
        raise ContractError(
            problem(str(path), "the state of a run", line, "delete it and start anew")
        ) from error
    return dict(state)


class JsonLines:
    """A log of one JSON object a line; lines after a resumed step are dropped on opening.

    Args:
        path: file; made with its folder.
        keep_below: with a resumed run, its first step: later lines came from the killed run.
    """

    def __init__(self, path: Path, keep_below: int = 0) -> None:
        self._path = path
        kept = [row for row in read_lines(path) if row.get("step", -1) < keep_below]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomic(path, lambda stream: stream.write(text.encode()))
        self._stream = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append one object and flush.

        Raises:
            ContractError: the disk is full.
        """
        try:
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()
        except OSError as error:
            raise no_room(self._path, error) from error

    def close(self) -> None:
        """Close the file; what a full disk kept from being written is lost, and was reported."""
        with contextlib.suppress(OSError):
            self._stream.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON-lines file; a last line cut off by a kill is left out."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
