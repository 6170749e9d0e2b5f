# SPDX-License-Identifier: Apache-2.0
"""What a data set's numbers mean, as the manifest of a policy trained on it; against a checkpoint's.

Nothing is converted here: what differs is named.
"""

from __future__ import annotations

from datetime import datetime, timezone

from adamoe_ros import __version__
from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.manifest import (
    CheckpointManifest,
    GripperConvention,
    Provenance,
    action_entry,
    vector_entry,
)
from adamoe_ros.model.config import Architecture
from adamoe_ros.training.demonstration_set import DataLayout

NORMALIZATION_EPS = 1e-6
TOKENIZER_FILE = "tokenizer.json"


def make_manifest(
    layout: DataLayout,
    instructions: tuple[str, ...] = (),
    rtc_max_delay: int = 0,
    architecture: Architecture = "pi0",
) -> CheckpointManifest:
    """Manifest of a policy trained from scratch on data of this layout.

    Args:
        instructions: sentences it was trained on.
        rtc_max_delay: rows of clean prefix it was trained with.
        architecture: pi0.5 has quantiles, and its state in the prompt.
    """
    pi05 = architecture == "pi05"
    return CheckpointManifest(
        raw_only=False,
        architecture=architecture,
        embodiment=layout.embodiment,
        joints=tuple(map(vector_entry, layout.roles)),
        actions=tuple(map(action_entry, layout.action_roles)),
        gripper=GripperConvention(open=layout.gripper_open, closed=layout.gripper_closed),
        control_rate_hz=layout.control_rate_hz,
        camera_slots=layout.camera_slots,
        normalization="quantile" if pi05 else "mean_std",
        normalization_eps=NORMALIZATION_EPS,
        adapt_to_pi="none",
        prompt_style="plain",
        prompt_state="joints" if pi05 else "none",
        tokenizer=TOKENIZER_FILE,
        state_source=layout.state_source,
        rtc_max_delay=rtc_max_delay,
        instructions=instructions,
        provenance=provenance(),
    )


def provenance(notes: str = "") -> Provenance:
    """Of a checkpoint that is trained now.

    Args:
        notes: how, one sentence.
    """
    return Provenance(
        source="adamoe train",
        created_by=f"adamoe_ros {__version__}",
        created=datetime.now(timezone.utc).date().isoformat(),
        notes=notes,
    )


def check_meaning(manifest: CheckpointManifest, layout: DataLayout) -> None:
    """The data's layout must be the checkpoint's.

    Raises:
        ContractError: everything that differs.
    """
    data = make_manifest(layout)
    problems = Problems()
    for name in ("embodiment", "camera_slots", "gripper", "control_rate_hz", "state_source"):
        expected, got = getattr(manifest, name), getattr(data, name)
        if expected != got and (name, expected) != ("state_source", None):
            do = "convert the data with --checkpoint, or set model.inherit=weights"
            problems.add(f"data: {name}", f"{expected} as the checkpoint has", got, do)
    for name in ("joints", "actions"):
        expected, got = ([e.role for e in getattr(one, name)] for one in (manifest, data))
        if expected != got:
            mixed = "in another order: " if sorted(expected) == sorted(got) else ""
            do = "convert the data with --checkpoint, or set model.inherit=weights"
            problems.add(f"data: {name}", ", ".join(expected), f"{mixed}{', '.join(got)}", do)
    problems.raise_if_any()
