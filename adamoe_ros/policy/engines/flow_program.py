# SPDX-License-Identifier: Apache-2.0
"""The state token once, then the flow steps, with everything constant computed beforehand.

    once per network   the table of what time does at each step; pi0's action projection folded
                       into its time MLP
    once per chunk     the state token's keys and values (pi0), rotary tables, mask
    per step           the action tokens

Time enters pi0 as a vector that is added within its time MLP, pi0.5 as the modulations of all norms:
a row of the table either way, so that the weights it is made of are not read while sampling. A token
may be made of given rows, whose time is 0, and others: the table has every such share.
Shapes: B batch, H rows, A action width, T action tokens, D width, S keys, p rows per action token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.flow import euler_times, integrate_flow, time_embedding
from adamoe_ros.model.gemma import AdaRMSNorm, GemmaLayer
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
    normalise,
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


def plain(layer: nn.Linear) -> PlainLinear:
    """A small layer as it is."""
    return PlainLinear(layer.weight.detach(), None if layer.bias is None else layer.bias.detach())


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
        rows = batch * config.action_tokens
        if config.pi05:
            self.action_in = plain(network.action_in_proj)
            norms = [norm for norm in network.modules() if isinstance(norm, AdaRMSNorm)]
            self._modulations = [plain(norm.modulation) for norm in norms]
            self._time_mlp = [plain(network.time_mlp_in), plain(network.time_mlp_out)]
        else:
            self._project_state = plain(network.state_proj)
            self._fold_action(network)
            self.mlp_out = forms.linear([network.action_time_mlp_out], rows)
        self.out_norm = norm_weight(network.expert.norm)
        self.out = plain(network.action_out_proj)
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

    def schedule(self, steps: int) -> tuple[Tensor, Tensor]:
        """Times (N,) of N steps, and what each does to a token with 0 to p given rows.

        Returns: times, and (N, p + 1, ...) of ``_effect``.
        """
        if steps not in self._schedules:
            times = euler_times(steps, self.out.weight.device)
            shares = torch.linspace(0, 1, self.config.action_patch + 1, device=times.device)
            width = self.config.expert.width
            taken, given = time_embedding(times, width), time_embedding(times.new_zeros(1), width)
            mixed = torch.lerp(taken[:, None], given[None], shares[None, :, None])
            self._schedules[steps] = (times, self._effect(mixed))
        return self._schedules[steps]

    def _effect(self, when: Tensor) -> Tensor:
        """Embedded times (N, p + 1, D) -> what they do, float32.

        Returns: pi0: (N, p + 1, D), added in the time MLP. pi0.5: (N, p + 1, norms, 3, D),
            1 + scale, shift and gate of each norm in the order of the network.
        """
        if not self.config.pi05:
            return self._time_in(when)
        for layer in self._time_mlp:
            assert layer.bias is not None
            when = F.silu(F.linear(when, layer.weight.float(), layer.bias.float()))
        parts = [layer(when.to(layer.weight.dtype)).float() for layer in self._modulations]
        table = torch.stack(parts, 2).unflatten(-1, (3, -1))
        table[..., 0, :] += 1
        return table

    def begin(self, prefix: Prefix, state: Tensor, buffers: Buffers) -> Stage:
        """Add pi0's state token, which never sees an action.

        Args: state: (B, S) float32.
        """
        tokens = self.config.action_tokens
        place = buffers[0][0].shape[2] - tokens - self.config.state_tokens
        first = prefix.length.unsqueeze(1) + self.config.state_tokens
        later = self.heads.table(first + torch.arange(tokens, device=first.device))
        if not self.config.pi05:
            self._add_state(prefix, state, buffers, place)
        return Stage(later, prefix.mask, buffers, place + self.config.state_tokens)

    def _add_state(self, prefix: Prefix, state: Tensor, buffers: Buffers, place: int) -> None:
        x = self._project_state(state.to(self._project_state.weight.dtype)).to(self.dtype)
        x = x.unsqueeze(1)
        mask = None if prefix.mask is None else prefix.mask[..., : place + 1]
        table = self.heads.table(prefix.length.unsqueeze(1))
        *inner, last = list(zip(self.blocks, buffers, strict=True))
        for block, (keys, values) in inner:
            x = self.run_block(block, x, table, keys, values, place, mask)
        last[0].write_keys_values(x, table, *last[1], place)

    def velocity(
        self, stage: Stage, x: Tensor, when: Tensor, trace: list[Routing] | None = None
    ) -> Tensor:
        """One evaluation of the network.

        Args:
            x: (B, H, A) float32. when: (B or 1, T or 1, ...) of ``schedule``.

        Returns: (B, H, A) float32.
        """
        batch, rows, width = x.shape
        patches = x.reshape(batch, -1, self.config.action_patch * width)
        modulations: list[Tensor | None] = [None] * (len(self.blocks) + 1)
        if self.config.pi05:
            h = self.action_in(patches.to(self.action_in.weight.dtype)).to(self.dtype)
            modulations = [*when[:, :, :-1].split(2, 2), when[:, :, -1]]
        else:
            h = self.mlp_out(F.silu(self.action_in(patches) + when).to(self.dtype))
        *inner, last = modulations
        for block, own, (keys, values) in zip(self.blocks, inner, stage.buffers, strict=True):
            table, first, mask = stage.table, stage.first, stage.mask
            # one list a layer: torch compiles a layer anew for every length that it sees
            routed: list[Routing] | None = None if trace is None else []
            h = self.run_block(block, h, table, keys, values, first, mask, routed, own)
            if trace is not None:
                trace += routed or []
        out = self.out(normalise(h, self.out_norm, last).to(self.out.weight.dtype))
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
        times, table = self.schedule(
            self.config.flow_steps if options.steps is None else options.steps
        )
        ahead = iter(table)
        given: Tensor | None = None
        if options.frozen is not None:  # rows of each token, (B, T)
            given = options.frozen.mask.unflatten(1, (-1, self.config.action_patch)).sum(2)

        def velocity(x: Tensor, _: Tensor) -> Tensor:
            step = next(ahead)
            when = step[None, :1] if given is None else step[given]
            trace: list[Routing] | None = None
            if routing is not None:
                trace = []
                routing.append(trace)
            return self.velocity(stage, x, when, trace)

        return integrate_flow(velocity, noise, times, options)
