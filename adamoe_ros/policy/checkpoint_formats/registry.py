# SPDX-License-Identifier: Apache-2.0
"""The formats that can be read and written, by the names of the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adamoe_ros.policy.checkpoint_formats import (
    lerobot,
    openpi_jax,
    openpi_torch,
    transformers_pi0,
)
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import ForeignCheckpoint

IMPORTS: dict[str, Callable[[Path, str | None], ForeignCheckpoint]] = {
    "openpi-jax": openpi_jax.open_pi0,
    "adamoe-jax": openpi_jax.open_adamoe,
    "openpi-torch": openpi_torch.open_source,
    "lerobot": lerobot.open_source,
    "transformers": transformers_pi0.open_source,
}
"""Layout -> opener of (source, asset id or None)."""
