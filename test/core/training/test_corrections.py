# SPDX-License-Identifier: Apache-2.0
"""``data.correction_weight``: how often frames are seen in which a human led the arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.sampling import BalancedOrder, ShuffledOrder
from adamoe_ros.training.trainer import sample_order
from adamoe_ros.training.training_config import load_config

LED = np.arange(40) % 4 == 0


class Source:
    """What the trainer asks its samples for the order."""

    def __init__(self, led: np.ndarray) -> None:
        self._led = led

    def __len__(self) -> int:
        return len(self._led)

    def led(self) -> np.ndarray:
        return self._led

    def tasks(self) -> np.ndarray:
        return (np.arange(len(self._led)) < 8).astype(np.int64)


def order(led: np.ndarray = LED, **data: Any) -> Any:
    words = [f"data.{key}={value}" for key, value in data.items()]
    return sample_order(load_config(None, [*words, "batch_size=20"]), Source(led))


def test_one_changes_nothing() -> None:
    plain = order(correction_weight=1.0)
    assert isinstance(plain, ShuffledOrder)
    np.testing.assert_array_equal(plain.indices(3), ShuffledOrder(40, 20, 0).indices(3))
    balanced = order(balanced_tasks="true")
    tasks = (np.arange(40) < 8).astype(np.int64)
    np.testing.assert_array_equal(balanced.indices(3), BalancedOrder(tasks, 20, 0).indices(3))


def test_corrections_are_seen_as_often_as_asked_for() -> None:
    seen = np.concatenate([order(correction_weight=6.0).indices(step) for step in range(400)])
    # 10 led frames of weight 6 beside 30 of weight 1
    assert LED[seen].mean() == pytest.approx(60 / 90, abs=0.03)
    shares = np.bincount(seen[LED[seen]], minlength=40)[LED]
    assert shares.min() > 0.7 * shares.mean()


def test_within_balanced_tasks() -> None:
    drawn = order(correction_weight=6.0, balanced_tasks="true")
    seen = np.concatenate([drawn.indices(step) for step in range(400)])
    assert (seen < 8).mean() == pytest.approx(0.5, abs=0.03)
    assert LED[seen[seen < 8]].mean() == pytest.approx(12 / 18, abs=0.04)


def test_without_a_correction_it_is_refused() -> None:
    with pytest.raises(ContractError, match=r"correction_weight: .*none; leave it at 1"):
        order(np.zeros(40, bool), correction_weight=2.0)


@pytest.mark.parametrize("value", ["0", "-1", ".nan", ".inf", "1001"])
def test_the_weight_has_bounds(value: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"data\.correction_weight"):
        load_config(None, [f"data.correction_weight={value}"])
