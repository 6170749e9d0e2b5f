# SPDX-License-Identifier: Apache-2.0
"""Flow matching: time embedding, training pair, Euler integration.

Time runs from t = 1 (noise) to t = 0 (data), as in openpi and opposite to the pi0 paper.
Shapes: B batch, H rows, A action width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_MIN_PERIOD, _MAX_PERIOD = 4e-3, 4.0

VelocityFn = Callable[[Tensor, Tensor], Tensor]
"""(x (B, H, A), t (B, H)) -> velocity (B, H, A), all float32."""

Guidance = Callable[[VelocityFn, Tensor, Tensor], Tensor]
"""(velocity function, x, t) -> the velocity to integrate; it may differentiate the function."""


@dataclass(frozen=True)
class KnownRows:
    """Rows of a chunk that are given, not predicted (training-time real-time chunking).

    Attributes:
        actions: (B, H, A) float32, normalised; read where ``mask`` is true.
        mask: (B, H) bool.
    """

    actions: Tensor
    mask: Tensor


def time_embedding(time: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of time at width / 2 periods from 0.004 to 4.

    In float32, with openpi's JAX order of operations: at the shortest period the angle reaches
    1571 rad, where one rounding moves the sine by 1e-4.

    Args:    time: (...,) flow time.
    Returns: (..., width) float32.
    """
    fraction = torch.linspace(0, 1, width // 2, dtype=torch.float32, device=time.device)
    period = _MIN_PERIOD * (_MAX_PERIOD / _MIN_PERIOD) ** fraction
    angle = time.float().unsqueeze(-1) * (1.0 / period * 2 * math.pi)
    return torch.cat([angle.sin(), angle.cos()], -1)


def noisy_actions(actions: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Training pair: x_t = t noise + (1 - t) actions, and the velocity noise - actions.

    Args: actions, noise: (B, H, A). time: (B, H).
    """
    t = time.unsqueeze(-1)
    return t * noise + (1 - t) * actions, noise - actions


def integrate_flow(
    velocity: VelocityFn,
    noise: Tensor,
    steps: int,
    known: KnownRows | None = None,
    guidance: Guidance | None = None,
) -> Tensor:
    """Integrate the velocity field from noise to actions by Euler steps.

    Args:
        noise: (B, H, A), unit normal.
        steps: Euler steps, at least 1.
        known: rows kept at given values, with flow time 0, at every step.
        guidance: replaces the plain evaluation of ``velocity``.

    Returns: (B, H, A) float32, normalised actions.
    Raises:  ValueError if steps < 1.
    Source:  openpi; t = 1 + i dt as in LeRobot 0.6 and transformers.
    """
    if steps < 1:
        raise ValueError(f"flow steps must be at least 1, got {steps}")
    x, dt = noise.float(), -1.0 / steps
    for i in range(steps):
        t = x.new_full(x.shape[:2], 1.0 + i * dt)
        if known is not None:
            x = torch.where(known.mask.unsqueeze(-1), known.actions.float(), x)
            t = t.masked_fill(known.mask, 0.0)
        v = velocity(x, t) if guidance is None else guidance(velocity, x, t)
        x = x + dt * v
    if known is not None:
        x = torch.where(known.mask.unsqueeze(-1), known.actions.float(), x)
    return x
