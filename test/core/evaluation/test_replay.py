# SPDX-License-Identifier: Apache-2.0
"""Replay: figures that are known beforehand, determinism, parity with the runtime, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_support import START, motion, pose, simulated_robot, write_mcap
from led_bag import GIVEN, TAKEN, write_led_bag

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.scheduling import (
    DelayWindow,
    InferencePlan,
    InferenceScheduler,
    SchedulerSettings,
)
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.evaluation.replay.page import report_page
from adamoe_ros.evaluation.replay.replay_errors import OpenLoopErrors, grippers_of
from adamoe_ros.evaluation.replay.replay_results import results
from adamoe_ros.evaluation.replay.run import BagReplay, Listeners, ReplaySettings

PROFILE = simulated_robot(type="compressed")
ROWS, DT = 20, 0.02


class Clairvoyant:
    """Knows what will be commanded, and adds a constant."""

    horizon, dt_s = ROWS, DT
    camera_slots = tuple(PROFILE.cameras)

    def __init__(self, off: np.ndarray, strategy: str = "async") -> None:
        from policy_support import manifest

        self.joint_map = build_joint_map(PROFILE, manifest())
        self._off, self.strategy = off, strategy
        self.seen: list[Observation] = []
        self.plans: list[InferencePlan] = []
        self.restarts = 0

    def session(self) -> Clairvoyant:
        return self

    def scheduler(self, delay_s: float) -> InferenceScheduler:
        settings = SchedulerSettings(ROWS, DT, max_prefix_rows=5)
        side = make_strategy(self.strategy).policy_side
        return InferenceScheduler(side, settings, DelayWindow(initial_s=delay_s))

    def restart(self) -> None:
        self.restarts += 1

    def describe(self) -> dict[str, Any]:
        return {}

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        self.seen.append(observation)
        self.plans.append(plan)
        start = (observation.stamp_ns - START) / 1e9
        rows = np.stack([pose(PROFILE, start + r * DT, 0.02) for r in range(ROWS)])
        rows = rows + self._off
        return Inference(rows, rows * 2.0, stages={"total": 0.01})

    def normalized_rows(self, commands: np.ndarray, state: np.ndarray) -> np.ndarray:
        return commands * 2.0


def replayed(folder: Path, policies: list[Any], **settings: Any) -> Any:
    with Bag(folder) as bag:
        named = {f"policy {number}": policy for number, policy in enumerate(policies)}
        return BagReplay(bag, PROFILE, named, ReplaySettings(**settings)).run()


def test_errors_are_those_that_were_put_in(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 4.0))
    off = np.zeros(14)
    off[2], off[6] = 0.1, -0.004
    record = replayed(folder, [Clairvoyant(off)])
    found = record.policies[0].errors.as_dict(PROFILE.joint_ids)
    assert record.truth == "command" and found["chunks"] == 8
    by_joint = found["by_joint"]
    assert by_joint["left/elbow"]["mean_abs"] == pytest.approx(0.1)
    assert by_joint["left/elbow"]["normalized_mean_abs"] == pytest.approx(0.2)
    assert by_joint["left/gripper"]["max_abs"] == pytest.approx(0.004)
    assert by_joint["right/elbow"]["max_abs"] == pytest.approx(0.0, abs=1e-9)
    assert found["by_step"][0]["compared"] == 8 * 14
    assert found["by_step"][-1]["joints_mean_abs"] == pytest.approx(0.1 / 12)
    assert 0.5 < found["gripper_accuracy"] <= 1.0


def test_rows_beyond_the_recording_are_not_compared(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 1.0))
    record = replayed(folder, [Clairvoyant(np.zeros(14))], stride_s=0.0)
    steps = record.policies[0].errors.as_dict(PROFILE.joint_ids)["by_step"]
    assert steps[0]["compared"] == 25 * 14
    assert 14 * 25 * 0.5 < steps[-1]["compared"] < 14 * 25 * 0.8


def test_next_state_is_the_truth_where_nothing_was_commanded(tmp_path: Path) -> None:
    records = [r for r in motion(PROFILE, 2.0) if "commands" not in r[1]]
    record = replayed(write_mcap(tmp_path / "bag", records), [Clairvoyant(np.zeros(14))])
    assert record.truth == "next_state"
    found = record.policies[0].errors.as_dict(PROFILE.joint_ids)
    assert found["joints_mean_abs"] == pytest.approx(0.0, abs=1e-9)  # commands lead by one row


def test_inferences_keep_the_stride_and_see_model_units(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 3.0))
    policy = Clairvoyant(np.zeros(14))
    record = replayed(folder, [policy], stride_s=0.4)
    np.testing.assert_allclose(np.diff(record.policies[0].times), 0.4)
    gripper = (pose(PROFILE, 0.0)[6] - 0.021) / (0.057 - 0.021)
    assert policy.seen[0].state[6] == pytest.approx(gripper)
    assert policy.seen[0].images["cam_high"].shape == (48, 64, 3)
    assert policy.seen[0].instruction == "lift the bar"


@pytest.mark.parametrize("strategy", ["rtc", "rtc_trained"])
def test_chunks_that_go_on_from_each_other_are_scheduled_as_by_the_node(
    tmp_path: Path, strategy: str
) -> None:
    """Whatever the stride: as soon as half of a chunk is used, guided by the one before."""
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 3.0))
    policy = Clairvoyant(np.zeros(14), strategy)
    record = replayed(folder, [policy], stride_s=0.5, latency_s=0.06)
    first, *later = policy.plans
    assert not first.needs_leftover and len(later) > 10
    stamps = [plan.observation_ns for plan in policy.plans]
    assert [plan.previous_ns for plan in later] == stamps[:-1]
    np.testing.assert_allclose(np.diff(record.policies[0].times)[1:], 0.2)  # half of 20 rows
    for plan in later:
        assert plan.needs_leftover and plan.delay_rows == 3
        assert (plan.weights is not None) == (strategy == "rtc")
        assert plan.prefix_rows == (3 if strategy == "rtc_trained" else 0)


def test_the_gate_would_have_clipped(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 4.0))
    calm = replayed(folder, [Clairvoyant(np.zeros(14))]).policies[0]
    run = calm.execution.as_dict()
    assert run["accepted_chunks"] == 8 and run["clipped_ticks"]["position"] == 0
    assert run["seams"]["seams"] == 7 and run["rejected_chunks"] == 0
    assert sum(calm.limits.as_dict(PROFILE.joint_ids)["totals"].values()) == 0
    off = np.zeros(14)
    off[1] = 1.25664 + 0.96  # shoulder: swings around its upper limit, within the hard bound
    wild = replayed(folder, [Clairvoyant(off)]).policies[0]
    run, limits = wild.execution.as_dict(), wild.limits.as_dict(PROFILE.joint_ids)
    assert run["clipped"]["velocity"]["left/shoulder"] > 50  # the way there
    assert limits["by_joint"]["position"].keys() == {"left/shoulder"}
    assert limits["by_joint"]["distance_to_measured"] == {"left/shoulder": 8}
    off[1] += 0.5
    beyond = replayed(folder, [Clairvoyant(off)]).policies[0]
    assert beyond.limits.refused == 8
    assert beyond.execution.as_dict()["rejected_chunks"] == 8


@pytest.mark.parametrize(("share", "anew"), [(0.9, False), (1.1, True)])
def test_a_recording_begins_anew_where_the_node_sees_a_jump(share: float, anew: bool) -> None:
    from adamoe_ros.contract.joint_map import state_to_command
    from adamoe_ros.evaluation.replay.executed import Execution
    from adamoe_ros.streams.align import AlignSettings

    state = state_to_command(PROFILE).invert(pose(PROFILE, 0.0))
    run = Execution(PROFILE, "async", 0.1)
    for now_ns in (START, START + 1_000_000_000):
        run.state(now_ns, state)
    before = run.as_dict()["ticks"]
    assert not run.start_problems and before > 50
    run.state(START + 1_000_000_000 - round(share * AlignSettings().jump_s * 1e9), state)
    assert (run.as_dict()["ticks"] > before) == anew


def test_fast_rows_are_counted_by_limit() -> None:
    from adamoe_ros.evaluation.replay.chunk_limits import ChunkLimits

    limits = ChunkLimits(PROFILE)
    rows = np.tile(pose(PROFILE, 0.0), (10, 1))
    rows[5:, 3] += 0.1  # 5 rad/s for one row, where 3.14 are allowed: two accelerations
    limits.add(rows, rows[0], 0.02)
    found = limits.as_dict(PROFILE.joint_ids)["by_joint"]
    assert found["velocity"] == {"left/forearm_roll": 1}
    assert found["acceleration"] == {"left/forearm_roll": 2}
    assert found["position"] == found["distance_to_measured"] == {}


def test_replay_is_deterministic_and_policies_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 2.0))
    alone = replayed(folder, [Clairvoyant(np.full(14, 0.01))])
    both = replayed(folder, [Clairvoyant(np.zeros(14)), Clairvoyant(np.full(14, 0.01))])
    names = PROFILE.joint_ids
    again = both.policies[1]
    assert alone.policies[0].errors.as_dict(names) == again.errors.as_dict(names)
    assert alone.policies[0].execution.as_dict() == again.execution.as_dict()


def test_without_a_policy_the_inputs_are_looked_at(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 2.0))
    record = replayed(folder, [])
    assert record.observations == 50
    assert [item["name"] for item in record.streams][:3] == list(PROFILE.cameras)


def test_results_and_page_of_two_policies(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 2.0))
    first, second = Clairvoyant(np.zeros(14)), Clairvoyant(np.full(14, 0.05))
    policies = {"clairvoyant": first, "second <policy>": second}
    records = []
    for _ in range(2):
        with Bag(folder) as bag:
            records.append(BagReplay(bag, PROFILE, policies, ReplaySettings()).run())
    document = results(records, PROFILE.joint_ids, {"stride": 0.5}, {"bad": ["why"]})
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["policies"]["second <policy>"]["open_loop"]["chunks"] == 8
    page = report_page(records, PROFILE.joint_ids, document, {})
    assert "second &lt;policy&gt;" in page and "<policy>" not in page
    assert page.count('aria-label="left/waist over time"') == 2  # a chart for each bag
    assert page.count("<svg") >= 3 and "http://" not in page.replace("http://www.w3.org", "")


def test_the_page_shows_chunks_that_do_not_overlap_and_not_too_many() -> None:
    from adamoe_ros.evaluation.replay.trajectories import ShownChunks

    shown = ShownChunks()
    rows = np.zeros((50, 2))
    for number in range(100):
        shown.add(0.5 * number, 0.02, rows + number, rows)
    starts = [row[0] for row in shown.predicted if np.isfinite(row[0])]
    assert sorted(set(starts)) == [2.0 * k for k in range(24)]  # every second one, 1 s each
    assert shown.full and len(shown.times) <= 500
    known = np.array([time for time in shown.times if np.isfinite(time)])
    assert (np.diff(known) >= 0).all() and known[-1] == pytest.approx(46.0 / 2 + 49 * 0.02)


def test_grippers_are_judged_by_side() -> None:
    grippers = grippers_of(PROFILE)
    errors = OpenLoopErrors(1, 14, grippers)
    truth, said = np.zeros((1, 14)), np.zeros((1, 14))
    truth[0, [6, 13]], said[0, [6, 13]] = (0.057, 0.021), (0.050, 0.057)
    errors.add(said, truth, said - truth)
    assert errors.as_dict(PROFILE.joint_ids)["gripper_accuracy"] == 0.5


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from policy_support import make_checkpoint

    root = tmp_path_factory.mktemp("checkpoints")
    return [make_checkpoint(root / name, rtc_max_delay=3) for name in "ab"]


@pytest.mark.parametrize("strategy", ["async", "rtc", "rtc_trained"])
def test_a_checkpoint_gives_what_the_node_gives(
    tmp_path: Path, checkpoints: list[Path], strategy: str
) -> None:
    from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
    from adamoe_ros.ros.policy.policy_setup import make_actor

    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 1.0))
    parameters = {"robot": "aloha_sim", "checkpoint": str(checkpoints[0]), "device": "cpu"}
    node, replay = (
        make_actor(PolicyParameters(**parameters, seed=3, strategy=strategy)) for _ in range(2)
    )
    seen: list[tuple[Observation, Inference]] = []
    listeners = Listeners(predicted=lambda number, o, made: seen.append((o, made)))
    with Bag(folder) as bag:
        settings = ReplaySettings(latency_s=0.04)
        BagReplay(bag, PROFILE, {"a": replay}, settings, listeners).run()
    session, scheduler = node.session(), node.scheduler(0.04)
    assert len(seen) >= 2
    guided = 0
    for observation, made in seen:
        plan = scheduler.start(observation.stamp_ns)
        expected = session.infer(observation, plan)
        assert scheduler.finish(observation.stamp_ns + 40_000_000)
        np.testing.assert_array_equal(made.positions, expected.positions)
        assert made.committed_rows == expected.committed_rows
        guided += plan.needs_leftover
        rows = replay.normalized_rows(made.positions, observation.state)
        np.testing.assert_allclose(rows, made.normalized, atol=1e-4)
    assert (guided > 0) == (strategy != "async")


def test_command_line(
    tmp_path: Path, checkpoints: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    from adamoe_ros.cli.main import main

    robot = tmp_path / "robot.yaml"
    cameras = {slot: {"type": "compressed", "width": 64, "height": 48} for slot in PROFILE.cameras}
    robot.write_text(yaml.safe_dump({"extends": "aloha_sim", "cameras": cameras}))
    for number in range(2):
        write_mcap(tmp_path / "bags" / f"episode_{number}", motion(PROFILE, 1.5))
    bad = tmp_path / "bags" / "episode_2"
    bad.mkdir()
    (bad / "episode_2.mcap").write_bytes(b"no bag")
    out = tmp_path / "out"
    words = ["replay", str(tmp_path / "bags"), "--robot", str(robot), "--out", str(out)]
    words += [w for c in checkpoints for w in ("--checkpoint", str(c))]
    words += ["--device", "cpu", "--prediction-bag", str(tmp_path / "predicted")]
    assert main(words) == 3  # one bag is bad
    text = capsys.readouterr().out
    assert "episode_2: skipped" in text and "a: mean joint error" in text
    document = json.loads((out / "results.json").read_text())
    assert list(document["policies"]) == ["a", "b"] and len(document["bags"]) == 2
    assert document["bags"][0]["policies"]["a"]["experts"]
    page = (out / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 2
    with Bag(tmp_path / "predicted" / "episode_0") as bag:
        assert bag.topics["/cam_high/image_raw"].count == 38
        chunks = [m.message for m in bag.messages(["/prediction/a/action_chunk"])]
        assert [c.rows * len(c.joint_names) for c in chunks] == [len(c.positions) for c in chunks]
        assert bag.topics["/prediction/b/joint_trajectory"].count == 3
        assert bag.topics["/prediction/b/joint_states"].count > 20
        assert bag.state == "whole"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--strategy", "none"], "--strategy: expected one of"),
        (["--latency", "-1"], "--latency"),
        (["--robot", "nobody"], "robot: expected one of"),
        (["--checkpoint", "/nowhere"], "nowhere"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from adamoe_ros.cli.main import main

    folder = write_mcap(tmp_path / "bag", motion(PROFILE, 0.2))
    base = ["replay", str(folder), "--robot", "aloha_sim", "--out", str(tmp_path / "out")]
    assert main([*base, *words]) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_policy_and_human_are_compared_on_the_same_moments(tmp_path: Path) -> None:
    """A policy that is wrong by 0.1 rad only where a human led is 0.1 rad off the human there."""

    class Mistaken(Clairvoyant):
        def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
            made = super().infer(observation, plan)
            times = (observation.stamp_ns - START) / 1e9 + DT * np.arange(ROWS)
            made.positions[(times >= TAKEN) & (times < GIVEN), 2] += 0.1
            return made

    record = replayed(
        write_led_bag(tmp_path / "bag", PROFILE, 4.0), [Mistaken(np.zeros(14))], stride_s=0.25
    )
    found = results([record], PROFILE.joint_ids, {}, {})["policies"]["policy 0"]
    human, every = found["open_loop_interventions"], found["open_loop"]
    assert human["by_joint"]["left/elbow"]["mean_abs"] == pytest.approx(0.1)
    assert human["by_joint"]["left/waist"]["max_abs"] == pytest.approx(0.0, abs=1e-9)
    assert 0 < human["compared_values"] < every["compared_values"] / 3
    assert every["by_joint"]["left/elbow"]["mean_abs"] < 0.05
    nobody = replayed(
        write_mcap(tmp_path / "nobody", motion(PROFILE, 1.5)), [Clairvoyant(np.zeros(14))]
    )
    document = results([nobody], PROFILE.joint_ids, {}, {})
    assert "open_loop_interventions" not in document["policies"]["policy 0"]
