# SPDX-License-Identifier: Apache-2.0
"""Named tensors in one buffer, on the host and on the device, so that one copy moves them all.

Host memory is pinned: the copy then needs no staging and returns at once. On a CPU both sides are
the same memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_ALIGNMENT = 256  # bytes; every view starts where any kernel may load it
Field = tuple[torch.dtype, tuple[int, ...]]


class Arena:
    """Two mirrored buffers.

    Args:
        fields: name -> (dtype, shape), laid out in this order.
        tail: bytes at the end for data of varying layout.

    Attributes:
        host, device: name -> view.
        host_tail, device_tail: (tail,) uint8.
    """

    def __init__(self, fields: Mapping[str, Field], tail: int, device: torch.device) -> None:
        starts, place = {}, 0
        for name, (dtype, shape) in fields.items():
            starts[name] = place
            size = torch.Size(shape).numel() * torch.empty(0, dtype=dtype).element_size()
            place += -(-size // _ALIGNMENT) * _ALIGNMENT
        self._fixed = place
        cuda = device.type == "cuda"
        self._host = torch.zeros(place + tail, dtype=torch.uint8, pin_memory=cuda)
        self._device = torch.zeros(place + tail, dtype=torch.uint8, device=device)
        if not cuda:
            self._device = self._host
        self.host = {n: _view(self._host, starts[n], *fields[n]) for n in fields}
        self.device = {n: _view(self._device, starts[n], *fields[n]) for n in fields}
        self.host_tail, self.device_tail = self._host[place:], self._device[place:]

    @property
    def bytes(self) -> int:
        """Of one side."""
        return self._host.numel()

    def upload(self, tail: int = 0) -> None:
        """Host to device, asynchronously on the current stream; ``tail`` bytes of the tail too."""
        if self._device is not self._host:
            size = self._fixed + tail
            self._device[:size].copy_(self._host[:size], non_blocking=True)

    def download(self) -> None:
        """Device to host, asynchronously on the current stream."""
        if self._device is not self._host:
            self._host.copy_(self._device, non_blocking=True)


def _view(buffer: Tensor, start: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    size = torch.Size(shape).numel() * torch.empty(0, dtype=dtype).element_size()
    return buffer[start : start + size].view(dtype).view(shape)
