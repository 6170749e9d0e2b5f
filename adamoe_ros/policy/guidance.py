# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking inside the flow: pull a sample towards the previous chunk, or fix its start.

Source: arXiv 2506.07339, Algorithm 1, with time running from t = 1 (noise) to t = 0 (data), so the
paper's tau is 1 - t and its velocity is -v. With the denoised guess X = x - t v(x, t), the error
e = W (Y - X) and the weight w = min(beta, (tau^2 + (1 - tau)^2) / (tau (1 - tau))):

    v <- v - w e                 identity: as if v did not depend on x; one evaluation, no gradient
    v <- v - w e^T dX / dx       vjp: the paper's, back through the network

Shapes: B batch, H rows, A action width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.model.flow import KnownRows, VelocityFn

Jacobian = Literal["identity", "vjp"]


@dataclass(frozen=True)
class ChunkGuidance:
    """A ``model.flow.Guidance``.

    Attributes:
        target: (B, H, A) normalised rows to agree with, Y.
        weights: (B, H, 1) how much each row has to, W.
        max_weight: clip beta; above the number of flow steps Euler's method overshoots.
        jacobian: see the module.
    """

    target: Tensor
    weights: Tensor
    max_weight: float
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


def guidance_weight(time: Tensor, max_weight: float) -> Tensor:
    """min(beta, (tau^2 + (1 - tau)^2) / (tau (1 - tau))) with tau = 1 - time; beta at both ends.

    No number leaves the device, so that the steps can be captured in a graph.
    """
    tau = 1.0 - time
    return ((tau * tau + time * time) / (tau * time)).abs().clamp(max=max_weight)


@dataclass(frozen=True)
class Steering:
    """What of the previous chunk goes into one sampling.

    Attributes:
        known: rows given as clean tokens (trained prefix), or None.
        guidance: pull towards the leftover, or None.
        committed_rows: leading rows that come back as they were in the previous chunk.
    """

    known: KnownRows | None = None
    guidance: ChunkGuidance | None = None
    committed_rows: int = 0


FREE = Steering()
"""Nothing of a previous chunk."""


def stacked(parts: Sequence[Steering]) -> Steering:
    """Of a batch: one entry per sample; a sample without guidance has weight 0.

    Args:
        parts: of one ``ChunkGuide``, B = 1 each; at least one.
    """
    given = [part.guidance for part in parts if part.guidance is not None]
    guidance, known = None, None
    if given:
        none = replace(
            given[0],
            target=torch.zeros_like(given[0].target),
            weights=torch.zeros_like(given[0].weights),
        )
        each = [part.guidance or none for part in parts]
        target, weights = (torch.cat([getattr(g, n) for g in each]) for n in ("target", "weights"))
        guidance = replace(given[0], target=target, weights=weights)
    fixed = [part.known for part in parts if part.known is not None]
    if fixed:
        free = KnownRows(torch.zeros_like(fixed[0].actions), torch.zeros_like(fixed[0].mask))
        rows = [part.known or free for part in parts]
        known = KnownRows(
            torch.cat([row.actions for row in rows]), torch.cat([row.mask for row in rows])
        )
    return Steering(known, guidance, max(part.committed_rows for part in parts))


class ChunkGuide:
    """Turns a leftover into what the sampler takes.

    Args:
        jacobian: of the guidance, ``identity`` or ``vjp``.
        max_weight: clip beta of the guidance; 0: as many as flow steps.
        flow_steps: of the sampling.
        device: of the sampling.

    Raises:
        ContractError: another Jacobian, or a clip so high that the sampling cannot converge.
    """

    def __init__(
        self,
        jacobian: str,
        max_weight: float,
        flow_steps: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= max_weight < 2 * flow_steps:
            raise ContractError(
                problem(
                    "rtc_max_weight",
                    f"0 or more, below twice the {flow_steps} flow steps",
                    max_weight,
                    f"use at most {flow_steps}: beyond it every step overshoots",
                )
            )
        if jacobian not in get_args(Jacobian):
            expected = " or ".join(get_args(Jacobian))
            raise ContractError(problem("rtc_jacobian", expected, repr(jacobian), "correct it"))
        self.jacobian = cast(Jacobian, jacobian)
        self.max_weight = float(max_weight or flow_steps)
        self._device = device

    def steering(
        self, rows: NDArray[Any], weights: NDArray[Any] | None, prefix_rows: int
    ) -> Steering:
        """For one sampling of one observation (B = 1).

        Args:
            rows: (H, A) leftover of the previous chunk, normalised, re-anchored.
            weights: (H,) guidance weights; None: no guidance.
            prefix_rows: leading rows to give as clean tokens.
        """
        target = torch.as_tensor(rows, dtype=torch.float32, device=self._device).unsqueeze(0)
        guidance, known = None, None
        if weights is not None:
            share = torch.as_tensor(weights, dtype=torch.float32, device=self._device)
            guidance = ChunkGuidance(target, share[None, :, None], self.max_weight, self.jacobian)
        if prefix_rows > 0:
            places = torch.arange(target.shape[1], device=self._device)
            known = KnownRows(target, (places < prefix_rows).unsqueeze(0))
        return Steering(known, guidance, prefix_rows)


def check_trained_prefix(manifest: CheckpointManifest, strategy: str) -> None:
    """Refuse a strategy with clean prefix rows for a checkpoint that never saw any.

    Raises:
        ContractError: it was not trained for it.
    """
    if manifest.rtc_max_delay < 1:
        raise ContractError(
            problem(
                f"strategy {strategy}",
                "a checkpoint trained for it (rtc_max_delay above 0 in its manifest)",
                manifest.rtc_max_delay,
                "use strategy rtc, or train with rtc_max_delay",
            )
        )
