#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the launch files with the real launch and launch_ros.

Every file is launched for real, with programs that only note how they were started (``launch_stage``):
which programs, in which namespace, with which parameters, and whether they are started again. With
``--run`` the real nodes are launched as well (``test/ros/test_launch.py``): two robots in two
namespaces, a policy that is killed. launch and launch_ros are not on the package index: run this where
ROS 2 is installed, or put their sources on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
PARAMETERS = "/**:\n  ros__parameters: {max_speed_scale: 0.25, status_rate: 30.0}\n"
BOTH = {"control_node": 1, "policy_node": 1}
WITH_CONSOLE = {**BOTH, "console_node": 1, "recorder_node": 1}
RUNS = "test_launch.py"
_FASTDDS = ("FASTDDS", "FASTRTPS")
GAZEBO = {
    **BOTH,
    **{"gazebo": 1, "parameter_bridge": 1, "robot_state_publisher": 1, "create": 1, "spawner": 1},
}


@dataclass(frozen=True)
class Scene:
    """A launch file with arguments, and what must come of it.

    Attributes:
        file: without ``.launch.py``.
        arguments: of the launch file; ``<folder>`` is replaced by a folder with a URDF and a
            parameter file.
        programs: name -> how often it is started.
        control, policy, simulator, beside: parameters that the node must get, among others; ``beside``
            of console_node and recorder_node.
        namespace: of our nodes.
        words: for each program, words that its command line must have.
        fails: programs that end with an error the first time.
        error: launch must refuse with a line that has this.
    """

    file: str
    arguments: Mapping[str, str]
    programs: Mapping[str, int] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    simulator: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    fails: str = ""
    error: str = ""


ROBOT = {"robot": "aloha_agilex", "checkpoint": "/checkpoint"}
SCENES = (
    Scene(
        "bringup",
        ROBOT,
        BOTH,
        control={
            "robot": "aloha_agilex",
            "autostart": True,
            "shadow": False,
            "use_sim_time": False,
        },
        policy={"robot": "aloha_agilex", "checkpoint": "/checkpoint", "autostart": True},
    ),
    Scene(
        "bringup",
        {**ROBOT, "namespace": "left_cell/robot", "shadow": "true", "max_speed_scale": "0.2"}
        | {"strategy": "rtc", "device": "cuda:1", "use_sim_time": "true", "log_level": "debug"},
        BOTH,
        control={"shadow": True, "max_speed_scale": 0.2, "strategy": "rtc", "use_sim_time": True},
        policy={"strategy": "rtc", "device": "cuda:1", "use_sim_time": True},
        namespace="left_cell/robot",
        words={"control_node": "left_cell.robot.control_node:=debug"},
    ),
    Scene(
        "bringup",
        {**ROBOT, "params_file": "<folder>/parameters.yaml", "autostart": "false"},
        BOTH,
        control={"max_speed_scale": 0.25, "status_rate": 30.0, "autostart": False},
        policy={"autostart": False},
    ),
    Scene("bringup", {**ROBOT, "policy": "false"}, {"control_node": 1}),
    Scene("bringup", {**ROBOT, "control": "false"}, {"policy_node": 1}),
    Scene("bringup", ROBOT, {"control_node": 1, "policy_node": 2}, fails="policy_node"),
    Scene("bringup", {**ROBOT, "respawn": "false"}, BOTH, fails="policy_node"),
    Scene("bringup", ROBOT, BOTH, fails="control_node"),  # started once: arms move by no accident
    Scene(
        "bringup",
        {**ROBOT, "console": "true", "namespace": "left_cell/robot"},
        WITH_CONSOLE,
        beside={"robot": "aloha_agilex", "checkpoint": "/checkpoint"},
        namespace="left_cell/robot",
    ),
    Scene(
        "bringup",
        {**ROBOT, "console": "true"},
        {**WITH_CONSOLE, "console_node": 2},
        fails="console_node",
    ),
    Scene(
        "demo",
        {"checkpoint": "/checkpoint", "console": "true"},
        {**WITH_CONSOLE, "sim_node": 1},
        beside={"robot": "aloha_sim", "checkpoint": "/checkpoint"},
    ),
    Scene("bringup", {**ROBOT, "console": "perhaps"}, error="console"),
    Scene("bringup", {"checkpoint": "/checkpoint"}, error="robot"),
    Scene("bringup", {"robot": "no_such_robot"}, error="no_such_robot"),
    Scene("bringup", {**ROBOT, "shadow": "perhaps"}, error="shadow"),
    Scene(
        "demo",
        {"checkpoint": "/checkpoint", "task": "transfer_cube", "seed": "7"},
        {**BOTH, "sim_node": 1},
        control={"robot": "aloha_sim", "use_sim_time": True},
        simulator={"robot": "aloha_sim", "task": "transfer_cube", "seed": 7},
    ),
    Scene(
        "replay",
        {**ROBOT, "bag": "/a bag", "rate": "2.0", "loop": "true"},
        {**BOTH, "ros2": 1},
        control={"shadow": True, "use_sim_time": True},
        policy={"use_sim_time": True},
        words={"ros2": "bag play /a bag --clock 100 --rate 2.0 --loop"},
    ),
    Scene("replay", ROBOT, error="bag"),
    Scene(
        "isaac",
        {"checkpoint": "/checkpoint", "isaac_command": "isaac-sim.sh --exec 'a stage.py'"},
        {**BOTH, "isaac-sim.sh": 1},
        control={"robot": "isaac_franka_dual", "use_sim_time": True},
        words={"isaac-sim.sh": "--exec a stage.py"},
    ),
    Scene("isaac", {"checkpoint": "/checkpoint"}, BOTH),
    Scene(
        "sim_gazebo",
        {"checkpoint": "/checkpoint", "urdf": "<folder>/robot.urdf", "gui": "false"},
        GAZEBO,
        control={"robot": "gazebo_ur5_dual", "use_sim_time": True},
        words={"gazebo": "-r -s empty.sdf", "spawner": "left_arm_controller right_arm_controller"},
    ),
    Scene("sim_gazebo", {"urdf": "/no/such.urdf"}, error="a URDF file"),
)


