# SPDX-License-Identifier: Apache-2.0
"""What a run has saved, whole, whatever the number of processes that wrote it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed.checkpoint import FileSystemReader

from adamoe_ros.training.processes import ALONE
from adamoe_ros.training.run_state import latest_state, load_tensors


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the folder's state by its name there."""
    path = latest_state(folder)
    assert path is not None
    stored = FileSystemReader(path).read_metadata().state_dict_metadata
    found = {name: torch.zeros(m.size, dtype=m.properties.dtype) for name, m in stored.items()}
    load_tensors(path, found, ALONE)
    return found


def assert_same_state(one: Path, two: Path) -> None:
    """Bit for bit."""
    left, right = saved(one), saved(two)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name
