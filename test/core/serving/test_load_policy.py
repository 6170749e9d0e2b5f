# SPDX-License-Identifier: Apache-2.0
"""``load_policy``: the same rows from a folder and from its server; what our own client sends and gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from policy_support import make_checkpoint, observation
from serving_support import PROMPT, serving, wait_until

from adamoe_ros import load_policy
from adamoe_ros.contract.errors import ContractError, PolicyUnavailable
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.policy.actor import PolicyActor
from adamoe_ros.policy.actor_base import BaseActor
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.ros.doctor.link_checks import check_link
from adamoe_ros.serving.link import LinkSettings
from adamoe_ros.serving.pictures import decode_picture, encode_jpeg
from adamoe_ros.serving.remote_actor import RemoteActor

ROW = 20_000_000  # ns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("loaded") / "checkpoint", rtc_max_delay=3)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder, interface=("none",)) as (_, port):
        yield f"ws://127.0.0.1:{port}"


def test_a_folder_and_its_server_give_the_same_rows(folder: Path, address: str) -> None:
    seen = observation()
    chunks = []
    for where in (folder, address):
        with load_policy(where, seed=3, device="cpu") as policy:
            chunks.append([policy.infer(seen.images, seen.state, PROMPT) for _ in range(2)])
            assert policy.names[6] == chunks[-1][0].names[6] == "left_gripper"
            assert policy.units[:1] == ("rad",)
            assert policy.units[6] == "0 (closed) ... 1 (open)"
            assert chunks[-1][0].dt_s == pytest.approx(0.02)
    local, remote = chunks
    for one, other in zip(local, remote, strict=True):
        np.testing.assert_allclose(one.rows, other.rows, atol=1e-5)
    assert np.abs(local[0].rows - local[1].rows).max() > 1e-3  # each has noise of its own


def test_what_does_not_fit_is_listed_before_anything_is_sent(folder: Path) -> None:
    with load_policy(folder, device="cpu") as policy, pytest.raises(ContractError) as error:
        policy.infer({"front": np.zeros((8, 8, 3), np.uint8)}, np.zeros(3), "")
    lines = error.value.problems
    assert lines[0].startswith("images: expected some of cam_high")
    assert lines[1].startswith("state: expected numbers of shape (14,), got (3,)")
    assert lines[2].startswith("prompt: expected a sentence")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("http://127.0.0.1:1", "policy: expected ws://host:port"),
        ("ws://127.0.0.1:1", "is 'adamoe serve' running there?"),
        ("nowhere", "checkpoint nowhere: expected a folder"),
    ],
)
def test_nothing_there(where: str, said: str) -> None:
    with pytest.raises(ContractError) as error:
        load_policy(where)
    assert said in str(error.value) and "\n" not in str(error.value)


def two_chunks(made: BaseActor, session_seed: int = 5) -> list[np.ndarray]:
    """Chunks two rows apart, the second with a delay of one row."""
    scheduler, session = made.scheduler(0.04), made.session(session_seed)
    rows = []
    for stamp, ready in ((1000 * ROW, 1000 * ROW), (1002 * ROW, 1003 * ROW)):
        seen = observation(stamp // ROW)
        plan = scheduler.start(stamp)
        shown = Observation(stamp, seen.images, seen.state, seen.instruction)
        inference = session.infer(shown, plan)
        rows += [inference.positions, inference.normalized, np.array(inference.committed_rows)]
        assert inference.experts
        assert scheduler.finish(ready)
    return rows


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_goes_on_from_the_chunk_before_as_locally(
    folder: Path, address: str, strategy: str
) -> None:
    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    settings = PolicySettings(strategy=strategy, device="cpu", seed=5)
    local = PolicyActor(profile, read_checkpoint(folder), settings)
    remote = RemoteActor(profile, LinkSettings(address), settings)
    try:
        for one, other in zip(two_chunks(local), two_chunks(remote), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    finally:
        remote.close()
    assert remote.joint_map.joint_ids == local.joint_map.joint_ids
    np.testing.assert_array_equal(remote.state_range, local.state_range)


def test_a_cut_picture_is_not_filled_up() -> None:
    data = encode_jpeg(np.zeros((48, 64, 3), np.uint8), 95)
    with pytest.raises(ContractError, match="picture: expected a whole picture"):
        decode_picture(data[:-40], "picture")


def test_pictures_as_jpeg_are_those_that_were_sent(address: str) -> None:
    smooth = np.linspace(0, 255, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)
    back = decode_picture(encode_jpeg(smooth, 95), "picture")
    assert np.abs(back.astype(int) - smooth).mean() < 3
    assert back[0, 0, 0] <= back[-1, -1, 0]
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert decode_picture(encode_jpeg(red, 95), "picture")[8, 8, 0] > 240
    seen = observation()
    images = dict.fromkeys(seen.images, smooth)
    seen = Observation(1_000, images, seen.state, seen.instruction)
    rows = []
    for quality in (0, 95):
        remote = RemoteActor(None, LinkSettings(address), PolicySettings(seed=1), quality)
        plan = remote.scheduler(0.0).start(1_000)
        rows.append(remote.session().infer(seen, plan).positions)
        remote.close()
    difference = np.abs(rows[0] - rows[1]).max()
    assert 0 < difference < 0.05


def test_settings_that_are_the_servers(address: str) -> None:
    settings = PolicySettings(strategy="rtc", flow_steps=3, rtc_jacobian="vjp")
    with pytest.raises(ContractError) as error:
        RemoteActor(None, LinkSettings(address), settings)
    assert "flow_steps: expected" in error.value.problems[0]
    assert "rtc_jacobian: expected identity as the server has, got vjp" in error.value.problems[1]


def test_a_profile_that_does_not_fit_is_refused_as_with_a_folder(
    folder: Path, address: str
) -> None:
    profile, settings = load_profile(profile_path("franka_dual", robots_dir())), PolicySettings()
    with pytest.raises(ContractError) as local:
        PolicyActor(profile, read_checkpoint(folder), settings)
    with pytest.raises(ContractError) as remote:
        RemoteActor(profile, LinkSettings(address), settings)
    assert remote.value.problems == local.value.problems


def test_a_client_of_a_server_needs_no_torch(address: str) -> None:
    code = (
        "import sys, numpy as np\nfrom adamoe_ros import load_policy\n"
        f"with load_policy({address!r}) as policy:\n"
        "    image = np.zeros((48, 64, 3), np.uint8)\n"
        "    print(policy.infer({'cam_high': image}, np.zeros(14), 'lift').rows.shape)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "14)" in done.stdout, done.stderr


def test_a_server_that_goes_and_comes_back_is_used_again(folder: Path, tmp_path: Path) -> None:
    import socket

    from adamoe_ros.serving.door import Door

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    door, seen = Door(port=port), observation()
    with serving(folder, door, interface=("none",)):
        policy = load_policy(f"ws://127.0.0.1:{port}", seed=3)
        first = policy.infer(seen.images, seen.state, PROMPT)
    assert first.rows.shape[1] == 14
    with pytest.raises(PolicyUnavailable) as error:
        policy.infer(seen.images, seen.state, PROMPT)
    assert f"policy ws://127.0.0.1:{port}" in str(error.value)
    with serving(folder, door, interface=("none",)):
        wait_until(lambda: not policy.actor.fault)
        assert policy.infer(seen.images, seen.state, PROMPT).rows.shape == first.rows.shape
    with serving(folder, door, interface=("none",), flow_steps=3):
        wait_until(lambda: "flow_steps" in policy.actor.fault)
        assert "as before, got flow_steps 3; configure again to use it" in policy.actor.fault
        with pytest.raises(PolicyUnavailable):
            policy.infer(seen.images, seen.state, PROMPT)
        profile, settings = (
            load_profile(profile_path("aloha_sim", robots_dir())),
            PolicySettings(strategy="rtc", seed=5),
        )
        actors = (
            RemoteActor(profile, LinkSettings(f"ws://127.0.0.1:{port}"), settings),
            PolicyActor(profile, read_checkpoint(folder), replace(settings, flow_steps=3)),
        )
        assert actors[0].steps == 3  # and what depends on it, as the clip of the guidance
        for one, other in zip(*map(two_chunks, actors), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        actors[0].close()
    other = make_checkpoint(tmp_path / "other", rtc_max_delay=2)
    with serving(other, door, interface=("none",)):
        wait_until(lambda: "as before, got other" in policy.actor.fault)
        with pytest.raises(PolicyUnavailable):
            policy.infer(seen.images, seen.state, PROMPT)
    policy.close()


def test_the_doctor_says_who_answers_and_how_fast(address: str) -> None:
    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    found = {check.name: check for check in check_link(address, None, None, profile)}
    for name in ("connection", "match", "latency", "clock"):
        assert found[name].outcome == "ok", found[name]
    assert 0 < found["latency"].values["p50 (s)"] < 5
    bandwidth = found["bandwidth"].values  # what is enough of it depends on what else this machine does
    assert bandwidth["bytes/s"] > 0 and bandwidth["bytes of an observation"] == 3 * 3 * 640 * 480
    other = load_profile(profile_path("franka_dual", robots_dir()))
    fits = next(one for one in check_link(address, None, None, other) if one.name == "match")
    assert fits.outcome == "fail"
    (missing,) = check_link("ws://127.0.0.1:1", None, None, None)
    assert missing.outcome == "fail" and "is 'adamoe serve' running there?" in missing.text
