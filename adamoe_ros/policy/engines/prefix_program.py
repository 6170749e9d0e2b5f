# SPDX-License-Identifier: Apache-2.0
"""Images and prompt, once per chunk: their keys and values into buffers.

Shapes: B batch, V pictures per observation, L prompt tokens, P prefix tokens, S keys (P, pi0's state
token, T action tokens), K key heads, C head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamoe_ros.model.gemma import GemmaLayer, blocked
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.attention import Heads
from adamoe_ros.policy.engines.image_encoder import make_encoder
from adamoe_ros.policy.engines.shapes import Shape
from adamoe_ros.policy.engines.transformer_block import (
    Block,
    BlockRunner,
    make_block,
    make_last_block,
    run_block,
)
from adamoe_ros.policy.engines.weight_forms import WeightForms

Buffers = list[tuple[Tensor, Tensor]]  # per layer keys and values, each (B, K, S, C)


@dataclass(frozen=True)
class Prefix:
    """What the flow needs to know of the prefix besides its keys and values.

    Attributes:
        length: (B,) int64 valid tokens.
        mask: additive (B, 1, 1, S), or None: every key is valid.
        objects: (B, 3 * aux_positions) float32 normalised positions, or None.
    """

    length: Tensor
    mask: Tensor | None
    objects: Tensor | None


def heads_of(network: AdaMoEPolicy, forms: WeightForms) -> Heads:
    """Geometry that prefix and action expert share."""
    sizes = network.config.prefix
    groups = sizes.heads // sizes.kv_heads
    return Heads(sizes.kv_heads, groups, sizes.head_dim, paired=forms.packed)


class PrefixProgram:
    """Images, prompt and state -> keys and values; fixed shapes, no synchronisation.

    Args:
        network: taken over as ``forms`` says.
        usual: shape that weights are laid out for.
        run_block: of ``gemma.block_runner``.
    """

    def __init__(
        self,
        network: AdaMoEPolicy,
        forms: WeightForms,
        usual: Shape,
        run_block: BlockRunner = run_block,
    ) -> None:
        self.run_block = run_block
        self.config = network.config
        self.dtype = network.dtype
        self.heads = heads = heads_of(network, forms)
        rows = usual.batch * usual.prefix_tokens(self.config)
        self.encoder = make_encoder(network.vision, forms, usual.batch * usual.views)
        self.embed = network.embed.weight.detach()
        self.aux = network.aux if self.config.aux_positions else None
        self.reader = network.reader
        layers = [layer for layer in network.prefix.layers if isinstance(layer, GemmaLayer)]
        self.blocks: list[Block] = [make_block(x, forms, rows, heads) for x in layers[:-1]]
        self.last = make_last_block(layers[-1], forms, rows, heads)

    def buffers(self, shape: Shape, device: torch.device) -> Buffers:
        """Room for all keys and values of one shape."""
        config = self.config
        places = shape.prefix_tokens(config) + config.state_tokens + config.action_tokens
        size = (shape.batch, config.prefix.kv_heads, places, config.prefix.head_dim)
        return [
            (
                torch.zeros(size, dtype=self.dtype, device=device),
                torch.zeros(size, dtype=self.dtype, device=device),
            )
            for _ in range(config.prefix.depth)
        ]

    def __call__(
        self,
        pixels: Tensor,
        slots: Tensor,
        token_ids: Tensor,
        valid: Tensor | None,
        state: Tensor,
        buffers: Buffers,
    ) -> Prefix:
        """Fill the first P places of the buffers.

        Args:
            pixels: (B, V, 3, h, w) float32 in [-1, 1].
            slots: (B, V) int64. token_ids: (B, L) int64. state: (B, S) float32.
            valid: (B, P) bool, or None: every token is valid.
        """
        x, objects = self._tokens(pixels, slots, token_ids, valid, state)
        batch, tokens, _ = x.shape
        total = buffers[0][0].shape[2]
        if valid is None:
            positions = torch.arange(tokens, device=x.device).unsqueeze(0)
            length, mask = positions.new_full((batch,), tokens), None
        else:
            positions = (valid.cumsum(1) - 1).clamp(min=0)
            length = valid.sum(1)
            later = valid.new_ones(batch, total - tokens)
            mask = blocked(torch.cat([valid, later], 1)[:, None, None], x.dtype)
        table = self.heads.table(positions)
        own = None if mask is None else mask[..., :tokens]
        for block, (keys, values) in zip(self.blocks, buffers, strict=False):
            x = self.run_block(block, x, table, keys, values, 0, own)
        self.last.write_keys_values(x, table, *buffers[-1], 0)
        return Prefix(length, mask, objects)

    def _tokens(
        self,
        pixels: Tensor,
        slots: Tensor,
        token_ids: Tensor,
        valid: Tensor | None,
        state: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, P, D) tokens, and the object positions."""
        batch, views = slots.shape
        prompt = self.embed[token_ids] * math.sqrt(self.config.prefix.width)
        parts, objects, points = [prompt], None, None
        first = views * self.config.vision.tokens
        in_prompt = prompt.new_ones(batch, prompt.shape[1], dtype=torch.bool)
        if valid is not None:
            in_prompt = valid[:, valid.shape[1] - prompt.shape[1] :]
        summary = None if self.reader is None else self.reader(prompt, in_prompt)
        if views:
            asked = None if summary is None else summary.repeat_interleave(views, 0)
            tokens, points = self.encoder(pixels.flatten(0, 1), slots.flatten(), asked)
            parts.insert(0, tokens.reshape(batch, -1, tokens.shape[-1]))
        if self.aux is not None:
            present = prompt.new_ones(batch, views, 1)
            if valid is not None:
                present = (
                    valid[:, :first].unflatten(1, (max(views, 1), -1))[:, :views, :1].to(prompt)
                )
            objects, token = self.aux(self._seen(points, slots, present), state, summary)
            parts.insert(len(parts) - 1, token)
        return torch.cat(parts, 1), objects

    def _seen(self, points: Tensor | None, slots: Tensor, present: Tensor) -> Tensor:
        """Key points by camera slot, 0 where absent: (B, all slots * 2 * points)."""
        batch, width = len(slots), 2 * self.config.vision.all_keypoints
        seen = present.new_zeros(batch, self.config.num_views, width)
        if points is not None:
            rows = points.reshape(batch, -1, width) * present
            seen = seen.scatter(1, slots.unsqueeze(-1).expand(-1, -1, width), rows.to(seen.dtype))
        return seen.flatten(1)
