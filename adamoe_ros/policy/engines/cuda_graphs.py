# SPDX-License-Identifier: Apache-2.0
"""What a captured engine needs of CUDA: mirrored buffers, graphs of fixed shapes, event timing.

On a CPU each does the same without a device, so that the engine can be tested there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_WARM_UPS = 3


class Captured(Generic[T]):
    """Runs a function; on CUDA by replaying what its launches were at construction.

    The function reads and writes tensors that stay where they are, and what it returned at capture
    is what every replay fills anew. On a CPU it is simply called.

    Args:
        run: the function, without arguments and without synchronisation.
        pool: memory pool that graphs share which never run at the same time.
    """

    def __init__(self, run: Callable[[], T], device: torch.device, pool: Any = None) -> None:
        self._run = run
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type != "cuda":
            return
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # lazy set-up of libraries and kernels must not be captured
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream(device).wait_stream(side)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self._output = run()
        self._graph = graph

    def __call__(self) -> T:
        """One run on the current stream."""
        if self._graph is None:
            return self._run()
        self._graph.replay()
        return self._output


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


class StageTimer:
    """Marks between stages of one inference; read after the device is done.

    On CUDA a mark is an event on the current stream, made once and recorded again each time; on a
    CPU it is the clock. Switched off, a mark is one comparison.

    Args:
        stages: names in order; stage i lies between marks i and i + 1.
    """

    def __init__(self, stages: tuple[str, ...], device: torch.device, enabled: bool) -> None:
        self.stages, self.enabled = stages, enabled
        self._times = [0.0] * (len(stages) + 1)
        self._events: list[torch.cuda.Event] | None = None
        if enabled and device.type == "cuda":
            self._events = [torch.cuda.Event(enable_timing=True) for _ in self._times]

    def mark(self, number: int) -> None:
        """Stage ``number`` begins here (the last mark ends the last stage)."""
        if not self.enabled:
            return
        if self._events is not None:
            self._events[number].record()
        else:
            self._times[number] = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Stage -> s; empty when switched off. The device must have passed the last mark."""
        if not self.enabled:
            return {}
        if self._events is not None:
            pairs = zip(self._events, self._events[1:], strict=False)
            spans = [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
        else:
            pairs_s = zip(self._times, self._times[1:], strict=False)
            spans = [end - begin for begin, end in pairs_s]
        return dict(zip(self.stages, spans, strict=True))
