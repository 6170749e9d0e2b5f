# SPDX-License-Identifier: Apache-2.0
"""Buffers and graphs of one shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adamoe_ros.model.conditioning import ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.model.moe import Routing
from adamoe_ros.model.policy_model import PolicySample
from adamoe_ros.policy.engines.cuda_graphs import Arena, Captured, Field
from adamoe_ros.policy.engines.flow_program import FlowProgram, Stage
from adamoe_ros.policy.engines.prefix_program import PrefixProgram
from adamoe_ros.policy.engines.shapes import Shape, SmallInputs

_FRAME_ROOM = 1920 * 1080 * 3  # bytes; larger frames are shrunk on the host


class CapturedShape:
    """What one shape needs: upload, pixels, keys and values, download, and three graphs.

    Args:
        steps: flow steps.
        pool: shared by all shapes, since one runs at a time.

    Attributes:
        given, made: upload and download.
        pixels: (B, V, 3, h, w) float32.
    """

    def __init__(
        self,
        prefix: PrefixProgram,
        flow: FlowProgram,
        shape: Shape,
        steps: int,
        device: torch.device,
        pool: Any,
    ) -> None:
        self._prefix, self._flow, self._steps, self.config = prefix, flow, steps, prefix.config
        self.shape = shape
        room = _FRAME_ROOM * shape.batch * shape.views
        self.given = Arena(self._given_fields(), room, device)
        self.made = Arena(self._made_fields(), 0, device)
        size = (shape.batch, shape.views, 3, *self.config.vision.image_size)
        self.pixels = torch.zeros(size, device=device)
        self._buffers = prefix.buffers(shape, device)
        flow.schedule(steps)
        self.given.host["valid"].fill_(True)
        self.given.host["max_weight"].fill_(1.0)
        self.given.upload()
        self._graph_prefix = Captured(self._encode, device, pool)
        self._stage = self._graph_prefix()
        free = SamplingOptions(steps)
        self._graph_free = Captured(lambda: self._sample(free), device, pool)
        conditioned = self._conditioned(free)
        self._graph_conditioned = Captured(lambda: self._sample(conditioned), device, pool)

    def _given_fields(self) -> dict[str, Field]:
        config, (batch, views, prompt) = self.config, (
            self.shape.batch, self.shape.views, self.shape.prompt,
        )  # fmt: skip
        rows = (batch, config.horizon, config.action_dim)
        floats, whole = torch.float32, torch.int64
        return {
            "noise": (floats, rows),
            "state": (floats, (batch, config.state_dim)),
            "slots": (whole, (batch, views)),
            "token_ids": (whole, (batch, prompt)),
            "valid": (torch.bool, (batch, self.shape.prefix_tokens(config))),
            "frozen": (floats, rows),
            "is_frozen": (torch.bool, rows[:2]),
            "target": (floats, rows),
            "weights": (floats, (*rows[:2], 1)),
            "max_weight": (floats, ()),
        }

    def _made_fields(self) -> dict[str, Field]:
        config, batch = self.config, self.shape.batch
        floats = torch.float32
        fields: dict[str, Field] = {
            "actions": (floats, (batch, config.horizon, config.action_dim)),
            "objects": (floats, (batch, 3 * config.aux_positions)),
        }
        if config.moe.variant != "dense":
            tokens = batch * config.action_tokens
            size = (self._steps, config.prefix.depth, tokens)
            fields["logits"] = (floats, (*size, config.moe.num_experts))
            fields["probabilities"] = (floats, (*size, config.moe.num_experts))
            fields["scales"] = (floats, (*size, config.moe.top_k))
            fields["selected"] = (torch.int64, (*size, config.moe.top_k))
        return fields

    def fill(self, small: SmallInputs, noise: Tensor, options: SamplingOptions) -> None:
        """Write an inference's inputs, without pictures, into the upload."""
        host, batch = self.given.host, self.shape.batch
        for name in ("state", "slots", "token_ids", "valid"):
            host[name].copy_(torch.from_numpy(getattr(small, name)))
        host["noise"].copy_(padded(noise, batch))
        host["is_frozen"].zero_()
        host["weights"].zero_()
        if options.frozen is not None:
            host["frozen"].copy_(padded(options.frozen.actions, batch))
            host["is_frozen"].copy_(padded(options.frozen.mask, batch))
        if options.guidance is not None:
            host["target"].copy_(padded(options.guidance.target, batch))
            host["weights"].copy_(padded(options.guidance.weights, batch))
            host["max_weight"].fill_(options.guidance.max_weight)

    def run_prefix(self) -> None:
        """Pictures, prompt and state."""
        self._stage = self._graph_prefix()

    def run_flow(self, conditioned: bool) -> None:
        """All flow steps, and the results into the download.

        Args:
            conditioned: by the frozen rows and the guidance that were filled in.
        """
        (self._graph_conditioned if conditioned else self._graph_free)()

    def _encode(self) -> Stage:
        given, made = self.given.device, self.made.device
        prefix = self._prefix(
            self.pixels, given["slots"], given["token_ids"], given["valid"], given["state"],
            self._buffers,
        )  # fmt: skip
        if prefix.objects is not None:
            made["objects"].copy_(prefix.objects)
        return self._flow.begin(prefix, given["state"], self._buffers)

    def _conditioned(self, free: SamplingOptions) -> SamplingOptions:
        """Frozen rows and guidance that are read from the upload, neutral where not wanted."""
        given = self.given.device
        frozen = FrozenRows(given["frozen"], given["is_frozen"])
        guidance = ChunkGuidance(given["target"], given["weights"], given["max_weight"])
        return replace(free, frozen=frozen, guidance=guidance)

    def _sample(self, options: SamplingOptions) -> None:
        made = self.made.device
        routing: list[list[Routing]] = []
        noise = self.given.device["noise"]
        made["actions"].copy_(self._flow.run(self._stage, noise, options, routing))
        if "logits" in made:
            for name in ("logits", "probabilities", "scales", "selected"):
                values = [getattr(layer, name) for step in routing for layer in step]
                made[name].copy_(torch.stack(values).view_as(made[name]))

    def read(self, count: int, trace: bool) -> PolicySample:
        """The downloaded results of the first ``count`` observations, as tensors of their own."""
        host = self.made.host
        objects = host["objects"][:count].clone() if self.config.aux_positions else None
        routing = []
        if trace and "logits" in host:
            tokens = count * self.config.action_tokens
            names = ("logits", "probabilities", "selected", "scales")
            parts = [host[name][:, :, :tokens].clone() for name in names]
            routing = [
                [
                    Routing(*(part[step, layer] for part in parts))
                    for layer in range(parts[0].shape[1])
                ]
                for step in range(self._steps)
            ]
        return PolicySample(host["actions"][:count].clone(), objects, routing)


def padded(values: Tensor, batch: int) -> Tensor:
    """(b, ...) -> (B, ...), missing rows 0."""
    if len(values) == batch:
        return values
    out = values.new_zeros(batch, *values.shape[1:])
    out[: len(values)] = values
    return out
