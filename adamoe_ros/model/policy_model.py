# SPDX-License-Identifier: Apache-2.0
"""The policy as one network: images, prompt, state -> action chunk, by flow matching.

    prefix = [image tokens of each view | object token (small policies) | prompt tokens]
    suffix = [state token | action tokens]
    prefix sees prefix; state sees prefix and itself; actions see everything.

So the prefix and the state token are computed once per chunk, and each flow step runs the action
tokens only. Training runs the whole suffix at once under a mask; both give the same velocities.

``ModelConfig.architecture`` says how state and flow time t enter:
    pi0    state token as above; action token = MLP([W x_t, emb(t)])
    pi0.5  no state token, the state is text of the prompt; action token = W x_t; the condition
           c = silu(W_2 silu(W_1 emb(t))) modulates every norm of the expert
Shapes: B batch, V views, L prompt tokens, H rows, A action width, S state width, T action tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.conditioning import FREE, SamplingOptions
from adamoe_ros.model.config import ModelConfig, MoEConfig
from adamoe_ros.model.flow import euler_times, integrate_flow, noisy_actions, time_embedding
from adamoe_ros.model.gemma import GemmaStack, KeysValues, blocked, rotation
from adamoe_ros.model.layers import Embedding, Linear
from adamoe_ros.model.moe import Routing, RoutingTrace
from adamoe_ros.model.prefix_tokens import PrefixTokens, select_prefix_tokens
from adamoe_ros.model.router_losses import MoEStatistics, moe_statistics
from adamoe_ros.model.siglip import VisionEncoder
from adamoe_ros.model.stem import ObjectHead, PromptMean, PromptReader


@dataclass(frozen=True)
class PrefixCache:
    """What the suffix needs of images, prompt and - where encoded - the state token.

    Attributes:
        layers: keys and values (B, K, P, C) of each layer.
        mask: additive (B, 1, 1, P), or None: every key is valid.
        length: (B,) int64 valid tokens; the next token's position.
        objects: (B, 3 * aux_positions) float32 normalised positions, or None.
    """

    layers: list[KeysValues]
    mask: Tensor | None
    length: Tensor
    objects: Tensor | None

    def repeat(self, times: int) -> PrefixCache:
        """Each observation several times in a row; ``objects`` stays one per observation."""

        def spread(x: Tensor) -> Tensor:
            return x.repeat_interleave(times, 0)

        layers = [(spread(keys), spread(values)) for keys, values in self.layers]
        mask = None if self.mask is None else spread(self.mask)
        return PrefixCache(layers, mask, spread(self.length), self.objects)


@dataclass(frozen=True)
class PolicyLoss:
    """Losses of a batch.

    Attributes:
        flow: scalar, mean squared velocity error over rows and action dimensions.
        rows: (B, H) the same before the mean over rows; 0 where the row was given (time 0).
        objects: scalar mean squared error of the object positions, or None.
        moe: statistics over all suffix tokens, or None (dense).
    """

    flow: Tensor
    rows: Tensor
    objects: Tensor | None
    moe: MoEStatistics | None


@dataclass(frozen=True)
class PolicySample:
    """A sampled chunk.

    Attributes:
        actions: (B, H, A) float32, normalised.
        objects: (B, 3 * aux_positions) float32 normalised positions, or None.
        routing: one list per flow step of one ``Routing`` per layer over the B * T action tokens;
            empty unless asked for. With guidance, one per evaluation of the network.
    """

    actions: Tensor
    objects: Tensor | None
    routing: list[list[Routing]]

    def selected(self) -> Tensor:
        """(steps, layers, B, T, k) int64 selected experts; needs ``trace=True`` when sampling."""
        steps = [torch.stack([layer.selected for layer in step]) for step in self.routing]
        batch = len(self.actions)
        return torch.stack(steps).unflatten(2, (batch, -1))

    def statistics(self) -> MoEStatistics | None:
        """Statistics over the tokens of all steps, or None (dense, or not traced)."""
        return moe_statistics([_merged(layer) for layer in zip(*self.routing, strict=True)])


class AdaMoEPolicy(nn.Module):
    """pi0 or pi0.5 whose action expert may have mixture-of-experts feed-forward layers.

    Parameters are left uninitialised: call ``initialise`` to train from scratch, or load a state
    dict. Build under ``torch.device("meta")`` to know the shapes without allocating.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        prefix, width = config.prefix, config.expert.width
        patch = config.action_patch * config.action_dim
        self.vision = VisionEncoder(config.vision, config.num_views, prefix.width)
        self.embed = Embedding(prefix.vocab, prefix.width)
        self.prefix = GemmaStack(prefix.width, prefix.mlp, prefix, MoEConfig())
        self.expert = GemmaStack(width, config.expert.mlp, prefix, config.moe, config.pi05)
        if not config.pi05:
            self.state_proj = Linear(config.state_dim, width)
        self.action_in_proj = Linear(patch, width)
        if config.pi05:
            self.time_mlp_in = Linear(width, width)
            self.time_mlp_out = Linear(width, width)
        else:
            self.action_time_mlp_in = Linear(2 * width, width)
            self.action_time_mlp_out = Linear(width, width)
        self.action_out_proj = Linear(width, patch)
        if config.aux_positions:
            self.aux = ObjectHead(config)
        self.reader = _make_reader(config)

    @property
    def dtype(self) -> torch.dtype:
        """Of the blocks and of the residual stream."""
        return self.embed.weight.dtype

    def encode_prefix(
        self,
        images: Tensor,
        image_mask: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        state: Tensor,
        kept: PrefixTokens | None = None,
    ) -> PrefixCache:
        """Run images and prompt once.

        Args:
            images: (B, V, 3, height, width) in [-1, 1]; absent ones are never read.
            image_mask: (B, V) bool. token_mask: (B, L) bool. Best kept on the CPU (``kept``).
            token_ids: (B, L) int64.
            state: (B, S) normalised; read by the object head only.
            kept: of the two masks, where it is known already.
        """
        if kept is None:
            kept = self.select_tokens(image_mask, token_mask)
        x, objects = self._prefix_tokens(images, token_ids, token_mask, state, kept)
        mask, length = None, kept.length.to(x.device)
        positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        if kept.padded:
            mask = blocked((positions < length.unsqueeze(1))[:, None, None], x.dtype)
        table = rotation(positions, self.config.prefix.head_dim)
        return PrefixCache(self.prefix.keys_values(x, table, mask=mask), mask, length, objects)

    def locate(
        self,
        images: Tensor,
        image_mask: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        state: Tensor,
    ) -> Tensor:
        """Object positions alone, (B, 3 * aux_positions) float32, normalised; no block is run.

        Args:
            images ... state: as in ``encode_prefix``.
        """
        kept = self.select_tokens(image_mask, token_mask)
        _, objects = self._prefix_tokens(images, token_ids, token_mask, state, kept)
        if objects is None:
            raise ValueError("a network without object positions")
        return objects

    def select_tokens(self, image_mask: Tensor, token_mask: Tensor) -> PrefixTokens:
        """Which prefix tokens exist; see ``PrefixTokens``."""
        extra = 1 if self.config.aux_positions else 0
        return select_prefix_tokens(image_mask, token_mask, self.config.vision.tokens, extra)

    def _prefix_tokens(
        self,
        images: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        state: Tensor,
        kept: PrefixTokens,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, P, prefix width) packed tokens, and the object positions."""
        batch, views = images.shape[:2]
        places = kept.image_index.to(images.device)
        prompt = self.embed(token_ids[:, : kept.prompt]) * math.sqrt(self.config.prefix.width)
        valid = token_mask[:, : kept.prompt].to(prompt.device)
        summary = None if self.reader is None else self.reader(prompt, valid)
        asked = None if summary is None else summary[places // views]
        tokens, points = self.vision(images.flatten(0, 1)[places], places % views, asked)
        parts = [tokens, prompt]
        if kept.views is None:
            full = tokens.new_zeros(batch * views, *tokens.shape[1:])
            parts[0] = full.index_copy(0, places, tokens)
        parts[0] = parts[0].reshape(batch, -1 if len(places) else 0, self.config.prefix.width)
        objects = None
        if points is not None and self.config.aux_positions:
            seen = points.new_zeros(batch * views, *points.shape[1:]).index_copy(0, places, points)
            assert summary is not None
            objects, token = self.aux(seen.reshape(batch, -1), state, summary)
            parts.insert(1, token)
        x = torch.cat(parts, 1)
        if kept.token_index is not None:
            index = kept.token_index.to(x.device).unsqueeze(-1)
            x = x.gather(1, index.expand(-1, -1, x.shape[-1]))
        return x, objects

    def encode_state(self, cache: PrefixCache, state: Tensor) -> PrefixCache:
        """Add the state token's keys and values: it never sees actions, so once is enough.

        pi0.5 has no such token: nothing is added.
        """
        if self.config.pi05:
            return cache
        x = self._project(self.state_proj, state).unsqueeze(1)
        mask = _widened(cache.mask, 1)
        table = rotation(cache.length.unsqueeze(1), self.config.prefix.head_dim)
        layers = self.expert.keys_values(x, table, cache.layers, mask)
        return PrefixCache(layers, mask, cache.length + 1, cache.objects)

    def action_tokens(self, x_t: Tensor, time: Tensor) -> Tensor:
        """Noisy actions (B, H, A) and flow time (B,) or (B, H) -> (B, T, expert width)."""
        patch = self.config.action_patch
        actions = self._project(
            self.action_in_proj, x_t.reshape(len(x_t), -1, patch * x_t.shape[2])
        )
        if self.config.pi05:
            return actions
        when = self._embedded(time).expand(actions.shape).to(actions.dtype)
        h = self.action_time_mlp_in(torch.cat([actions, when], -1))
        return self.action_time_mlp_out(F.silu(h)).to(self.dtype)

    def condition(self, time: Tensor) -> Tensor | None:
        """What modulates pi0.5's norms, (B, 1 or T, expert width) float32; None in pi0.

        Args: time: (B,), one for all tokens, or (B, H).
        """
        return self.condition_of(self._embedded(time)) if self.config.pi05 else None

    def condition_of(self, when: Tensor) -> Tensor:
        """The same from an embedded flow time (..., expert width)."""
        for layer in (self.time_mlp_in, self.time_mlp_out):
            when = F.silu(F.linear(when, layer.weight.float(), layer.bias.float()).float())
        return when

    def _embedded(self, time: Tensor) -> Tensor:
        """Embedding of flow time (B,) or (B, H) -> (B, 1 or T, expert width) float32."""
        when = time_embedding(time, self.config.expert.width)
        if time.dim() == 1:
            return when.unsqueeze(1)
        return when.unflatten(1, (-1, self.config.action_patch)).mean(2)

    def velocity(
        self, cache: PrefixCache, x_t: Tensor, time: Tensor, trace: list[Routing] | None = None
    ) -> Tensor:
        """Velocity of one flow step from a cache that holds the state token.

        Args:
            cache: of ``encode_state``; not changed.
            x_t: (B, H, A). time: (B,) or (B, H), 1 = noise, 0 = data.
            trace: receives one ``Routing`` per layer over the B * T action tokens.

        Returns: (B, H, A) float32.
        """
        x = self.action_tokens(x_t, time)
        positions = cache.length.unsqueeze(1) + torch.arange(x.shape[1], device=x.device)
        table = rotation(positions, self.config.prefix.head_dim)
        mask = _widened(cache.mask, x.shape[1])
        out = self.expert(x, table, cache.layers, mask, trace, self.condition(time))
        return self._project(self.action_out_proj, out).float().reshape(x_t.shape)

    def velocity_joint(
        self,
        prefix: PrefixCache,
        state: Tensor,
        x_t: Tensor,
        time: Tensor,
        trace: list[Routing] | None = None,
    ) -> Tensor:
        """Velocity with state and action tokens in one pass (training).

        Args:    prefix: of ``encode_prefix``. state: (B, S). The rest as in ``velocity``.
        Returns: (B, H, A) float32.
        """
        if self.config.pi05:
            return self.velocity(prefix, x_t, time, trace)
        token = self._project(self.state_proj, state).unsqueeze(1)
        x = torch.cat([token.to(self.dtype), self.action_tokens(x_t, time)], 1)
        places = torch.arange(x.shape[1], device=x.device)
        visible = (places.unsqueeze(1) > 0) | (places == 0)  # the state token sees no action
        inner = blocked(visible[None, None], x.dtype)
        size = prefix.layers[0][0].shape[2]
        outer = prefix.mask if prefix.mask is not None else inner.new_zeros(1, 1, 1, size)
        rows = (len(outer), 1, x.shape[1], -1)
        mask = torch.cat([outer.expand(rows), inner.expand(rows)], -1)
        table = rotation(prefix.length.unsqueeze(1) + places, self.config.prefix.head_dim)
        out = self.expert(x, table, prefix.layers, mask, trace)[:, 1:]
        return self._project(self.action_out_proj, out).float().reshape(x_t.shape)

    def loss(
        self,
        images: Tensor,
        image_mask: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        state: Tensor,
        actions: Tensor,
        noise: Tensor,
        time: Tensor,
        objects: Tensor | None = None,
    ) -> PolicyLoss:
        """Flow-matching loss of a batch; the mean covers all action dimensions, padding included.

        Each observation is encoded once and may have several draws of noise and time: on a CPU the
        images are most of a step, and further draws make the gradient quieter at little cost.

        Args:
            images ... state: as in ``encode_prefix``, B observations.
            actions, noise: (B * draws, H, A) normalised actions, unit normal noise; the draws of an
                observation follow each other.
            time: (B * draws,) or (B * draws, H). Rows with time exactly 0 are given clean and not
                counted.
            objects: (B, 3 * aux_positions) normalised targets, where known.

        Returns: over B * draws chunks.
        """
        prefix = self.encode_prefix(images, image_mask, token_ids, token_mask, state)
        draws = len(actions) // len(state)
        if draws > 1:
            prefix, state = prefix.repeat(draws), state.repeat_interleave(draws, 0)
        rows_time = _per_row(time, actions)
        x_t, target = noisy_actions(actions.float(), noise.float(), rows_time)
        trace = RoutingTrace()
        into = cast("list[Routing]", trace)
        velocity = self.velocity_joint(prefix, state, x_t, time, into)
        predicted = rows_time > 0
        rows = (velocity - target).square().mean(-1) * predicted
        located = None
        if objects is not None and prefix.objects is not None:
            located = F.mse_loss(prefix.objects, objects.float())
        flow = rows.sum() / predicted.sum().clamp(min=1)
        return PolicyLoss(flow, rows, located, moe_statistics(trace.layers))

    def forward(self, *args: Any, **kwargs: Any) -> PolicyLoss:
        """``loss``, for wrappers that only know ``forward``."""
        return self.loss(*args, **kwargs)

    @torch.no_grad()
    def sample(
        self,
        images: Tensor,
        image_mask: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        state: Tensor,
        noise: Tensor,
        options: SamplingOptions = FREE,
    ) -> PolicySample:
        """PolicySample a chunk.

        Args:
            images ... state: as in ``encode_prefix``.
            noise: (B, H, A), unit normal.
        """
        cache = self.encode_prefix(images, image_mask, token_ids, token_mask, state)
        return self.sample_from(self.encode_state(cache, state), noise, options)

    @torch.no_grad()
    def sample_from(
        self, cache: PrefixCache, noise: Tensor, options: SamplingOptions = FREE
    ) -> PolicySample:
        """``sample`` after ``encode_prefix`` and ``encode_state``."""
        routing: list[list[Routing]] = []

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            if options.trace:
                routing.append([])
            if options.frozen is None:
                t = t[:, 0]  # of all rows: one condition instead of one per token
            return self.velocity(cache, x, t, routing[-1] if options.trace else None)

        steps = self.config.flow_steps if options.steps is None else options.steps
        times = euler_times(steps, noise.device)
        return PolicySample(integrate_flow(velocity, noise, times, options), cache.objects, routing)

    def _project(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """A suffix projection in its own dtype, which may differ from the blocks'."""
        return linear(x.to(linear.weight.dtype)).to(self.dtype)


def _make_reader(config: ModelConfig) -> PromptReader | PromptMean | None:
    """What makes one vector of the prompt; None where nothing asks for it (pi0)."""
    if config.vision.prompted_keypoints:
        return PromptReader(config.prefix.width, config.prompt_length)
    return PromptMean() if config.aux_positions else None


def _per_row(time: Tensor, actions: Tensor) -> Tensor:
    """(B,) or (B, H) -> (B, H) float32."""
    time = time.float()
    return time if time.dim() == 2 else time.unsqueeze(1).expand(actions.shape[:2])


def _widened(mask: Tensor | None, keys: int) -> Tensor | None:
    """Append keys that are always visible."""
    return None if mask is None else F.pad(mask, (0, keys))


def _merged(parts: tuple[Routing, ...]) -> Routing:
    return Routing(
        torch.cat([p.logits for p in parts]),
        torch.cat([p.probabilities for p in parts]),
        torch.cat([p.selected for p in parts]),
        torch.cat([p.scales for p in parts]),
    )
