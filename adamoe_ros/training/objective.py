# SPDX-License-Identifier: Apache-2.0
"""Loss of a batch: flow matching, load balance, optional z-loss, auxiliary object positions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from adamoe_ros.model.policy_model import AdaMoEPolicy, PolicyLoss
from adamoe_ros.model.router_losses import MoEStatistics
from adamoe_ros.policy.normalise import Normalizer
from adamoe_ros.policy.prompt import PromptEncoder
from adamoe_ros.policy.resizing import to_unit
from adamoe_ros.policy.vectors import VectorSpace
from adamoe_ros.training.augmentation import (
    OwnDraws,
    crop_and_turn,
    jitter_colours,
    shift_images,
)
from adamoe_ros.training.demonstration_set import Batch
from adamoe_ros.training.optimiser import balance_coefficient
from adamoe_ros.training.processes import ALONE, Processes
from adamoe_ros.training.sampling import (
    augment_rng,
    flow_generator,
    flow_times,
    with_clean_prefix,
)
from adamoe_ros.training.trainer import StepLosses
from adamoe_ros.training.training_config import TrainingConfig


class FlowObjective:
    """What ``Trainer`` minimises.

    Args:
        config: settings.
        vectors: of states and actions.
        objects: normalisation of object positions; None: no object loss.
        prompt: sentences to tokens.
        device: where the network is.
        slots: names of the cameras.
        processes: that share each batch; batches are this one's share.
    """

    def __init__(
        self,
        config: TrainingConfig,
        vectors: VectorSpace,
        objects: Normalizer | None,
        prompt: PromptEncoder,
        device: torch.device,
        slots: tuple[str, ...] = (),
        processes: Processes = ALONE,
    ) -> None:
        self._config, self._device, self._slots = config, device, slots
        self._processes = processes
        self._vectors, self._objects = vectors, objects
        self._prompt = prompt

    def __call__(self, network: nn.Module, batch: Batch, step: int) -> StepLosses:
        """Loss of one batch; the same numbers for the same step and batch."""
        seen, objects = self._observed(batch, step), self._object_targets(batch)
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16"
        ):
            if step < self._config.perception_steps:
                return _perception(network, seen, objects)
            actions, noise, time = self._flow(batch, step)
            on = self._device
            losses: PolicyLoss = network(
                **seen,
                actions=actions.to(on),
                noise=noise.to(on),
                time=time.to(on),
                objects=objects,
            )
        return self._combine(losses, step, time)

    def _observed(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """What the prefix takes, augmented."""
        total = len(batch.state) * self._processes.count
        own = self._processes.own(total)
        rng = OwnDraws(augment_rng(self._config.seed, step), total, own)
        state = self._vectors.encode_state(batch.state)
        noise = self._config.augment.state_noise * rng.standard_normal(state.shape, np.float32)
        images = self._images(batch.images, rng)
        joints = batch.state.shape[-1]
        numbers = self._vectors.prompt_state(batch.state) + noise[:, :joints]
        ids, masks = zip(*map(self._prompt, batch.instructions, numbers), strict=True)
        return {
            "images": images,
            "image_mask": torch.ones(images.shape[:2], dtype=torch.bool),
            "token_ids": torch.from_numpy(np.stack(ids)).to(self._device),
            "token_mask": torch.from_numpy(np.stack(masks)),
            "state": torch.from_numpy(state + noise).to(self._device),
        }

    def _object_targets(self, batch: Batch) -> torch.Tensor | None:
        if batch.objects is None or self._objects is None:
            return None
        return torch.from_numpy(self._objects.apply(batch.objects)).to(self._device)

    def _flow(self, batch: Batch, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Actions ``flow_draws`` times, and a noise and a flow time for each."""
        actions = torch.from_numpy(self._vectors.encode_actions(batch.actions, batch.state))
        actions = actions.repeat_interleave(self._config.flow_draws, 0)
        return actions, *self._flow_draws(actions, step)

    def _flow_draws(self, actions: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise and flow times of this process's rows: drawn for the whole batch, then cut."""
        count, rows = len(actions) * self._processes.count, actions.shape[1]
        generator = flow_generator(self._config.seed, step)
        noise = torch.randn((count, *actions.shape[1:]), generator=generator)
        time = flow_times(count, generator)
        if self._config.rtc_max_delay:
            time = with_clean_prefix(time, rows, self._config.rtc_max_delay, generator)
        own = self._processes.own(count)
        return noise[own], time[own]

    def _images(self, images: NDArray[np.uint8], rng: OwnDraws) -> torch.Tensor:
        wanted = self._config.augment
        moved = shift_images(images, wanted.shift, rng)
        pixels = torch.from_numpy(moved).to(self._device)
        turned = crop_and_turn(to_unit(pixels.movedim(-1, -3)), wanted, self._slots, rng)
        return jitter_colours(turned, wanted, rng)

    def _combine(self, losses: PolicyLoss, step: int, time: torch.Tensor) -> StepLosses:
        weights = self._config.loss
        total = losses.flow * self._row_share(time).to(losses.flow)
        parts = {"flow": total.detach()}
        if losses.objects is not None:
            total = total + weights.object_weight * losses.objects
            parts["objects"] = losses.objects.detach()
        if losses.moe is not None:
            counts = self._processes.mean(losses.moe.selection_counts.float())
            balance = self._balance(losses.moe, counts)
            total = total + balance_coefficient(weights.balance, step) * balance
            parts["balance"] = balance.detach()
            parts["z"] = losses.moe.z_loss.mean().detach()
            parts["top_expert_share"] = (counts.amax(1) / counts.sum(1)).mean()
            if weights.z_weight:
                total = total + weights.z_weight * losses.moe.z_loss.mean()
        return StepLosses(total, parts)

    def _row_share(self, time: torch.Tensor) -> torch.Tensor:
        """1, or how many more predicted rows this process has than the others on average."""
        if self._processes.count == 1:
            return torch.ones(())
        rows = (time > 0).sum().float().to(self._device)
        return rows / self._processes.mean(rows)

    def _balance(self, moe: MoEStatistics, counts: torch.Tensor) -> torch.Tensor:
        """Load-balancing loss of this process; its mean over all is that of the whole batch.

        Args:
            counts: (M, E) mean number of selections over the processes.
        """
        switch = self._config.loss.balance.form == "switch"
        loss = moe.load_balancing_switch if switch else moe.load_balancing
        if self._processes.count == 1:
            return loss.mean()
        mine = (moe.selection_counts * moe.mean_probability.detach()).sum(-1)
        factor = loss.detach() / mine  # 1 / tokens and the form's power of E
        return (factor * (counts * moe.mean_probability).sum(-1)).mean()


def _perception(
    network: nn.Module, seen: dict[str, torch.Tensor], objects: torch.Tensor | None
) -> StepLosses:
    """Loss of the object positions alone."""
    if not isinstance(network, AdaMoEPolicy):
        raise ValueError("perception steps need the plain network")
    if objects is None:
        raise ValueError("perception steps need object positions")
    loss = functional.mse_loss(network.locate(**seen), objects)
    return StepLosses(loss, {"objects": loss.detach()})
