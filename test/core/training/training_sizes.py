# SPDX-License-Identifier: Apache-2.0
"""Sizes of a network that trains within seconds."""

SMALL_CHANGES = {
    "vision.image_size": [24, 24],
    "vision.stem_channels": [4, 6, 8, 8],
    "vision.keypoints": 4,
    "vision.width": 16,
    "vision.mlp": 16,
    "prefix.width": 16,
    "prefix.depth": 2,
    "prefix.mlp": 16,
    "prefix.head_dim": 8,
    "expert.width": 24,
    "expert.mlp": 16,
    "action_dim": 4,
    "state_dim": 4,
    "num_views": 2,
    "horizon": 6,
    "action_patch": 3,
    "aux_positions": 1,
    "prompt_length": 8,
}
