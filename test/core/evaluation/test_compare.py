# SPDX-License-Identifier: Apache-2.0
"""The comparison of mixtures: every arm starts from the same weights, runs, and is kept."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))

from compare_arms import ARMS, SIZES, Comparison  # noqa: E402
from compare_page import comparison_page  # noqa: E402
from compare_table import mean_interval, rows  # noqa: E402

from adamoe_ros.training.training_config import TrainingConfig, load_config  # noqa: E402

SMALL = {
    "vision.image_size": [24, 48], "vision.stem_channels": [4, 4, 4, 8], "vision.width": 16,
    "vision.depth": 0, "vision.heads": 2, "vision.mlp": 16, "vision.keypoints": 4,
    "prefix.width": 16, "prefix.mlp": 16, "prefix.depth": 2, "prefix.heads": 2,
    "prefix.head_dim": 8, "expert.width": 16, "expert.mlp": 16, "horizon": 20, "flow_steps": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compare")
    data = {"folder": str(folder / "data"), "episodes": 1}
    data["generate"] = [{"task": "lift_bar", "episodes": 2, "every": 80}]  # type: ignore[assignment]
    settings = {"steps": 2, "batch_size": 2, "log_every": 1, "device": "cpu", "threads": 1}
    config = TrainingConfig.model_validate(
        {**settings, "tensorboard": False, "data": data, "model": {"changes": SMALL}}
    )
    size = replace(SIZES["cpu-smoke"], origin_steps=1, episodes=0, held_out=1, every=1)
    return Comparison(size, config, "settings of the test", folder / "runs")


def test_arms_run_and_are_kept(job: Comparison) -> None:
    results = [job.run(ARMS[name], 0) for name in ("dense", "dense_x2", "adamoe_e4k2")]
    dense, wide, mixture = results
    assert dense["active_parameters"] == dense["parameters"] < wide["parameters"]
    assert wide["parameters"] < mixture["active_parameters"] < mixture["parameters"]
    # the same origin, samples and noise: widening changes nothing of the first step's loss
    assert wide["curve"][0]["flow"] == pytest.approx(dense["curve"][0]["flow"], rel=1e-3)
    assert "balance" in mixture["curve"][0] and "balance" not in dense["curve"][0]
    for arm, result in zip(("dense", "dense_x2", "adamoe_e4k2"), results, strict=True):
        assert job.result(ARMS[arm], 0) == result
        assert 0 < result["held_out"]["arms_mrad"] < 2000
    assert job.result(ARMS["dense"], 1) is None
    other = replace(job, size=replace(job.size, origin_steps=2))
    assert other.result(ARMS["dense"], 0) is None  # another origin is another comparison
    found = rows(list(ARMS.values()), results)
    assert [row["arm"] for row in found] == ["dense", "dense_x2", "adamoe_e4k2"]
    document = {
        "arms": found, "runs": results, "size": "test", "complete": False,
        "machine": {"cpu": "some", "commit": "none"},
        "settings": {"arm_steps": 2, "batch_size": 2, "origin_steps": 1, "tasks": ["lift_bar"],
                     "seeds": [0]},
    }  # fmt: skip
    page = comparison_page(document, {}, dict.fromkeys(ARMS, job.folder))
    assert "adamoe_e4k2" in page and "Not all runs are done" in page


def test_intervals_over_seeds() -> None:
    assert mean_interval([0.5]) == {"mean": 0.5, "interval_95": None}
    found = mean_interval([1.0, 2.0, 3.0])  # 2 +- 4.303 / sqrt(3)
    assert found["mean"] == 2 and found["interval_95"] == pytest.approx([-0.4843, 4.4843], abs=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_shipped_settings_leave_demonstrations_out(size: str) -> None:
    config = load_config(ROOT / "config" / "training" / "compare" / f"{size}.yaml")
    assert config.data.episodes is not None and len(SIZES[size].seeds) >= 3
    for made in config.data.generate:
        assert made.episodes >= config.data.episodes + SIZES[size].held_out
        trained = range(made.first_seed, made.first_seed + made.episodes)
        evaluated = range(SIZES[size].first_seed, SIZES[size].first_seed + SIZES[size].episodes)
        assert not set(trained) & set(evaluated)
