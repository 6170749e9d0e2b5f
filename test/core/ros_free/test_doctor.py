# SPDX-License-Identifier: Apache-2.0
"""The doctor's judgements, without ROS: files, joints, arrivals, DDS profile, exit code and JSON."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adamoe_ros.cli.main import main
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir, share_dir
from adamoe_ros.contract.topics import state_topics
from adamoe_ros.ros.doctor import system
from adamoe_ros.ros.doctor.file_checks import check_checkpoint, check_profile, weight_bytes
from adamoe_ros.ros.doctor.joint_checks import check_joints
from adamoe_ros.ros.doctor.report import Check, Report
from adamoe_ros.ros.doctor.stream_checks import Arrivals, check_arrivals
from adamoe_ros.ros.doctor.system import segment_size
from adamoe_ros.ros.doctor.views import save_views

SIM = load_profile(profile_path("aloha_sim", robots_dir()))
LEFT = state_topics(SIM)[0]


@dataclass
class Message:
    name: list[str]
    position: list[float]


def at_home() -> Message:
    return Message(list(LEFT.names), list(SIM.arms["left"].home))


def outcomes(checks: Iterable[Check]) -> dict[str, str]:
    return {check.name.split()[-1]: check.outcome for check in checks}


def judged(message: Message) -> list[Check]:
    return list(check_joints(SIM, LEFT, "/states", message))


def test_a_good_message_passes_and_tells_the_gripper() -> None:
    checks = judged(at_home())
    assert outcomes(checks) == {"joints": "ok", "values": "ok", "gripper": "ok"}
    assert "100 % open" in checks[-1].text


def test_order_does_not_matter_by_name_and_extra_joints_are_fine() -> None:
    message = at_home()
    message.name, message.position = message.name[::-1], message.position[::-1]
    message.name.append("left_finger")
    message.position.append(9.0)
    assert set(outcomes(judged(message)).values()) == {"ok"}


def test_a_missing_joint_names_what_is_there() -> None:
    message = at_home()
    message.name[2] = "elbo"
    (check,) = judged(message)
    assert check.outcome == "fail"
    assert "missing elbow" in check.text
    assert "elbo" in check.text


@pytest.mark.parametrize("value", [float("nan"), 57.0, -170.0])
def test_degrees_and_nan_are_outside_of_limits(value: float) -> None:
    message = at_home()
    message.position[1] = value
    assert outcomes(judged(message))["values"] == "fail"


def test_by_index_the_count_must_be_exact() -> None:
    profile = load_profile(profile_path("aloha_agilex", robots_dir()))
    topic = state_topics(profile)[0]
    good = Message(["a"] * 7, [0.0] * 7)
    assert outcomes(check_joints(profile, topic, "/s", good))["joints"] == "ok"
    short = Message(["a"] * 6, [0.0] * 6)
    assert outcomes(check_joints(profile, topic, "/s", short))["joints"] == "fail"


def arrivals(period: float, count: int, delay: float = 0.001, start: float = 100.0) -> Arrivals:
    made = Arrivals()
    for index in range(count):
        received = start + index * period
        made.note(round((received - delay) * 1e9), round(received * 1e9))
    return made


def test_a_regular_stream_is_ok() -> None:
    made = arrivals(0.01, 100)
    assert made.rate == pytest.approx(100.0)
    found = outcomes(check_arrivals("/t", made, 100.0, 0.2, 1.0))
    assert found == {"rate": "ok", "gaps": "ok", "stamps": "ok"}


@pytest.mark.parametrize(
    ("made", "which", "outcome"),
    [
        (arrivals(0.05, 20), "rate", "warn"),
        (arrivals(0.3, 5), "gaps", "fail"),
        (arrivals(0.01, 50, delay=3600.0), "stamps", "fail"),
        (arrivals(0.01, 50, delay=-0.05), "stamps", "warn"),
        (Arrivals([0] * 3, [10, 20, 30]), "stamps", "fail"),
        (Arrivals([3, 2, 1], [10, 20, 30]), "stamps", "warn"),
    ],
)
def test_what_is_wrong_with_a_stream(made: Arrivals, which: str, outcome: str) -> None:
    found = {check.name.split()[-1]: check for check in check_arrivals("/t", made, 100.0, 0.2, 1.0)}
    assert found[which].outcome == outcome
    assert ";" in found[which].text


def test_silence_is_one_failure() -> None:
    (check,) = check_arrivals("/t", Arrivals(), 100.0, 0.2, 2.0)
    assert check.outcome == "fail"
    assert "start the driver" in check.text


def test_the_shipped_dds_profile_has_room_for_frames() -> None:
    assert segment_size(share_dir() / "config" / "fastdds.xml") == 64 * 2**20


SMALL = "<profiles><segment_size>524288</segment_size></profiles>"


@pytest.mark.parametrize(
    ("text", "outcome", "do"),
    [
        (None, "warn", "FASTDDS_DEFAULT_PROFILES_FILE"),
        (SMALL, "warn", "use config/fastdds.xml"),
        ("<profiles>", "fail", "point the variable at config/fastdds.xml"),
        (SMALL.replace("524288", "67108864"), "ok", "64 MiB"),
    ],
)
def test_dds_settings_that_drop_frames_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, outcome: str, do: str
) -> None:
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    if text is not None:
        (tmp_path / "dds.xml").write_text(text)
        monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "dds.xml"))
    check = machine()["DDS"]
    assert check.outcome == outcome
    assert do in check.text


def test_a_full_disk_and_full_shared_memory_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, disk, memory in ((10**8, "warn", "fail"), (10**10, "ok", "ok")):
        usage = SimpleNamespace(total=10**12, used=0, free=free)
        monkeypatch.setattr(system.shutil, "disk_usage", lambda path, usage=usage: usage)
        checks = machine()
        assert checks["disk"].outcome == disk
        assert checks["shared memory"].outcome == memory


def machine() -> dict[str, Check]:
    report = Report()
    system.check_machine(report)
    return {check.name: check for check in report.checks}


def test_weights_are_counted_from_the_header(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "data_offsets": [0, 64]}})
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(64))
    assert weight_bytes(path) == 64
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="cut off"):
        weight_bytes(path)


def test_an_empty_checkpoint_folder_says_all_that_is_missing(tmp_path: Path) -> None:
    report = Report()
    assert check_checkpoint(report, tmp_path) is None
    assert report.exit_code == 1
    assert "norm_stats.json" in report.checks[0].text


def test_command_line_json_and_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "doctor.json"
    assert main(["doctor", "--robot", "aloha_sim", "--json", str(out)]) == 0
    assert "14 joints" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert document["exit_code"] == 0
    assert document["counts"]["fail"] == 0
    assert main(["doctor", "--robot", "no_such_robot"]) == 1
    assert "aloha_sim" in capsys.readouterr().out
    assert main(["doctor", "--live", "--save-views", str(tmp_path), "--seconds", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_views_are_written_as_decoded(tmp_path: Path) -> None:
    camera = SIM.cameras["cam_high"]
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    message = SimpleNamespace(
        height=480,
        width=640,
        encoding=camera.encoding,
        is_bigendian=0,
        step=1920,
        data=pixels.tobytes(),
    )
    report = Report()
    save_views(report, SIM, {"cam_high": message}, tmp_path / "views")
    assert [check.outcome for check in report.checks] == ["ok", "unchecked", "unchecked"]
    data = (tmp_path / "views" / "cam_high.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (640, 480)
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    rows = np.frombuffer(zlib.decompress(data[start : start + length]), np.uint8).reshape(480, -1)
    assert (rows[:, 1:].reshape(480, 640, 3) == pixels).all()


def test_an_image_that_cannot_be_read_fails_with_the_reason(tmp_path: Path) -> None:
    message = SimpleNamespace(
        height=480, width=640, encoding="16UC1", is_bigendian=0, step=1280, data=b"1"
    )
    report = Report()
    save_views(report, SIM, {"cam_high": message}, tmp_path)
    assert report.exit_code == 1
    assert "16UC1" in report.checks[0].text


def test_a_profile_that_fails_is_named_once_a_line(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("extends: aloha_sim\nname: wrong\ncomand_rate: 50\n")
    missing = tmp_path / "missing.yaml"
    for path in (wrong, missing):
        assert main(["doctor", "--robot", str(path)]) == 1
        lines = [line for line in capsys.readouterr().out.splitlines() if path.name in line]
        assert lines and all(line.count(path.name) == 1 for line in lines), lines
    report = Report()
    assert check_profile(report, str(wrong)) is None
    assert "did you mean 'command_rate'?" in report.text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("arms: {left: {command: {type: joint_trajectroy}}}", "expected one of joint_state, "),
        ("arms: {left: {command: {type: 'no_such_module:Codec'}}}", "No module named"),
        ("cameras: {cam_high: {encoding: 8UC3}}", "bgr8 (OpenCV's order) or rgb8"),
        ("cameras: {cam_high: {encoding: 16UC1}}", "a depth map"),
    ],
)
def test_commands_and_encodings_that_do_not_exist_fail_by_name(
    change: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"extends: aloha_sim\n{change}\n", encoding="utf-8")
    report = Report()
    assert check_profile(report, str(path)) is None
    (check,) = report.checks
    assert check.outcome == "fail" and words in check.text


def test_stamps_that_stand_still_are_named() -> None:
    arrivals = Arrivals([5 * 10**9] * 20, [5 * 10**9 + k * 10**7 for k in range(20)])
    stamps = next(c for c in check_arrivals("/t", arrivals, 100.0, 0.2, 0.2) if "stamps" in c.name)
    assert stamps.outcome == "fail" and "stand still at 5.000 s" in stamps.text
