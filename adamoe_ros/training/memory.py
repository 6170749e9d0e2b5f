# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing: a layer keeps its input only and is computed again for the gradients."""

from __future__ import annotations

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.siglip import VisionBlock


def checkpoint_layers(network: nn.Module) -> None:
    """Wrap every transformer layer's ``forward`` in place; names of parameters stay."""
    for module in network.modules():
        if isinstance(module, (GemmaLayer, VisionBlock)):
            again = functools.partial(checkpoint, module.forward, use_reentrant=False)
            module.forward = again  # type: ignore[method-assign]
