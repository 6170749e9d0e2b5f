# SPDX-License-Identifier: Apache-2.0
"""A safetensors file as a mapping: tensors are memory-mapped when asked for, never copied.

A second thread reads the file from front to back meanwhile, because page faults alone do not reach
the disk's speed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from io import RawIOBase
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem

_BLOCK = 1 << 23  # bytes


class TensorFile(Mapping[str, Tensor]):
    """Tensors by name, in the order of the file's data; use it in a ``with`` block.

    Tensors stay valid after the block: they hold the mapping themselves.

    Args:
        path: a ``.safetensors`` file.

    Raises:
        ContractError: missing, cut off, or another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(str(path), "pt")
        except (OSError, SafetensorError) as error:
            line = str(error).splitlines()[0]
            raise ContractError(
                problem(str(path), "a whole safetensors file", line, "copy it again")
            ) from error
        self._names = tuple(self._file.offset_keys())
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_ahead, name="read-ahead", daemon=True)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> TensorFile:
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._reader.join()

    def _read_ahead(self) -> None:
        """Bring the file into the page cache."""
        with self.path.open("rb", buffering=0) as stream, open(os.devnull, "wb") as nowhere:
            try:  # Linux moves the pages without copying them, which a second core can spare
                start = 0
                while not self._stop.is_set():
                    moved = os.sendfile(nowhere.fileno(), stream.fileno(), start, _BLOCK)
                    if not moved:
                        return
                    start += moved
            except (OSError, AttributeError):
                self._read_and_forget(stream)

    def _read_and_forget(self, stream: RawIOBase) -> None:
        buffer = bytearray(_BLOCK)
        while not self._stop.is_set() and stream.readinto(buffer):
            pass
