# SPDX-License-Identifier: Apache-2.0
"""Observations -> what the engine takes; normalised chunks -> what the robot is asked to do.

Pictures stay as the cameras delivered them: they are resized where the engine runs.
Shapes: B batch, V camera slots, L prompt tokens, S state width, H rows, A action width, D joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.observation import Observation
from adamoe_ros.policy.checkpoint import Checkpoint


@dataclass(frozen=True)
class ModelInputs:
    """A batch of observations in host memory.

    Attributes:
        frames: B tuples of V pictures (H, W, 3) uint8 RGB of any size; None: absent camera.
        token_ids: (B, L) int64.
        token_mask: (B, L) bool.
        state: (B, S) float32, normalised and padded.
    """

    frames: tuple[tuple[NDArray[np.uint8] | None, ...], ...]
    token_ids: NDArray[np.int64]
    token_mask: NDArray[np.bool_]
    state: NDArray[np.float32]

    @property
    def image_mask(self) -> NDArray[np.bool_]:
        """(B, V) bool, True where a camera delivered."""
        return np.array([[frame is not None for frame in row] for row in self.frames])

    def __len__(self) -> int:
        return len(self.frames)


class Processor:
    """Both directions for one checkpoint.

    Args:
        checkpoint: not raw-only.

    Raises:
        ContractError: the checkpoint is raw-only or its tokenizer damaged.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.slots = checkpoint.manifest.camera_slots
        self.vectors = checkpoint.vectors()
        self.prompts = checkpoint.prompts()

    def inputs(self, observations: Sequence[Observation]) -> ModelInputs:
        """What the engine takes; a slot without a picture is an absent camera."""
        # float32 first, as demonstrations keep it: training and inference then see the same bits
        states = np.stack([observation.state for observation in observations]).astype(np.float32)
        words = [observation.instruction for observation in observations]
        numbers = self.vectors.prompt_state(states)
        prompts = [self.prompts(*pair) for pair in zip(words, numbers, strict=True)]
        return ModelInputs(
            frames=tuple(tuple(o.images.get(slot) for slot in self.slots) for o in observations),
            token_ids=np.stack([ids for ids, _ in prompts]),
            token_mask=np.stack([mask for _, mask in prompts]),
            state=self.vectors.encode_state(states),
        )

    def actions(
        self, normalized: NDArray[np.float32], state: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(..., H, A) normalised and the (..., D) state of the observation -> (..., H, D)."""
        return self.vectors.decode_actions(normalized, state)
