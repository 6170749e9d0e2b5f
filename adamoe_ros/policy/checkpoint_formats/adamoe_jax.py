# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of AdaMoE's official code: openpi's JAX format and the experts' tensors.

The number of chosen experts is in no tensor; the variant shows in the scale adapter's shape.
"""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.model.config import Variant
from adamoe_ros.policy.checkpoint_formats import jax_names
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import ForeignCheckpoint
from adamoe_ros.policy.checkpoint_formats.openpi_jax import open_jax
from adamoe_ros.policy.checkpoint_formats.rules import vote


def open_source(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open an AdaMoE checkpoint.

    Raises:
        ContractError: missing or damaged files.
    """
    tensors, metadata = open_jax(source, asset)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    adapter = jax_names.SCALE in shapes
    rules = jax_names.adamoe_rules(adapter)
    sizes = vote(rules, shapes)
    variant: Variant = "vanilla"
    if adapter:
        wide = sizes.get("expert", 0) + sizes.get("experts", 0)
        variant = "csmoe" if sizes.get("seen") == wide else "adamoe"
        sizes["seen"] = wide if variant == "csmoe" else sizes.get("expert", 0)
    return ForeignCheckpoint(str(source), tensors, rules, sizes, frozenset(), variant, metadata, {})
