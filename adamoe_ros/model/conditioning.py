# SPDX-License-Identifier: Apache-2.0
"""What one sampling is given beside the observation: steps, frozen rows, guidance, tracing.

Real-time chunking lets a new chunk go on from the previous one in two ways. ``FrozenRows`` gives its
first rows as clean tokens, which a policy has to be trained for. ``ChunkGuidance`` pulls the flow
towards the previous chunk (arXiv 2506.07339, Algorithm 1). Time runs from t = 1 (noise) to t = 0
(data) here, so the paper's tau is 1 - t and its velocity is -v. With the denoised guess
X = x - t v(x, t), the error e = W (Y - X) and the weight w of ``guidance_weight``:

    v <- v - w e                 identity: as if v did not depend on x; one evaluation, no gradient
    v <- v - w e^T dX / dx       vjp: the paper's, back through the network

Shapes: B batch, H rows, A action width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Jacobian = Literal["identity", "vjp"]

VelocityFn = Callable[[Tensor, Tensor], Tensor]
"""(x (B, H, A), t (B, H)) -> velocity (B, H, A), all float32."""


@dataclass(frozen=True)
class FrozenRows:
    """Rows of a chunk that are given, not predicted; their flow time is 0.

    Attributes:
        actions: (B, H, A) float32, normalised; read where ``mask`` is true.
        mask: (B, H) bool.
    """

    actions: Tensor
    mask: Tensor

    def put_into(self, x: Tensor) -> Tensor:
        """x (B, H, A) with the given rows."""
        return torch.where(self.mask.unsqueeze(-1), self.actions, x)


@dataclass(frozen=True)
class ChunkGuidance:
    """Pull towards a previous chunk.

    Attributes:
        target: (B, H, A) normalised rows to agree with, Y.
        weights: (B, H, 1) how much each row has to, W; 0: not at all.
        max_weight: clip beta; above the number of flow steps Euler's method overshoots.
        jacobian: see the module.
    """

    target: Tensor
    weights: Tensor
    max_weight: float | Tensor
    jacobian: Jacobian = "identity"

    def __call__(self, velocity: VelocityFn, x: Tensor, t: Tensor) -> Tensor:
        """(velocity function, x (B, H, A), t (B, H)) -> guided velocity (B, H, A)."""
        time = t.unsqueeze(-1)
        if self.jacobian == "identity":
            v = velocity(x, t)
            pull = self.weights * (self.target - x + time * v)
        else:
            v, pull = self._through_network(velocity, x, time)
        return v - guidance_weight(time, self.max_weight) * pull

    def _through_network(
        self, velocity: VelocityFn, x: Tensor, time: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            v = velocity(x, time.squeeze(-1))
            guess = x - time * v
            error = self.weights * (self.target - guess.detach())
            (pull,) = torch.autograd.grad(guess, x, error)
        return v.detach(), pull


def guidance_weight(time: Tensor, max_weight: float | Tensor) -> Tensor:
    """min(beta, (tau^2 + (1 - tau)^2) / (tau (1 - tau))) with tau = 1 - time; beta at both ends.

    No number leaves the device, so that the steps can be captured in a graph.
    """
    tau = 1.0 - time
    return ((tau * tau + time * time) / (tau * time)).abs().clamp(max=max_weight)


@dataclass(frozen=True)
class SamplingOptions:
    """One argument of everything that samples, from the network to the engines.

    Attributes:
        steps: Euler steps; None: ``ModelConfig.flow_steps``.
        frozen: rows that are given; None: every row is sampled.
        guidance: pull towards a previous chunk; None: sampled freely.
        trace: keep the routers' decisions.
    """

    steps: int | None = None
    frozen: FrozenRows | None = None
    guidance: ChunkGuidance | None = None
    trace: bool = False

    def to(self, device: torch.device) -> SamplingOptions:
        """The same with its tensors on a device."""
        frozen, guidance = self.frozen, self.guidance
        if frozen is not None:
            frozen = FrozenRows(frozen.actions.to(device), frozen.mask.to(device))
        if guidance is not None:
            target, weights = guidance.target.to(device), guidance.weights.to(device)
            guidance = replace(guidance, target=target, weights=weights)
        return replace(self, frozen=frozen, guidance=guidance)


FREE = SamplingOptions()
"""Nothing is given; the default of every argument."""


def stack_options(parts: Sequence[SamplingOptions]) -> SamplingOptions:
    """Options of a batch: a sample without guidance gets weight 0, one without frozen rows none.

    Args:
        parts: of one observation each, with the same steps, clip and Jacobian; at least one.
    """
    guided = [part.guidance for part in parts if part.guidance is not None]
    guidance, frozen = None, None
    if guided:
        zeros = (torch.zeros_like(guided[0].target), torch.zeros_like(guided[0].weights))
        none = replace(guided[0], target=zeros[0], weights=zeros[1])
        each = [part.guidance or none for part in parts]
        target = torch.cat([one.target for one in each])
        guidance = replace(none, target=target, weights=torch.cat([one.weights for one in each]))
    given = [part.frozen for part in parts if part.frozen is not None]
    if given:
        free = FrozenRows(torch.zeros_like(given[0].actions), torch.zeros_like(given[0].mask))
        rows = [part.frozen or free for part in parts]
        actions = torch.cat([row.actions for row in rows])
        frozen = FrozenRows(actions, torch.cat([row.mask for row in rows]))
    trace = any(part.trace for part in parts)
    return replace(parts[0], frozen=frozen, guidance=guidance, trace=trace)
