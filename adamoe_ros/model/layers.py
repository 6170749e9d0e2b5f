# SPDX-License-Identifier: Apache-2.0
"""torch's layers without their random first weights, and the first weights of a policy trained from scratch.

A checkpoint or ``initialise`` fills them. Besides the time, this keeps the shapes of a network on the
meta device from importing torch's compiler (2 s).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """``nn.Linear``, uninitialised."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, uninitialised."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Embedding(nn.Embedding):
    """``nn.Embedding``, uninitialised."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


ROUTER_STD = 0.006
_TABLES = (
    "embed.weight",
    "vision.pos_embed",
    "vision.stem.view_embed",
    "reader.places",
    "reader.queries",
)


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter in place, in name order, from one CPU generator.

    Matrices and convolutions: normal, variance 1 / fan-in. Router and scale adapter: 0.006, drawn
    independently (the authors' code draws both from one key). Biases and RMS weights: 0; layer
    norms: 1. Modulations (adaRMS): 0, so that every block of pi0.5's expert starts as the identity.
    """
    norms = {id(m.weight) for m in model.modules() if isinstance(m, nn.LayerNorm)}
    for name, parameter in sorted(model.named_parameters()):
        if id(parameter) in norms:
            parameter.fill_(1.0)
        elif name.endswith((".router.weight", ".scale_adapter.weight")):
            _normal(parameter, ROUTER_STD, generator)
        elif parameter.dim() == 1 or name.endswith(".modulation.weight"):
            parameter.zero_()
        elif name in _TABLES:
            _normal(parameter, 1 / math.sqrt(parameter.shape[1]), generator)
        elif ".experts." in name:
            _normal(parameter, 1 / math.sqrt(parameter.shape[2]), generator)
        elif name == "vision.stem.keypoint_maps":
            _normal(parameter, 4 / math.sqrt(parameter.shape[2]), generator)
        else:
            gain = 2.0 if parameter.dim() == 4 and "stem" in name else 1.0  # before a ReLU
            _normal(parameter, math.sqrt(gain / parameter[0].numel()), generator)


def _normal(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    values = torch.randn(parameter.shape, generator=generator).mul_(std)
    parameter.copy_(values)
