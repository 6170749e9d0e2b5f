# SPDX-License-Identifier: Apache-2.0
"""The state token once, then the flow steps, with everything constant computed beforehand.

    once per network   time vectors of all steps; the action projection folded into the time MLP
    once per chunk     the state token's keys and values, rotary tables, mask
    per step           the action tokens

Shapes: B batch, H rows, A action width, T action tokens, D width, S keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.flow import euler_times, integrate_flow, time_embedding
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.moe import Routing
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.attention import Table
from adamoe_ros.policy.engines.linears import PlainLinear
from adamoe_ros.policy.engines.prefix_program import Buffers, Prefix, heads_of
from adamoe_ros.policy.engines.transformer_block import (
    Block,
    BlockRunner,
    make_block,
    norm_weight,
    rms_norm,
    run_block,
)
from adamoe_ros.policy.engines.weight_forms import WeightForms


@dataclass(frozen=True)
class Stage:
    """Of one chunk, constant over its steps.

    Attributes:
        table: rotary table of the action tokens.
        mask: additive (B, 1, 1, S) or None.
        buffers: keys and values of prefix and state token, and room for the action tokens'.
        first: place of the first action token.
    """

    table: Table
    mask: Tensor | None
    buffers: Buffers
    first: int


class FlowProgram:
    """Flow steps of fixed shape without synchronisation.

    Args:
        network: taken over as ``forms`` says.
        batch: that weights are laid out for.
        run_block: of ``gemma.block_runner``.
    """

    def __init__(
        self,
        network: AdaMoEPolicy,
        forms: WeightForms,
        batch: int = 1,
        run_block: BlockRunner = run_block,
    ) -> None:
        self.run_block = run_block
        self.config = config = network.config
        self.dtype = network.dtype
        self.heads = heads = heads_of(network, forms)
        self._project_state = PlainLinear(
            network.state_proj.weight.detach(), network.state_proj.bias.detach()
        )
        self._fold_action(network)
        rows = batch * config.action_tokens
        self.mlp_out = forms.linear([network.action_time_mlp_out], rows)
        self.out_norm = norm_weight(network.expert.norm)
        self.out = PlainLinear(
            network.action_out_proj.weight.detach(), network.action_out_proj.bias.detach()
        )
        self.blocks: list[Block] = [
            make_block(layer, forms, rows, heads)
            for layer in network.expert.layers
            if isinstance(layer, GemmaLayer)
        ]
        self._schedules: dict[int, tuple[Tensor, Tensor]] = {}

    def _fold_action(self, network: AdaMoEPolicy) -> None:
        """mlp_in [W_a a + b_a, time] + b = (M_1 W_a) a + M_2 time + (M_1 b_a + b), in float32."""
        width = self.config.expert.width
        inner, outer = network.action_in_proj, network.action_time_mlp_in
        m_action, m_time = outer.weight.detach().double().split(width, 1)
        assert outer.bias is not None and inner.bias is not None
        self.action_in = PlainLinear((m_action @ inner.weight.detach().double()).float())
        bias = m_action @ inner.bias.detach().double() + outer.bias.detach().double()
        self._time_in = PlainLinear(m_time.float(), bias.float())

    def time_vectors(self, time: Tensor) -> Tensor:
        """(..., ) flow times -> (..., D) float32, what the time MLP's first layer adds."""
        return self._time_in(time_embedding(time, self.config.expert.width))

    def schedule(self, steps: int) -> tuple[Tensor, Tensor]:
        """Times (N,) of N steps, and their vectors (N + 1, D); the last is of time 0."""
        if steps not in self._schedules:
            times = euler_times(steps, self.out.weight.device)
            ends = torch.cat([times, times.new_zeros(1)])
            self._schedules[steps] = (times, self.time_vectors(ends))
        return self._schedules[steps]

    def begin(self, prefix: Prefix, state: Tensor, buffers: Buffers) -> Stage:
        """Add the state token, which never sees an action.

        Args: state: (B, S) float32.
        """
        tokens = self.config.action_tokens
        place = buffers[0][0].shape[2] - tokens - 1
        x = self._project_state(state.to(self._project_state.weight.dtype)).to(self.dtype)
        x = x.unsqueeze(1)
        mask = None if prefix.mask is None else prefix.mask[..., : place + 1]
        table = self.heads.table(prefix.length.unsqueeze(1))
        *inner, last = list(zip(self.blocks, buffers, strict=True))
        for block, (keys, values) in inner:
            x = self.run_block(block, x, table, keys, values, place, mask)
        last[0].write_keys_values(x, table, *last[1], place)
        later = prefix.length.unsqueeze(1) + 1 + torch.arange(tokens, device=x.device)
        return Stage(self.heads.table(later), prefix.mask, buffers, place + 1)

    def velocity(
        self, stage: Stage, x: Tensor, vector: Tensor, trace: list[Routing] | None = None
    ) -> Tensor:
        """One evaluation of the network.

        Args:
            x: (B, H, A) float32. vector: (B or 1, T or 1, D) of ``time_vectors``.

        Returns: (B, H, A) float32.
        """
        batch, rows, width = x.shape
        patches = x.reshape(batch, -1, self.config.action_patch * width)
        h = F.silu(self.action_in(patches) + vector).to(self.dtype)
        h = self.mlp_out(h)
        for block, (keys, values) in zip(self.blocks, stage.buffers, strict=True):
            table, first, mask = stage.table, stage.first, stage.mask
            # one list a layer: torch compiles a layer anew for every length that it sees
            own: list[Routing] | None = None if trace is None else []
            h = self.run_block(block, h, table, keys, values, first, mask, own)
            if trace is not None:
                trace += own or []
        out = self.out(rms_norm(h, self.out_norm).to(self.out.weight.dtype))
        return out.float().reshape(batch, rows, width)

    def run(
        self,
        stage: Stage,
        noise: Tensor,
        options: SamplingOptions,
        routing: list[list[Routing]] | None = None,
    ) -> Tensor:
        """Integrate from noise (B, H, A) to normalised actions (B, H, A), both float32.

        Args:
            options: with an identity Jacobian only: each step evaluates the network once.
            routing: receives one list per step of one ``Routing`` per layer.
        """
        times, vectors = self.schedule(
            self.config.flow_steps if options.steps is None else options.steps
        )
        ahead = iter(vectors)
        share: Tensor | None = None
        if options.frozen is not None:
            rows = options.frozen.mask.float().unsqueeze(-1)
            share = rows.unflatten(1, (-1, self.config.action_patch)).mean(2)

        def velocity(x: Tensor, _: Tensor) -> Tensor:
            vector = next(ahead).view(1, 1, -1)
            if share is not None:  # exact: vectors are linear in the share of frozen rows
                vector = torch.lerp(vector, vectors[-1], share)
            trace: list[Routing] | None = None
            if routing is not None:
                trace = []
                routing.append(trace)
            return self.velocity(stage, x, vector, trace)

        return integrate_flow(velocity, noise, times, options)
