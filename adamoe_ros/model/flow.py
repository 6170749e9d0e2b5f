# SPDX-License-Identifier: Apache-2.0
"""Flow matching: time embedding, training pair, Euler integration.

Time runs from t = 1 (noise) to t = 0 (data), as in openpi and opposite to the pi0 paper.
Shapes: B batch, H rows, A action width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adamoe_ros.model.conditioning import FREE, SamplingOptions, VelocityFn

_MIN_PERIOD, _MAX_PERIOD = 4e-3, 4.0


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


def euler_times(steps: int, device: torch.device | None = None) -> Tensor:
    """(steps,) float32 flow times at which the velocity is evaluated: 1 + i dt.

    Raises:
        ValueError: steps < 1.
    """
    if steps < 1:
        raise ValueError(f"flow steps must be at least 1, got {steps}")
    return torch.tensor([1.0 - i / steps for i in range(steps)], device=device)


def integrate_flow(
    velocity: VelocityFn, noise: Tensor, times: Tensor, options: SamplingOptions = FREE
) -> Tensor:
    """Integrate the velocity field from noise to actions by Euler steps of equal length.

    The velocity is evaluated once per step, in the order of ``times``.

    Args:
        noise: (B, H, A), unit normal.
        times: (N,) of ``euler_times``.
        options: frozen rows and guidance; ``steps`` and ``trace`` are the caller's business.

    Returns: (B, H, A) float32, normalised actions.
    Source:  openpi; t = 1 + i dt as in LeRobot 0.6 and transformers.
    """
    frozen, guidance = options.frozen, options.guidance
    x, dt = noise.float(), -1.0 / len(times)
    for time in times:
        t = time.expand(x.shape[:2])
        if frozen is not None:
            x, t = frozen.put_into(x), t.masked_fill(frozen.mask, 0.0)
        v = velocity(x, t) if guidance is None else guidance(velocity, x, t)
        x = x + dt * v
    return x if frozen is None else frozen.put_into(x)
