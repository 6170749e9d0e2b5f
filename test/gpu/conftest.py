# SPDX-License-Identifier: Apache-2.0
"""Tests that need a CUDA device: ``pytest test/gpu``, by hand on a GPU machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

_CORE = Path(__file__).parents[1] / "core"
sys.path[:0] = [str(_CORE / "policy"), str(_CORE / "model")]
# cuDNN rounds float32 to 10 bits by default, and picks its algorithm by the batch: more than the
# differences that are looked for
torch.backends.cudnn.allow_tf32 = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all, and skip them aloud where there is no device: skipped is not passed."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device: nothing was tested"))
