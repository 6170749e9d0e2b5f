# SPDX-License-Identifier: Apache-2.0
"""Files beside foreign weights: settings, openpi's statistics, tokenizers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.config import Architecture
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.sources import first_line
from adamoe_ros.policy.normalise import load_norm_stats

OPENPI_SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "paligemma_tokenizer.model")
_STATISTICS = "norm_stats.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file.

    Raises:
        ContractError: another thing than an object.
    """
    if not path.is_file():
        return {}
    do = "copy or download it again"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ContractError(problem(str(path), "JSON", first_line(error), do)) from error
    if not isinstance(tree, dict):
        raise ContractError(problem(str(path), "a JSON object", type(tree).__name__, do))
    return tree


def mapping(where: str, value: Any) -> dict[str, Any]:
    """A JSON object within a file; empty where nothing stands.

    Raises:
        ContractError: something else stands there.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        do = "copy or download it again"
        raise ContractError(problem(where, "a JSON object", f"{value!r:.60}", do))
    return value


def expect(where: str, settings: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Settings that this network has no room for must be pi0's, where they are given.

    Args:
        fixed: dotted key -> the only value.

    Raises:
        ContractError: every other value.
    """
    problems = Problems()
    for key, value in fixed.items():
        got: Any = settings
        for part in key.split("."):
            got = got.get(part) if isinstance(got, Mapping) else None
        if got is not None and got != value:
            problems.add(f"{where}: {key}", str(value), got, "this network cannot compute it")
    problems.raise_if_any()


PERIODS = {"min_period": 0.004, "max_period": 4.0}


def set_openpi(metadata: CheckpointMetadata, architecture: Architecture) -> None:
    """What openpi's code fixes for every pi0, or pi0.5.

    Whether pi0.5's prompt holds the state is in none of its files: of its published configurations
    pi05_libero's does not.
    """
    pi05 = architecture == "pi05"
    metadata.set(
        f"fixed in openpi's {'pi0.5' if pi05 else 'pi0'}",
        camera_slots=OPENPI_SLOTS,
        prompt_length=200 if pi05 else 48,
        flow_steps=10,
        prompt_style="openpi",
        normalization="quantile" if pi05 else "mean_std",
        normalization_eps=1e-6,
    )


def read_assets(metadata: CheckpointMetadata, folder: Path, asset: str | None) -> None:
    """Statistics in ``assets/<asset id>/norm_stats.json``.

    Args:
        asset: which; None: the only one.

    Raises:
        ContractError: several and none chosen, or none of this name.
    """
    assets = folder / "assets"
    found = {
        path.parent.relative_to(assets).as_posix(): path
        for path in sorted(assets.rglob(_STATISTICS))
    }
    if asset is not None and asset not in found:
        got = ", ".join(found) or "none"
        raise ContractError(problem(f"{assets}", f"statistics of {asset!r}", got, "choose another"))
    if asset is None and len(found) > 1:
        do = "choose with --asset NAME"
        raise ContractError(problem(f"{assets}", "one set of statistics", ", ".join(found), do))
    for name, path in found.items():
        if asset in (None, name):
            metadata.set(f"assets/{name}/{_STATISTICS}", statistics=load_norm_stats(path))


def read_tokenizer(metadata: CheckpointMetadata, folder: Path) -> None:
    """A tokenizer's file beside the weights."""
    for name in _TOKENIZERS:
        if (folder / name).is_file():
            metadata.set("beside the weights", tokenizer=folder / name)
            return