def describe(path: Path) -> list[str]:
    """Load one launch file; lines about arguments without a description."""
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    description = PythonLaunchDescriptionSource(str(path)).get_launch_description(LaunchContext())
    arguments = description.get_launch_arguments()
    print(f"{path.name}: {len(arguments)} arguments, {len(description.entities)} actions")
    return [
        f"{path.name}: argument {argument.name} has no description"
        for argument in arguments
        if not argument.description or argument.description == "no description given"
    ]


def play(scene: Scene) -> list[str]:
    """Launch a scene in this process; what is wrong with what was started."""
    from launch_stage import Stage, launch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "robot.urdf").write_text('<robot name="r"/>')
        (folder / "parameters.yaml").write_text(PARAMETERS)
        stage = Stage(folder / "stage")
        given = {key: value.replace("<folder>", name) for key, value in scene.arguments.items()}
        wanted = sum(scene.programs.values())
        with stage.set(scene.fails):
            code = launch(
                ROOT / "launch" / f"{scene.file}.launch.py",
                given,
                _Settled(lambda: len(stage.started()), wanted),
            )
        started = stage.started()
    counts = Counter(item.program for item in started)
    problems = []
    if counts != Counter(scene.programs):
        problems.append(f"expected {dict(scene.programs)}, got {dict(counts)}")
    if code and not scene.error:
        problems.append(f"launch ended with {code}")
    if scene.error and not code:
        problems.append("expected launch to refuse, it did not")
    for item in started:
        problems += _check(scene, item)
    return problems


class _Settled:
    """True a while after as many programs have started as were wanted: more would show."""

    def __init__(self, count: Any, wanted: int) -> None:
        self._count, self._wanted, self._left = count, wanted, 50  # of 0.05 s: above respawn_delay

    def __call__(self) -> bool:
        if self._count() >= self._wanted:
            self._left -= 1
        return self._left < 0


def _check(scene: Scene, item: Any) -> list[str]:
    """What is wrong with one program."""
    from adamoe_ros.ros import generate

    problems = []
    words = " ".join(item.arguments)
    if scene.words.get(item.program, "") not in words:
        problems.append(f"{item.program}: expected {scene.words[item.program]!r} in {words!r}")
    expected = {"control_node": scene.control, "policy_node": scene.policy}
    expected["sim_node"] = scene.simulator
    expected["console_node"] = expected["recorder_node"] = scene.beside
    if item.program not in expected:
        return problems
    if item.namespace != scene.namespace or item.remapped.get("__node") != item.program:
        problems.append(f"{item.program}: names {item.remapped}")
    declared = {p.name for p in generate.declaration(item.program).declarations()}
    of_the_file = {"max_speed_scale", "status_rate"} if "params_file" in scene.arguments else set()
    for name in set(item.parameters) - declared - {"use_sim_time"} - of_the_file:
        problems.append(f"{item.program}: parameter {name} is not declared")
    for name, value in expected[item.program].items():
        got = item.parameters.get(name)
        if got != value or type(got) is not type(value):
            problems.append(f"{item.program}: {name}: expected {value!r}, got {got!r}")
    profiles = [item.environment.get(f"{name}_DEFAULT_PROFILES_FILE") for name in _FASTDDS]
    if not any(path and Path(path).is_file() for path in profiles):
        problems.append(f"{item.program}: no Fast DDS profile in its environment")
    return problems


def play_apart(number: int) -> list[str]:
    """A scene in a process of its own: launch keeps state from one run to the next."""
    scene = SCENES[number]
    done = subprocess.run(
        [sys.executable, __file__, "--scene", str(number)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    problems = [line.removeprefix("- ") for line in done.stdout.splitlines() if line[:2] == "- "]
    if done.returncode and not problems:
        problems.append(output[-2000:])
    if scene.error and scene.error not in output:
        problems.append(f"expected a line with {scene.error!r}, got {output[-2000:]}")
    given = " ".join(f"{name}:={value}" for name, value in scene.arguments.items())
    print(f"{scene.file} {given}: {'wrong' if problems else 'as expected'}", flush=True)
    return [f"{scene.file} {given}: {line}" for line in problems]


def main() -> int:
    """Check; exit code 1 with one line per problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="launch the real nodes as well")
    parser.add_argument("--scene", type=int, help="only this one, here")
    options = parser.parse_args()
    try:
        import launch_ros.actions  # noqa: F401
    except ImportError as error:
        print(f"launch_ros does not import ({error}): source ROS 2 or extend PYTHONPATH")
        return 2
    if options.scene is not None:
        problems = play(SCENES[options.scene])
        print("\n".join(f"- {line}" for line in problems))
        return 1 if problems else 0
    problems = [line for path in sorted((ROOT / "launch").glob("*.py")) for line in describe(path)]
    for number in range(len(SCENES)):
        problems += play_apart(number)
    if options.run:
        command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "test" / "ros" / RUNS)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            problems.append(f"{RUNS}: failed")
    print("\n".join(problems) or "launch files are fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
