# SPDX-License-Identifier: Apache-2.0
"""Every part that may be missing, with every command: one line that says what to install, and no traceback."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_support import write_bag, write_profile

from adamoe_ros.cli.main import COMMANDS, NEEDS
from adamoe_ros.contract import extras

ROOT = Path(__file__).resolve().parents[3]
DEMO = str(ROOT / "checkpoints" / "demo")
# imported only where they are: kernels and event files on other computers, zstd of older Pythons, what
# torch and rosbags bring, the benchmark's simulator in an environment of its own
OPTIONAL = {"triton", "lz4", "backports", "typing_extensions", "libero"}
# imported by name, beside what only ROS has
ROS = re.compile(r"rclpy|launch(_ros)?|\w+_msgs|builtin_interfaces|std_srvs|rcl_interfaces")

RUNNER = """
import contextlib, io, json, sys
blocked, commands, checkpoint = json.loads(sys.argv[1])

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in blocked or top == "rclpy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from adamoe_ros.cli.main import main
found = {}
for name, words in commands.items():
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(error):
        try:
            code = main([name, *words])
        except SystemExit as end:  # argparse's --help
            code = end.code
    found[name] = [code, error.getvalue(), out.getvalue()]
from adamoe_ros.contract.errors import ContractError
if "pydantic" not in blocked:
    from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
    from adamoe_ros.ros.policy.policy_setup import make_actor
    try:
        if checkpoint in blocked:
            make_actor(PolicyParameters(robot="aloha_sim", checkpoint=sys.argv[2]))
    except ContractError as error:
        found["policy_node"] = [2, str(error) + "\\n", ""]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Words with which a command comes to its imports; where nothing lacks they end it soon."""
    folder = tmp_path_factory.mktemp("commands")
    bag, robot = str(write_bag(folder / "bag", 0.5)), str(write_profile(folder / "robot.yaml"))
    out = str(folder / "out")
    return {
        "demo": ["--checkpoint", DEMO],
        "doctor": [],
        "convert": [str(folder / "none"), out, "--from", "lerobot"],
        "upcycle": [str(folder / "none"), out],
        "infer": ["--checkpoint", DEMO, "--inputs", str(folder / "none"), "--out", out],
        "serve": ["--checkpoint", str(folder / "none")],
        "train": ["--set=data.dataset=none", "--out", out],
        "console": ["--robot", "aloha_sim"],
        "record": ["--robot", "aloha_sim"],
        "replay": [bag, "--robot", robot, "--checkpoint", str(folder / "none"), "--out", out],
        "dataset": ["convert", bag, "--robot", robot, "--out", out, "--gripper", "1_open"],
        "evaluate": [DEMO, "--tasks", "none", "--out", out],
        "benchmark": ["libero", "--checkpoint", str(folder / "none"), "--out", out],
        "bench": ["--help"],
        "security": ["--robot", "aloha_sim"],
    }


@pytest.mark.parametrize("extra", ["", *extras.EXTRAS])
def test_each_command_without_an_extra(extra: str, commands: dict[str, list[str]]) -> None:
    assert set(commands) == set(COMMANDS)
    blocked = list(extras.EXTRAS[extra]) if extra else ["pydantic"]
    needing = {name for name, wanted in NEEDS.items() if extra in wanted}
    if extra in ("", "policy"):  # without torch every command is quick
        tried = commands
    else:
        tried = {name: commands[name] for name in sorted({*needing, "doctor", "convert"})}
    given = json.dumps([blocked, tried, "torch"])
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, given, DEMO],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    do = extras.how_to_install([extra])
    says_so = set()
    for name, (code, error, out) in found.items():
        assert code in (0, 1, 2) and error.count(f"adamoe {name}: ") <= 1, (name, code, error)
        assert "Traceback" not in error + out and "unforeseen" not in error, (name, error)
        line = (
            rf"expected it installed, .*\b{extra}" if extra else "pydantic: expected it installed"
        )
        if re.search(line, error):
            says_so.add(name)
    code, _, report = found.pop("doctor")
    assert do in report and code == (0 if extra else 1), report
    # these look at ROS, or at the checkpoint, first
    assert says_so >= needing - {"console", "demo", "record"} - (
        {"serve"} if extra == "data" else set()
    )
    others = {name: line for name, (code, line, _) in found.items() if code and name not in says_so}
    assert extra or set(others) <= {"console"}, others
    assert extra != "policy" or "policy_node" in says_so


def test_one_line_names_everything_that_a_command_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "lacking", lambda modules: [x for x in modules if x == "rosbags"])
    error = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    line = extras.missing_part(error, ("policy", "data", "sim"))
    assert line == (
        f"torch: expected it installed, got none in {sys.prefix}; "
        "pip install 'adamoe_ros[data,policy]'"
    )
    assert extras.missing_part(ModuleNotFoundError("x", name="somebodys")) is None


def test_a_version_that_does_not_fit_and_ros_are_lines() -> None:
    """pydantic 1, as Ubuntu packages it, has no ConfigDict."""
    old = ImportError("cannot import name 'ConfigDict' from 'pydantic'", name="pydantic")
    line = extras.missing_part(old)
    assert line is not None and "ConfigDict" in line and line.endswith("pip install adamoe_ros")
    for module in ("rclpy.node", "sensor_msgs.msg", "adamoe_ros.msg"):
        line = extras.missing_part(ModuleNotFoundError("none", name=module))
        assert line is not None and "source /opt/ros/<distro>/setup.bash" in line


def test_built_by_colcon_there_is_nothing_for_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    assert "tools/robot_setup.sh" in extras.how_to_install(["policy"])


def imports() -> set[str]:
    """Top-level names of everything that the package imports from outside."""
    found = set()
    for path in (ROOT / "adamoe_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"adamoe_ros", "compression"}


def test_every_import_is_of_an_extra() -> None:
    """``compression`` is the standard library's from Python 3.14 on."""
    outside = {name for name in imports() if not ROS.fullmatch(name)} - OPTIONAL
    assert {name for name in outside if extras.extra_of(name) is None} == set()


def requirement_names(name: str) -> set[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    names = {re.split(r"[<>=\[; ]", line)[0] for line in lines if line[:1] not in ("", "#")}
    return {name.lower().replace("_", "-") for name in names}


@pytest.mark.parametrize("extra", ["core", *(name for name in extras.EXTRAS if name != "ray")])
def test_an_extra_installs_its_modules(extra: str) -> None:
    """Not Ray's: it has an environment of its own (make scale)."""
    modules = extras.EXTRAS.get(extra, extras.CORE)
    owners = importlib.metadata.packages_distributions()
    wanted = requirement_names(extra)
    brought = {"markupsafe"}  # by jinja2
    for module in set(modules) - brought:
        names = {owner.lower().replace("_", "-") for owner in owners[module]}
        assert names & wanted, module


def test_what_ros_has_is_in_package_xml() -> None:
    """rosdep brings what is named there; message packages of single drivers are looked up when used."""
    text = (ROOT / "package.xml").read_text(encoding="utf-8")
    named = set(re.findall(r"<(?:exec_)?depend>(\w[\w-]*)</", text))
    drivers = {"control_msgs"}
    files = [*(ROOT / "adamoe_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    used: set[str] = set()
    for path in files:
        used |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    packages = {name for name in used if ROS.fullmatch(name)}
    assert packages - drivers <= named
    assert {"python3-numpy", "python3-yaml", "python3-venv", "ros2launch", "ros2run"} <= named
