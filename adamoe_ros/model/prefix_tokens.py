# SPDX-License-Identifier: Apache-2.0
"""Which prefix tokens exist: absent cameras and prompt padding are left out, not masked.

Dropping a token and masking it give the same numbers, because positions count valid tokens only.
Samples of a batch may differ: then each keeps its own tokens, in order, and shorter ones are padded
to the longest. Made on the host from the masks, so masks on the CPU cost no synchronisation.
Shapes: B batch, V views, I tokens per view, L prompt tokens, P prefix tokens after packing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrefixTokens:
    """Places of the prefix tokens.

    Attributes:
        image_index: (N,) int64, places b * V + v of the present images.
        token_index: (B, P) int64 into the V * I + extra + L possible tokens of a sample, or None if
            all tokens that were computed are valid.
        length: (B,) int64 valid tokens of each sample.
        views: the present views where all samples agree, else None.
        prompt: prompt tokens that are computed.
    """

    image_index: Tensor
    token_index: Tensor | None
    length: Tensor
    views: tuple[int, ...] | None
    prompt: int

    @property
    def padded(self) -> bool:
        """Whether some sample is shorter than the longest."""
        return self.token_index is not None and bool((self.length != self.length.max()).any())


def select_prefix_tokens(
    image_mask: Tensor, token_mask: Tensor, view_tokens: int, extra: int
) -> PrefixTokens:
    """Select those of a batch.

    Args:
        image_mask: (B, V) bool, True where the camera delivered.
        token_mask: (B, L) bool, True at prompt tokens.
        view_tokens: I.
        extra: tokens after the images that are always there.
    """
    images, tokens = image_mask.bool().cpu(), token_mask.bool().cpu()
    index = images.flatten().nonzero().squeeze(1)
    batch = len(images)
    counts = tokens.sum(1)
    longest = int(counts.max()) if tokens.numel() else 0
    length = images.sum(1) * view_tokens + extra + counts
    same_views = bool((images == images[:1]).all())
    in_front = bool((tokens[:, :longest].sum(1) == longest).all())
    if same_views and in_front:
        views = tuple(int(v) for v in images[0].nonzero().squeeze(1))
        return PrefixTokens(index, None, length, views, longest)
    valid = torch.cat(
        [
            images.repeat_interleave(view_tokens, 1),
            torch.ones(batch, extra, dtype=torch.bool),
            tokens,
        ],
        1,
    )
    order = torch.argsort(~valid, dim=1, stable=True)[:, : int(length.max())]
    return PrefixTokens(index, order, length, None, tokens.shape[1])
