# SPDX-License-Identifier: Apache-2.0
"""Loss of a batch: flow matching, load balance, optional z-loss, auxiliary object positions.

May import: torch, tokenizers, model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from adamoe_ros.model.flow import noisy_actions
from adamoe_ros.model.moe import Routing
from adamoe_ros.model.policy_model import AdaMoEPolicy, PolicyLoss, PrefixCache
from adamoe_ros.model.statistics import moe_statistics
from adamoe_ros.training.augmentation import jitter_colours, shift_images
from adamoe_ros.training.config import TrainingConfig
from adamoe_ros.training.samples import Batch
from adamoe_ros.training.sampling import augment_rng, flow_generator, flow_times
from adamoe_ros.training.schedules import balance_coefficient
from adamoe_ros.training.trainer import StepLosses


class Standardiser:
    """(x - mean) / (std + eps) for one kind of vector, padded with zeros to the model's width.

    Args:
        statistics: ``mean`` and ``std`` lists of D numbers.
        eps: added to std.
        width: of the result, at least D; None: D.
    """

    def __init__(self, statistics: dict[str, list[float]], eps: float, width: int | None) -> None:
        self.mean = np.asarray(statistics["mean"], dtype=np.float32)
        self.scale = np.asarray(statistics["std"], dtype=np.float32) + np.float32(eps)
        self._padding = (width or len(self.mean)) - len(self.mean)

    def __call__(self, values: NDArray[np.float32]) -> torch.Tensor:
        """(..., D) -> (..., width) float32."""
        scaled = (values - self.mean) / self.scale
        padding = [(0, 0)] * (scaled.ndim - 1) + [(0, self._padding)]
        return torch.from_numpy(np.pad(scaled, padding).astype(np.float32))

    def invert(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., width) -> (..., D)."""
        return values[..., : len(self.mean)] * self.scale + self.mean


class FlowObjective:
    """What ``Trainer`` minimises.

    Args:
        config: settings.
        state, actions, objects: standardisers; no object loss where ``objects`` is None.
        tokenizer: of the prompt.
        prompt_length: most tokens.
        device: where the network is.
    """

    def __init__(
        self,
        config: TrainingConfig,
        state: Standardiser,
        actions: Standardiser,
        objects: Standardiser | None,
        tokenizer: Tokenizer,
        prompt_length: int,
        device: torch.device,
    ) -> None:
        self._config, self._device = config, device
        self._state, self._actions, self._objects = state, actions, objects
        self._tokenizer, self._length = tokenizer, prompt_length

    def __call__(self, network: nn.Module, batch: Batch, step: int) -> StepLosses:
        """Loss of one batch; the same numbers for the same step and batch."""
        rng = augment_rng(self._config.seed, step)
        generator = flow_generator(self._config.seed, step)
        state = self._state(batch.state)
        state += self._config.augment.state_noise * torch.from_numpy(
            rng.standard_normal(state.shape, dtype=np.float32)
        )
        actions = self._actions(batch.actions).repeat_interleave(self._config.flow_draws, 0)
        noise = torch.randn(actions.shape, generator=generator)
        time = flow_times(len(actions), generator)
        images = self._images(batch.images, rng)
        token_ids, token_mask = encode_prompts(self._tokenizer, batch.instructions, self._length)
        wanted = batch.objects is not None and self._objects is not None
        objects = self._objects(batch.objects) if wanted else None  # type: ignore[misc, arg-type]
        on = self._device
        inputs = {
            "images": images,
            "image_mask": torch.ones(images.shape[:2], dtype=torch.bool),
            "token_ids": token_ids.to(on),
            "token_mask": token_mask,
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
        unit = pixels.movedim(-1, -3).float().div_(127.5).sub_(1)
        return jitter_colours(unit, self._config.augment, rng)

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
        times = time.unsqueeze(1).expand(actions.shape[:2])
        x_t, target = noisy_actions(actions, noise, times)
        trace: list[Routing] = []
        velocity = self._network.velocity_joint(prefix, spread(state), x_t, times, trace)
        rows = (velocity - target).square().mean(-1)
        located = None
        if objects is not None and once.objects is not None:
            located = functional.mse_loss(once.objects, objects)
        return PolicyLoss(rows.mean(), rows, located, moe_statistics(trace))


def encode_prompts(
    tokenizer: Tokenizer, sentences: Sequence[str], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences as the ``plain`` prompt style has them: their tokens, cut and padded to ``length``.

    Returns:
        (B, length) int64 ids, 0 where padded; (B, length) bool mask.
    """
    ids = torch.zeros(len(sentences), length, dtype=torch.int64)
    mask = torch.zeros(len(sentences), length, dtype=torch.bool)
    known: dict[str, list[int]] = {}
    for row, sentence in enumerate(sentences):
        if sentence not in known:
            known[sentence] = tokenizer.encode(sentence).ids[:length]
        tokens = known[sentence]
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        mask[row, : len(tokens)] = True
    return ids, mask
