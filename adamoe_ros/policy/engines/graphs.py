# SPDX-License-Identifier: Apache-2.0
"""A function of fixed shapes as one captured CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

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
