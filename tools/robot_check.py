#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``make robot-check``: README's commands for a robot's computer, literally, on one that was just installed.

A Debian tree (debootstrap) whose Python refuses pip, with a user who may sudo, and a ROS 2 under
``/opt/ros/kilted``: the wheels' ROS, and ros2cli, launch and launch_ros from their sources, over the
distribution's own numpy, PyYAML and colcon. In it the first block of README's robot quick start runs as it
stands, up to a launched loopback robot that ``adamoe doctor --live`` finds in order; then the command of
the systemd unit does, from the environment that systemd gives. Needs root and debootstrap, 6 GB, and half
an hour on two cores; sources that are not on a package index are cloned, or taken from ``--sources``.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".robot-check"
RESULT = ROOT / "benchmarks" / "results" / "robot_computer.json"
SOURCES = ("ros2/launch", "ros2/launch_ros", "ros2/rcl_interfaces", "ros2/ros2cli", "ros/rosdistro")
# the tree shares the network with this machine's other nodes
QUIET = {"ROS_DOMAIN_ID": "93", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
LIVE = "adamoe doctor --robot aloha_sim --live --use-sim-time false"  # on README's page
# what ROS's installation page has a person install, and what its packages depend on
DEBIAN = (
    "ca-certificates cmake colcon g++ git iproute2 libpython3-dev make procps python3-argcomplete "
    "python3-catkin-pkg python3-colcon-cmake python3-colcon-ros python3-empy python3-importlib-metadata "
    "python3-lark python3-numpy python3-osrf-pycommon python3-packaging python3-psutil python3-rosdep2 "
    "python3-setuptools python3-typing-extensions python3-yaml sudo"
)
PYTHON_PACKAGES = (
    "launch/launch launch/launch_yaml launch/launch_xml launch_ros/launch_ros launch_ros/ros2launch "
    "ros2cli/ros2cli ros2cli/ros2pkg ros2cli/ros2run ros2cli/ros2action ros2cli/ros2interface"
)
# *.libs: what the wheels brought of their own, which a distribution has in /usr/lib
SETUP_BASH = """export ROS_DISTRO=kilted ROS_VERSION=2 ROS_PYTHON_VERSION=3
export AMENT_PREFIX_PATH=/opt/ros/kilted CMAKE_PREFIX_PATH=/opt/ros/kilted
export PATH=/opt/ros/kilted/bin:$PATH
export PYTHONPATH=/opt/ros/kilted/lib/python{version}/site-packages
export LD_LIBRARY_PATH=/opt/ros/kilted/lib:$(printf '%s:' $PYTHONPATH/*.libs)
"""
# the wheels bring numpy and others; the distribution has its own
TRIM = """
import importlib.metadata as m, pathlib, re, shutil, sys
prefix = pathlib.Path("/opt/ros/kilted")
ours = set({kept!r})
site = next(prefix.glob("lib/python3*/site-packages"))
for dist in list(m.distributions(path=[str(site)])):
    if dist._path.suffix != ".dist-info" and not (dist._path / "installed-files.txt").exists():
        continue  # ament's own, inside of a wheel
    name = dist.metadata["Name"].lower().replace("_", "-")
    if not name.startswith("ros-") and name.replace("-", "_") not in ours:
        for file in dist.files or ():
            pathlib.Path(dist.locate_file(file)).unlink(missing_ok=True)
        shutil.rmtree(dist._path, ignore_errors=True)
for folder in [path for path in site.iterdir() if path.is_dir()]:
    if all("__pycache__" in file.parts for file in folder.rglob("*") if file.is_file()):
        shutil.rmtree(folder)
for path in (prefix / "bin").iterdir():
    if path.name.startswith(("python", "pip", "activate", "Activate")):
        path.unlink()
    elif path.is_file() and path.read_bytes()[:2] == b"#!":
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(["#!/usr/bin/python3\\n", *lines[1:]]))
(prefix / "pyvenv.cfg").unlink()
"""


class Tree:
    """The installed computer: a Debian tree, entered with mounts of its own that end with the command.

    Args:
        folder: of the tree.
        sources: of ``SOURCES``.
        checkout: what a person clones.
    """

    def __init__(self, folder: Path, sources: Path, checkout: Path) -> None:
        self.folder = folder
        self._binds = {Path("/dev"): "/dev", sources: "/sources", checkout: "/checkout"}
        self._binds |= {path: str(path) for path in pip_folders()}
        self._variables = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}

    def command(self, script: str, user: str, environment: dict[str, str]) -> list[str]:
        """Words that run a bash script in the tree as a login of a user would."""
        home = "/root" if user == "root" else f"/home/{user}"
        variables = {
            "HOME": home,
            "USER": user,
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            **self._variables,
            **environment,
        }
        mounts = ["mount -t proc proc proc"]
        for source, target in self._binds.items():
            place = self.folder / target.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            mounts.append(f"mount --rbind {shlex.quote(str(source))} {target.lstrip('/')}")
        words = [f"{name}={value}" for name, value in variables.items()]
        inside = ["chroot", f"--userspec={user}", ".", "/usr/bin/env", "-i", *words]
        inside += ["/bin/bash", "-c", f"cd ~ && {script}"]
        text = " && ".join([*mounts, f"exec {shlex.join(inside)}"])
        return [*["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c"], text]

    def run(
        self,
        script: str,
        user: str = "root",
        seconds: float = 1800,
        variables: dict[str, str] | None = None,
    ) -> str:
        """What a script printed; its lines that begin with "==" are shown as they come.

        Raises:
            SystemExit: it failed; its end is printed.
        """
        print(f"robot-check: {script.splitlines()[0][:110]}", flush=True)
        lines = []
        words = ["timeout", "-k", "10", str(seconds), *self.command(script, user, variables or {})]
        with subprocess.Popen(
            words, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as child:
            for line in child.stdout or ():
                lines.append(line)
                if line.startswith("=="):
                    print(line, end="", flush=True)
        if child.returncode:
            print("".join(lines[-30:]), file=sys.stderr)
            raise SystemExit(f"robot-check: exit {child.returncode} of: {script[:200]}")
        return "".join(lines)


def pip_folders() -> list[Path]:
    """Folders of this machine that pip's settings name: a mirror on the disk is there in the tree, too."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = {Path(text) for text in re.findall(r"(?:file://)?(/[\w./-]+)", listed)}
    tops = {Path(*path.parts[:3]) for path in found if path.exists() and path.parts[1] == "opt"}
    return sorted(tops)


def readme_block() -> list[str]:
    """The commands of README's robot quick start, a line each."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"`{LIVE}`" in text
    section = text.split("## Quick start with a robot", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert block is not None, "README's robot quick start has a block of commands"
    lines = block[1].replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def install(tree: Tree, folder: Path) -> None:
    """Debian, a user, and the stand-in of a ROS 2 distribution; done once."""
    if (folder / "opt/ros/kilted/setup.bash").is_file():
        return
    if not (folder / "usr/bin/python3").exists():
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=python3,ca-certificates", "bookworm", folder],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    for path in (
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pip.conf",
    ):
        if Path(path).is_file():
            (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path[1:])
    if Path("/etc/xdg/pip").is_dir():
        shutil.copytree("/etc/xdg/pip", folder / "etc/xdg/pip", dirs_exist_ok=True)
    tree.run(f"apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy {DEBIAN}")
    for path in ("/etc/ssl/certs/ca-certificates.crt",):  # its own was made by the package
        shutil.copyfile(path, folder / path[1:])
    tree.run(
        "id robot || useradd -m -s /bin/bash robot; "
        "echo 'robot ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/robot"
    )
    _install_ros(tree, folder)


def _install_ros(tree: Tree, folder: Path) -> None:
    names = [Path(word).name for word in PYTHON_PACKAGES.split()]
    tree.run("apt-get install -qy python3-venv && python3 -m venv /opt/ros/kilted")
    pip = "/opt/ros/kilted/bin/python -m pip install -q"
    tree.run(f"{pip} -c /checkout/requirements/pins.txt -r /checkout/requirements/ros-kilted.txt")
    tree.run("rm -rf /tmp/sources && cp -r /sources /tmp/sources")  # setuptools writes beside them
    places = " ".join(f"/tmp/sources/{word}" for word in PYTHON_PACKAGES.split())
    tree.run(f"{pip} --no-deps --no-build-isolation {places}")
    site = next(folder.glob("opt/ros/kilted/lib/python3.*/site-packages"))
    tree.run(f"python3 - <<'END'\n{TRIM.format(kept=names)}\nEND")
    version = site.parent.name.removeprefix("python")
    numpy = tree.run("python3 -c 'import numpy; print(numpy.get_include())'").strip()
    tree.run(
        f"cd /checkout/tools && python3 -c 'import pathlib, ros_wheels; "
        f'ros_wheels.mend_all(pathlib.Path("/opt/ros/kilted"), "/usr/include/python{version}", '
        f'"{numpy}")\''
    )
    (folder / "opt/ros/kilted/setup.bash.part").write_text(SETUP_BASH.format(version=version))
    # launch_ros imports it, and there is no wheel
    tree.run(
        "source /opt/ros/kilted/setup.bash.part && cd /tmp/sources/rcl_interfaces && "
        "cmake -S composition_interfaces -B made -DBUILD_TESTING=OFF "
        "-DCMAKE_INSTALL_PREFIX=/opt/ros/kilted && make -C made install"
    )
    sources = folder / "etc/ros/rosdep/sources.list.d/20-default.list"
    sources.parent.mkdir(parents=True, exist_ok=True)
    files = ("base", "python")
    sources.write_text("".join(f"yaml file:///sources/rosdistro/rosdep/{x}.yaml\n" for x in files))
    tree.run("apt-get remove -qy python3-venv python3-pip-whl || true")  # rosdep shall bring it
    (folder / "opt/ros/kilted/setup.bash.part").rename(folder / "opt/ros/kilted/setup.bash")


def follow_readme(tree: Tree, folder: Path, seconds: float, keep: bool) -> dict[str, object]:
    """README's block as it stands, with the places that a person fills in."""
    if not keep:
        shutil.rmtree(folder / "home/robot/ros2_ws", ignore_errors=True)
    lines = [
        line.replace("<this repository>", "/checkout").replace("<distro>", "kilted")
        for line in readme_block()
    ]
    refused = tree.run("python3 -m pip install numpy 2>&1 || true", "robot")
    assert "externally-managed-environment" in refused or "No module named pip" in refused, refused
    index = {"ROSDISTRO_INDEX_URL": "file:///sources/rosdistro/index-v4.yaml"}
    tree.run("rosdep update --rosdistro kilted", "robot", variables=index)
    # /checkout is of another owner; a person clones from a server
    tree.run("git config --global --add safe.directory '*'", "robot")
    watch = f"""
echo "== doctor"; for trial in $(seq {int(seconds / 15)}); do
  {LIVE} --seconds 15 >~/live.txt 2>&1 && break; kill -0 %2 || break; sleep 5; done
cat ~/live.txt; echo "== programs"
for name in policy_node control_node loopback_node; do
  pid=$(pgrep -f "lib/adamoe_ros/$name" | tail -1); echo "$name $(readlink /proc/$pid/exe) $(tr '\\0' ' ' </proc/$pid/cmdline | cut -c1-60)"
done
command -v adamoe; kill -INT %1 %2; wait; echo "== end"; {LIVE} >~/gone.txt && exit 1 || true
"""
    words = [re.sub(r"\s+#.*", "", line) for line in lines]
    if keep:
        words[1] = "cd ~/ros2_ws && git -C src/adamoe_ros pull -q"
    steps = [
        word
        if word.endswith("&")
        else f'SECONDS=0; {word} || exit 9; echo "== $SECONDS s:" {shlex.quote(word)}'
        for word in words[:-1]
    ]
    script = "set -m\n" + "\n".join(steps) + f"\n{words[-1]} >~/launch.txt 2>&1 &\n{watch}"
    begin = time.monotonic()
    output = tree.run(script, "robot", 2 * 3600, {**index, **QUIET})
    live = output.split("== doctor", 1)[1].split("== programs", 1)[0].strip()
    programs = output.split("== programs", 1)[1].split("== end", 1)[0].strip().splitlines()
    if not _in_order(live):
        print(live, (folder / "home/robot/launch.txt").read_text()[-3000:], sep="\n")
        raise SystemExit("robot-check: the launched loopback robot is not in order")
    assert all("/home/robot/ros2_ws/src/adamoe_ros/.venv/bin/python" in x for x in programs[:3]), (
        programs
    )
    return {
        "workspace": "of the last try, pulled" if keep else "new",
        "commands": lines,
        "seconds by command": re.findall(r"^== (\d+ s: .*)", output, re.MULTILINE),
        "seconds": round(time.monotonic() - begin),
        "doctor --live": live.splitlines(),
        "programs": programs,
    }


def _in_order(report: str) -> bool:
    """Whether the last line of a doctor's report counts no failure."""
    return re.search(r"\b0 fail", report) is not None


def follow_unit(tree: Tree, seconds: float) -> dict[str, object]:
    """The command of config/system/adamoe.service, from an environment as systemd makes it."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "config" / "system" / "adamoe.service")
    command = unit["Service"]["ExecStart"]
    variables = {
        "ROS_DISTRO": "kilted", "WORKSPACE": "/home/robot/ros2_ws",
        "ROBOT": "aloha_sim", "CHECKPOINT": "/home/robot/ros2_ws/src/adamoe_ros/checkpoints/demo",
        "ARGUMENTS": "shadow:=true use_sim_time:=false", **QUIET,
    }  # fmt: skip
    script = f"""set -m
{command} >~/unit.txt 2>&1 &
source /opt/ros/kilted/setup.bash; source ~/ros2_ws/install/setup.bash
ros2 run adamoe_ros loopback_node --ros-args -p robot:=aloha_sim -p autostart:=true -p cameras:=true >/dev/null 2>&1 &
for trial in $(seq {int(seconds / 15)}); do {LIVE} --seconds 15 >~/live.txt 2>&1 && break; sleep 5; done
cat ~/live.txt; kill -INT %1 %2; wait %1; echo "unit ended with $?" """
    live = tree.run(script, "robot", 1200, variables)
    if not _in_order(live):
        raise SystemExit(f"robot-check: what the unit starts is not in order\n{live}")
    return {"command": command, "doctor --live": live.splitlines()}


def sources(given: Path | None) -> Path:
    """Folder with the sources: given, or cloned."""
    if given is not None:
        return given.resolve()
    folder = FOLDER / "sources"
    for name in SOURCES:
        place = folder / name.split("/")[1]
        if not place.is_dir():
            address = f"https://github.com/{name}"
            subprocess.run(["git", "clone", "-q", "--depth", "1", address, place], check=True)
    return folder


def main() -> int:
    """Install, follow README, follow the unit; write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=Path, help=f"folder with {', '.join(SOURCES)}")
    parser.add_argument(
        "--tree", type=Path, default=FOLDER / "tree", help="where the Debian tree is"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="wait so long for the nodes")
    parser.add_argument(
        "--keep", action="store_true", help="go on in the workspace of the last try"
    )
    options = parser.parse_args()
    if os.geteuid() or shutil.which("debootstrap") is None:
        print(
            "robot-check: expected root and debootstrap; run as root after apt-get install debootstrap"
        )
        return 2
    folder = options.tree.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    checkout = folder.parent / "checkout"
    shutil.rmtree(checkout, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", ROOT, checkout], check=True)
    tree = Tree(folder, sources(options.sources), checkout)
    install(tree, folder)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    found: dict[str, object] = {"commit": commit}
    found["system"] = tree.run(". /etc/os-release; echo $PRETTY_NAME, $(python3 --version)").strip()
    found["readme"] = follow_readme(tree, folder, options.seconds, options.keep)
    found["unit"] = follow_unit(tree, options.seconds)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"robot-check: README's commands lead to a launched robot; {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
