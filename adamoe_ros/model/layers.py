# SPDX-License-Identifier: Apache-2.0
"""torch's layers without their random first weights, which a policy never keeps.

``initial.initialise`` or a checkpoint fills them. Besides the time, this keeps the layout of a
network on the meta device from importing torch's compiler (2 s).
"""

from __future__ import annotations

from torch import nn


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
