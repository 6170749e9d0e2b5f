# SPDX-License-Identifier: Apache-2.0
"""A policy of an end effector (8 numbers in, 7 out, two cameras), from its dataset to openpi's client."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from serving_support import serving
from training_sizes import SMALL_CHANGES

from adamoe_ros import load_policy
from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.manifest import load_manifest
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import ENVIRONMENT, OURS
from adamoe_ros.data.lerobot.dataset_writer import assemble
from adamoe_ros.data.lerobot.episode_writer import EpisodeWriter, FrameRow
from adamoe_ros.evaluation.libero_benchmark import OpenpiClient
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.libero_dataset import (
    ACTION_ROLES,
    OBJECT_POSITIONS,
    STATE_ROLES,
    LiberoJob,
)
from adamoe_ros.training.suite_dataset import SuiteOutcome, shown_frame

SENTENCE = "pick up the ketchup and place it in the basket"
CONFIG = Path(__file__).parents[3] / "config" / "training" / "libero_object.yaml"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One episode of random numbers, as ``adamoe dataset generate --suite libero_object`` writes it."""
    folder, rng = tmp_path_factory.mktemp("libero"), np.random.default_rng(0)
    job = LiberoJob(folder / "set", ("libero_object-0",), 1)
    schema, staged = job.schema(), folder / "staged"
    writer = EpisodeWriter(staged, schema, 23)
    for step in range(12):
        frames = {
            camera.slot: shown_frame(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
            for camera in schema.cameras
        }
        stamps = np.full(4, step * 50_000_000, np.int64)
        vectors = rng.normal(size=8), rng.uniform(-1, 1, 7)
        places = np.arange(6.0) + step
        writer.add(FrameRow(*vectors, stamps, SENTENCE, frames, environment=places))
    writer.close({"success": True})
    assemble([staged], job.target, schema, "v3.0", job.details(SuiteOutcome()))
    return job.target


@pytest.fixture(scope="module")
def checkpoint(dataset: Path) -> Path:
    """Trained on it for two steps by the shipped settings, with a smaller network."""
    changes = {**SMALL_CHANGES, "aux_positions": 2, "state_dim": 8, "action_dim": 7}
    changes["prompt_length"] = 24
    out = dataset.parent / "run"
    settings = {
        **{"steps": 2, "perception_steps": 1, "batch_size": 4, "threads": 1, "tensorboard": False},
        **{"data.dataset": str(dataset), "data.cache": str(dataset.parent / "cache")},
        "model.changes": {**changes, "moe": {"variant": "dense", "num_experts": 0, "top_k": 0}},
    }
    words = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    assert main(["train", "--config", str(CONFIG), "--out", str(out), *words]) == 0
    return out / "checkpoint"


def test_the_dataset_has_both_vectors_and_no_errors(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Dataset(dataset)
    assert opened.names("observation.state") == list(STATE_ROLES)
    assert opened.names("action") == list(ACTION_ROLES)
    assert list(opened.cameras) == ["image", "wrist_image"]
    assert main(["dataset", "validate", str(dataset)]) == 0
    assert "0 errors" in capsys.readouterr().out


def test_where_things_are_is_read_for_the_auxiliary_loss(dataset: Path) -> None:
    """Only where the dataset says that these columns are positions."""
    (episode,), _ = load_episodes(dataset, Reading((16, 16)))
    assert episode.objects is not None
    np.testing.assert_array_equal(episode.objects, np.arange(6) + np.arange(12)[:, None])
    assert Dataset(dataset).names(ENVIRONMENT) == ["object_x", *OBJECT_POSITIONS[1:]]
    other = dataset.with_name("other")
    shutil.copytree(dataset, other)
    ours = json.loads((other / OURS).read_text())
    del ours["object_positions"]
    (other / OURS).write_text(json.dumps(ours))
    (unnamed,), _ = load_episodes(other, Reading((16, 16)))
    assert unnamed.objects is None


def test_the_checkpoint_says_what_its_numbers_mean(checkpoint: Path) -> None:
    manifest = read_checkpoint(checkpoint).manifest
    kinds = [entry.kind for entry in manifest.joints]
    assert kinds == ["position"] * 3 + ["rotation"] * 3 + ["prismatic"] * 2
    assert [entry.representation for entry in manifest.actions] == ["increment"] * 6 + ["absolute"]
    assert manifest.actions[6].kind == "gripper"
    assert manifest.gripper is not None and manifest.gripper.open == -1.0


def test_an_openpi_client_gets_seven_columns(checkpoint: Path) -> None:
    picture = np.zeros((224, 224, 3), np.uint8)
    frame = {"observation/image": picture, "observation/wrist_image": picture, "prompt": SENTENCE}
    frame["observation/state"] = np.zeros(8)
    with serving(checkpoint, interface=("libero",)) as (_, port):
        client = OpenpiClient(f"ws://127.0.0.1:{port}/openpi")
        rows = client.infer(frame)
        with pytest.raises(ContractError, match=r"observation/state: expected numbers of shape"):
            client.infer({**frame, "observation/state": np.zeros(7)})
        client.close()
    assert rows.shape == (6, 7)
    with load_policy(checkpoint, device="cpu", seed=0) as policy:
        made = policy.infer({"base_0_rgb": picture}, np.zeros(8), SENTENCE)
        assert made.names == ACTION_ROLES
        assert made.rows.shape == (6, 7)
        assert policy.names == STATE_ROLES


@pytest.mark.parametrize("profile", ["aloha_sim", "franka_dual"])
def test_it_never_reaches_a_robot(checkpoint: Path, profile: str) -> None:
    manifest = load_manifest(checkpoint / "manifest.json")
    robot = load_profile(profile_path(profile, robots_dir()))
    with pytest.raises(ContractError) as refused:
        build_joint_map(robot, manifest)
    (line,) = refused.value.problems
    assert line.startswith(
        f"checkpoint: actions: expected set points of the joints of profile {profile}"
    )
    assert "ee_x" in line
