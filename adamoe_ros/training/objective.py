# SPDX-License-Identifier: Apache-2.0
"""Loss of a batch: flow matching, load balance, optional z-loss, auxiliary object positions.

May import: torch, numpy, policy, model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from adamoe_ros.model.flow import noisy_actions
from adamoe_ros.model.moe import Routing
from adamoe_ros.model.policy_model import AdaMoEPolicy, PolicyLoss, PrefixCache
from adamoe_ros.model.statistics import moe_statistics
from adamoe_ros.policy.images import to_unit
from adamoe_ros.policy.normalise import Normalizer
from adamoe_ros.policy.prompt import PromptEncoder
from adamoe_ros.policy.vectors import VectorSpace
from adamoe_ros.training.augmentation import jitter_colours, shift_images
from adamoe_ros.training.config import TrainingConfig
from adamoe_ros.training.samples import Batch
from adamoe_ros.training.sampling import (
    augment_rng,
    flow_generator,
    flow_times,
    with_clean_prefix,
)
from adamoe_ros.training.schedules import balance_coefficient
from adamoe_ros.training.trainer import StepLosses


class FlowObjective:
    """What ``Trainer`` minimises.

    Args:
        config: settings.
        vectors: of states and actions.
        objects: normalisation of object positions; None: no object loss.
        prompt: sentences to tokens.
        device: where the network is.
    """

    def __init__(
        self,
        config: TrainingConfig,
        vectors: VectorSpace,
        objects: Normalizer | None,
        prompt: PromptEncoder,
        device: torch.device,
    ) -> None:
        self._config, self._device = config, device
        self._vectors, self._objects = vectors, objects
        self._prompt = prompt

    def __call__(self, network: nn.Module, batch: Batch, step: int) -> StepLosses:
        """Loss of one batch; the same numbers for the same step and batch."""
        rng = augment_rng(self._config.seed, step)
        generator = flow_generator(self._config.seed, step)
        state = torch.from_numpy(self._vectors.encode_state(batch.state))
        state += self._config.augment.state_noise * torch.from_numpy(
            rng.standard_normal(state.shape, dtype=np.float32)
        )
        actions = torch.from_numpy(self._vectors.encode_actions(batch.actions, batch.state))
        actions = actions.repeat_interleave(self._config.flow_draws, 0)
        noise = torch.randn(actions.shape, generator=generator)
        time = flow_times(len(actions), generator)
        if self._config.rtc_max_delay:
            rows = actions.shape[1]
            time = with_clean_prefix(time, rows, self._config.rtc_max_delay, generator)
        images = self._images(batch.images, rng)
        ids, masks = zip(*map(self._prompt, batch.instructions), strict=True)
        objects = None
        if batch.objects is not None and self._objects is not None:
            objects = torch.from_numpy(self._objects.apply(batch.objects))
        on = self._device
        inputs: dict[str, Any] = {
            "images": images,
            "image_mask": torch.ones(images.shape[:2], dtype=torch.bool),
            "token_ids": torch.from_numpy(np.stack(ids)).to(on),
            "token_mask": torch.from_numpy(np.stack(masks)),
            "state": state.to(on),
            "actions": actions.to(on),
            "noise": noise.to(on),
            "time": time.to(on),
            "objects": None if objects is None else objects.to(on),
        }
        enabled = self._config.precision == "bfloat16"
        run = network if self._config.flow_draws == 1 else MultipleDraws(network)
        with torch.autocast(on.type, torch.bfloat16, enabled=enabled):
            losses: PolicyLoss = run(**inputs)
        return self._combine(losses, step)

    def _images(self, images: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
        moved = shift_images(images, self._config.augment.shift, rng)
        pixels = torch.from_numpy(moved).to(self._device)
        return jitter_colours(to_unit(pixels.movedim(-1, -3)), self._config.augment, rng)

    def _combine(self, losses: PolicyLoss, step: int) -> StepLosses:
        weights = self._config.loss
        total = losses.flow
        parts = {"flow": losses.flow.detach()}
        if losses.objects is not None:
            total = total + weights.object_weight * losses.objects
            parts["objects"] = losses.objects.detach()
        if losses.moe is not None:
            switch = weights.balance.form == "switch"
            per_layer = losses.moe.load_balancing_switch if switch else losses.moe.load_balancing
            balance = per_layer.mean()
            total = total + balance_coefficient(weights.balance, step) * balance
            parts["balance"] = balance.detach()
            parts["z"] = losses.moe.z_loss.mean().detach()
            counts = losses.moe.selection_counts
            parts["top_expert_share"] = (counts.amax(1) / counts.sum(1)).mean()
            if weights.z_weight:
                total = total + weights.z_weight * losses.moe.z_loss.mean()
        return StepLosses(total, parts)


class MultipleDraws:
    """``AdaMoEPolicy.loss`` with several flow times per observation, which is encoded only once.

    On a CPU the images are most of a step; further draws of the flow cost little and make the
    gradient quieter. Arguments as ``loss`` takes them, with B * draws actions, noises and times.
    """

    def __init__(self, network: nn.Module) -> None:
        if not isinstance(network, AdaMoEPolicy):
            raise ValueError("several draws need the plain network")
        self._network = network

    def __call__(
        self,
        images: torch.Tensor,
        image_mask: torch.Tensor,
        token_ids: torch.Tensor,
        token_mask: torch.Tensor,
        state: torch.Tensor,
        actions: torch.Tensor,
        noise: torch.Tensor,
        time: torch.Tensor,
        objects: torch.Tensor | None,
    ) -> PolicyLoss:
        """Losses as ``AdaMoEPolicy.loss`` returns them, over B * draws chunks."""
        draws = len(actions) // len(state)
        once = self._network.encode_prefix(images, image_mask, token_ids, token_mask, state)

        def spread(x: torch.Tensor) -> torch.Tensor:
            return x.repeat_interleave(draws, 0)

        prefix = PrefixCache(
            layers=[(spread(keys), spread(values)) for keys, values in once.layers],
            mask=None if once.mask is None else spread(once.mask),
            length=spread(once.length),
            objects=once.objects,
        )
        times = time if time.dim() == 2 else time.unsqueeze(1).expand(actions.shape[:2])
        x_t, target = noisy_actions(actions, noise, times)
        trace: list[Routing] = []
        velocity = self._network.velocity_joint(prefix, spread(state), x_t, times, trace)
        predicted = times > 0
        rows = (velocity - target).square().mean(-1) * predicted
        located = None
        if objects is not None and once.objects is not None:
            located = functional.mse_loss(once.objects, objects)
        flow = rows.sum() / predicted.sum().clamp(min=1)
        return PolicyLoss(flow, rows, located, moe_statistics(trace))
