# SPDX-License-Identifier: Apache-2.0
"""Which fixed shape a batch of observations runs in, and its small inputs in that shape.

Present cameras are moved to the front, prompts are cut to the longest, and what remains invalid
is masked: dropping a token and masking it give the same numbers, because positions count valid
tokens only. A device with captured graphs rounds the shape up to the next one it has a graph for.
Shapes: B batch, V cameras, I tokens per picture, L prompt tokens, P prefix tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.processing import ModelInputs


@dataclass(frozen=True, order=True)
class Shape:
    """Sizes of one program.

    Attributes:
        batch: observations.
        views: pictures per observation.
        prompt: prompt tokens.
    """

    batch: int
    views: int
    prompt: int

    def prefix_tokens(self, config: ModelConfig) -> int:
        """P."""
        return self.views * config.vision.tokens + (config.aux_positions > 0) + self.prompt

    def holds(self, other: Shape) -> bool:
        """Whether a batch of the other shape fits in."""
        return (
            self.batch >= other.batch and self.views >= other.views and self.prompt >= other.prompt
        )


@dataclass(frozen=True)
class SmallInputs:
    """A batch without its pictures.

    Attributes:
        slots: (B, views) int64 camera slot of each picture; absent ones last.
        present: (B, views) bool.
        token_ids: (B, prompt) int64.
        valid: (B, P) bool.
        state: (B, S) float32.
    """

    slots: NDArray[np.int64]
    present: NDArray[np.bool_]
    token_ids: NDArray[np.int64]
    valid: NDArray[np.bool_]
    state: NDArray[np.float32]

    @property
    def complete(self) -> bool:
        """Whether nothing needs a mask."""
        return bool(self.valid.all())


def exact_shape(inputs: ModelInputs) -> Shape:
    """The smallest shape that holds a batch."""
    views, prompts = inputs.image_mask.sum(1), inputs.token_mask.sum(1)
    return Shape(len(inputs), int(views.max()), int(prompts.max()))


def next_shape(wanted: Shape, known: Iterable[Shape]) -> Shape:
    """The cheapest known shape that holds the wanted one.

    Raises:
        ContractError: there is none; nothing is captured while a robot moves.
    """
    fitting = [shape for shape in known if shape.holds(wanted)]
    if not fitting:
        raise ContractError(
            problem(
                "engine",
                "a batch that fits a captured graph "
                + str([(s.batch, s.views, s.prompt) for s in sorted(known)]),
                f"(observations, cameras, prompt tokens) = "
                f"({wanted.batch}, {wanted.views}, {wanted.prompt})",
                "shorten the instruction, or configure the engine for this shape",
            )
        )
    return min(fitting, key=lambda s: (s.batch * s.views, s.batch, s.prompt))


def small_inputs(inputs: ModelInputs, shape: Shape, config: ModelConfig) -> SmallInputs:
    """Lay a batch out in a shape that holds it; missing observations repeat the first one."""
    rows = [*range(len(inputs)), *[0] * (shape.batch - len(inputs))]
    mask = inputs.image_mask[rows]
    slots = np.argsort(~mask, axis=1, kind="stable")[:, : shape.views]
    present = np.take_along_axis(mask, slots, 1)
    token_mask = inputs.token_mask[rows]
    front = np.argsort(~token_mask, axis=1, kind="stable")[:, : shape.prompt]
    in_prompt = np.take_along_axis(token_mask, front, 1)
    ids = np.take_along_axis(inputs.token_ids[rows], front, 1)
    extra = np.ones((shape.batch, int(config.aux_positions > 0)), bool)
    valid = np.concatenate(
        [present.repeat(config.vision.tokens, 1), extra, in_prompt], 1, dtype=bool
    )
    return SmallInputs(slots, present, np.where(in_prompt, ids, 0), valid, inputs.state[rows])


def frames_in_order(inputs: ModelInputs, small: SmallInputs) -> list[list[NDArray[Any] | None]]:
    """The pictures of each observation in the order of ``slots``; None: absent."""
    rows = []
    for row, (slots, present) in enumerate(zip(small.slots, small.present, strict=True)):
        frames = inputs.frames[row if row < len(inputs) else 0]
        rows.append([frames[s] if p else None for s, p in zip(slots, present, strict=True)])
    return rows
