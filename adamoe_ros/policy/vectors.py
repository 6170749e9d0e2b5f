# SPDX-License-Identifier: Apache-2.0
"""Physical state and action vectors of a checkpoint <-> its network's normalised, padded vectors.

In: pi0's ALOHA convention where the checkpoint has it, actions relative to the chunk's state where
its manifest says so, normalisation, padding. Out: the same backwards. Training and inference use
one object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.policy.aloha import ADAPTERS
from adamoe_ros.policy.normalise import Normalizer, NormStats, make_normalizer

Vector = NDArray[np.float64]


class VectorSpace:
    """Conversions of one checkpoint; D state entries (and, where its manifest has no others, of an
    action row), S and A widths of the model vectors.

    Args:
        manifest: representation of each joint, ALOHA generation, normalisation; not ``raw_only``.
        statistics: in the convention that the network sees.
        state_dim, action_dim: S and A.
    """

    def __init__(
        self,
        manifest: CheckpointManifest,
        statistics: NormStats,
        state_dim: int,
        action_dim: int,
    ) -> None:
        method, eps = manifest.normalization, manifest.normalization_eps
        if method is None or eps is None:
            raise ValueError("a raw-only checkpoint has no physical vectors")
        self.state: Normalizer = make_normalizer(statistics.state, method, eps, state_dim)
        self.actions: Normalizer = make_normalizer(statistics.actions, method, eps, action_dim)
        relative = [entry.representation == "relative" for entry in manifest.action_entries]
        self.relative = np.array(relative)
        adapt = manifest.adapt_to_pi
        self._adapter = None if adapt is None or adapt == "none" else ADAPTERS[adapt]

    def encode_state(self, state: NDArray[Any]) -> NDArray[np.float32]:
        """(..., D) physical -> (..., S)."""
        return self.state.apply(self.inner_state(state))

    def prompt_state(self, state: NDArray[Any]) -> Vector:
        """(..., D) physical -> (..., D) float64 normalised, as a prompt's digits are made of it."""
        return self.state.unpadded(self.inner_state(state))

    def encode_actions(self, actions: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float32]:
        """(..., H, D) physical and the (..., D) state they start from -> (..., H, A)."""
        return self.actions.apply(self.inner_actions(actions, state))

    def decode_actions(self, normalized: NDArray[Any], state: NDArray[Any]) -> Vector:
        """(..., H, A) and the (..., D) state of the observation -> (..., H, D) physical."""
        inner = self.actions.invert(normalized) + self._anchor(state)
        return inner if self._adapter is None else self._adapter.actions_out(inner)

    def anchors(
        self, old: NDArray[Any], new: NDArray[Any]
    ) -> tuple[NDArray[np.bool_], Vector, Vector, Vector]:
        """What ``control.rtc_math.reanchor`` takes, (A,) each, for two (D,) physical states.

        Returns: which entries are relative, both states, the scale of the normalisation.
        """
        kept = len(self.relative)
        padding = (0, self.actions.width - kept)
        states = [np.pad(self.inner_state(state)[:kept], padding) for state in (old, new)]
        scale = np.pad(self.actions.scale_in, padding, constant_values=1.0)
        return np.pad(self.relative, padding), states[0], states[1], scale

    def inner_state(self, state: NDArray[Any]) -> Vector:
        """(..., D) physical -> (..., D) in the convention of the statistics."""
        values = np.asarray(state, dtype=np.float64)
        return values if self._adapter is None else self._adapter.state_in(values)

    def inner_actions(self, actions: NDArray[Any], state: NDArray[Any]) -> Vector:
        """(..., H, D) physical, (..., D) state -> (..., H, D) in the statistics' convention."""
        inner = np.asarray(actions, dtype=np.float64)
        if self._adapter is not None:
            inner = self._adapter.actions_in(inner)
        return inner - self._anchor(state)

    def _anchor(self, state: NDArray[Any]) -> Vector:
        """(..., 1, D): the state where actions are relative to it, else 0."""
        if not self.relative.any():
            return np.zeros(1)
        states = self.inner_state(state)[..., : len(self.relative)]
        return np.where(self.relative, states, 0.0)[..., None, :]
