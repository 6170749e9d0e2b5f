# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the weights: what is evaluated and shipped."""

from __future__ import annotations

import copy

import torch
from torch import nn

from adamoe_ros.training.processes import local


class WeightAverage:
    """Keeps a second copy of a module whose parameters follow the first ones slowly.

    Attributes:
        module: the averaged copy, in eval mode, without gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * parameters; buffers are copied."""
        mine = [local(parameter) for parameter in self.module.parameters()]
        theirs = [local(parameter) for parameter in module.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(other)
