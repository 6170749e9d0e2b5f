# SPDX-License-Identifier: Apache-2.0
"""The doctor with a checkpoint: its files, the pose against its training data, the model's pictures."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from policy_support import make_pi05_checkpoint

from adamoe_ros.contract.manifest import load_manifest
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import state_topics
from adamoe_ros.policy.checkpoint import Checkpoint
from adamoe_ros.policy.resizing import resize_picture
from adamoe_ros.ros.doctor import file_checks as files
from adamoe_ros.ros.doctor.model_checks import check_pose, open_checkpoint
from adamoe_ros.ros.doctor.report import Check, Report
from adamoe_ros.ros.doctor.views import save_views

DEMO = Path(__file__).resolve().parents[3] / "checkpoints" / "demo"
SIM = load_profile(profile_path("aloha_sim", robots_dir()))
TOPICS = state_topics(SIM)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    opened = open_checkpoint(Report(), DEMO)
    assert opened is not None
    return opened


def pose(first: float = 0.0) -> list[SimpleNamespace]:
    """Home, with the first joint of each arm moved."""
    messages = []
    for topic in TOPICS:
        arm = next(arm for side, arm in SIM.ordered_arms if side in topic.source.topic)
        values = list(arm.home)
        values[0] += first
        messages.append(SimpleNamespace(name=list(topic.names), position=values))
    return messages


def judged(checkpoint: Checkpoint, messages: list[SimpleNamespace]) -> list[Check]:
    return list(check_pose(SIM, checkpoint, list(zip(TOPICS, messages, strict=True))))


def test_the_home_pose_is_inside_of_the_training_data(checkpoint: Checkpoint) -> None:
    assert [check.outcome for check in judged(checkpoint, pose())] == ["ok"]


def test_a_pose_outside_of_the_training_data_names_the_joint(checkpoint: Checkpoint) -> None:
    checks = judged(checkpoint, pose(first=1.4))
    assert {check.outcome for check in checks} == {"fail"}
    assert "left/waist" in checks[0].text
    assert "home pose" in checks[0].text


def test_without_all_joints_the_pose_stays_unchecked(checkpoint: Checkpoint) -> None:
    messages = pose()
    messages[0].name[1] = "other"
    assert [check.outcome for check in judged(checkpoint, messages)] == ["unchecked"]


def test_files_that_do_not_fit_each_other_are_all_named(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(DEMO, folder)
    (folder / "norm_stats.json").write_text('{"norm_stats": {}}')
    (folder / "config.json").write_text("{")
    report = Report()
    assert open_checkpoint(report, folder) is None
    assert report.count("fail") >= 2
    text = report.text()
    assert "norm_stats" in text
    assert "config.json" in text


def test_which_architecture_it_is(tmp_path: Path) -> None:
    report = Report()
    files.check_checkpoint(report, make_pi05_checkpoint(tmp_path / "made"))
    assert "pi05, vx300s_dual, 14 joints, 50 Hz" in report.text()
    assert report.count("fail") == 0


def test_a_gpu_without_room_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    size = files.weight_bytes(DEMO / "model.safetensors")
    for free, outcome in ((size, "fail"), (2 * size, "ok")):
        monkeypatch.setattr(files, "_device_memory", lambda free=free: free)
        report = Report()
        files.check_checkpoint(report, DEMO)
        found = {check.name: check for check in report.checks}
        assert found["weights"].outcome == outcome
        assert "free" in found["weights"].text


def test_commands_slower_than_the_rows_of_the_checkpoint_fail() -> None:
    manifest = load_manifest(DEMO / "manifest.json")
    rate = float(manifest.control_rate_hz or 0.0)
    for command_rate, outcome in ((rate / 2, "fail"), (2 * rate, "ok")):
        report = Report()
        slow = SIM.model_copy(update={"command_rate": command_rate})
        files.check_match(report, slow, manifest)
        found = {check.name: check for check in report.checks}
        assert found["rates"].outcome == outcome


def test_pictures_are_written_as_the_model_sees_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (480, 640, 3), dtype=np.uint8)
    message = SimpleNamespace(
        height=480, width=640, encoding="rgb8", is_bigendian=0, step=1920, data=pixels.tobytes()
    )
    save_views(Report(), SIM, {"cam_high": message}, tmp_path, size=(224, 224))
    data = (tmp_path / "cam_high_model.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (224, 224)
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    rows = np.frombuffer(zlib.decompress(data[start : start + length]), np.uint8).reshape(224, -1)
    picture = rows[:, 1:].reshape(224, 224, 3)
    assert (picture == resize_picture(pixels, (224, 224))).all()
    assert not picture[:28].any() and not picture[-28:].any()  # padded to a square
    assert picture[28:-28].all()
