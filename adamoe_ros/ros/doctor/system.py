# SPDX-License-Identifier: Apache-2.0
"""This machine: ROS, transports and DDS settings, shared memory, disk, scheduling, GPU. No ROS at import."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import resource
import shutil
from pathlib import Path
from xml.etree import ElementTree

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.extras import found
from adamoe_ros.ros import shared_memory, transports
from adamoe_ros.ros.doctor.report import Report

_AREA = "machine"
_SEGMENT = 16 * 2**20  # bytes: room for a few frames of three cameras
_CONTROL = re.compile(rb"\bcontrol_node\b.*--ros-args|lib/adamoe_ros/control_node", re.DOTALL)
_DISK = 2 * 10**9  # bytes: logs, a bag, a checkpoint's copy


def check_machine(report: Report) -> None:
    """Everything that can be said without profile or checkpoint."""
    _ros(report)
    rmw = _rmw(report)
    if "fastrtps" in rmw:
        _transports(report)
        _dds(report)
    elif rmw:
        report.add(_AREA, "DDS", "ok", f"{rmw}: the settings of Fast DDS do not matter")
    _shared_memory(report)
    _disk(report)
    _scheduling(report)


def _ros(report: Report) -> None:
    if not found("rclpy"):
        report.add(
            _AREA, "ROS 2", "warn", "none here; for nodes source /opt/ros/<distro>/setup.bash"
        )
        return
    if not found("adamoe_ros.msg"):
        do = "build with colcon and source install/setup.bash"
        report.add(_AREA, "ROS 2", "warn", f"rclpy is here, this package's messages are not; {do}")
        return
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    report.add(_AREA, "ROS 2", "ok", f"{_distribution()}, domain {domain}")


def _distribution() -> str:
    """Which ROS 2; wheels do not set the variable."""
    name = os.environ.get("ROS_DISTRO")
    if name:
        return name
    try:
        return f"wheels, rclpy {importlib.metadata.version('ros-rclpy')}"
    except importlib.metadata.PackageNotFoundError:
        return "unknown distribution (ROS_DISTRO is not set)"


def _rmw(report: Report) -> str:
    """The RMW that nodes load; empty: none can be."""
    try:
        rmw = transports.chosen_rmw()
    except ContractError as error:
        report.add(_AREA, "RMW", "fail", str(error))
        return ""
    installed = ", ".join(transports.installed_rmws()) or "unknown, no AMENT_PREFIX_PATH"
    report.add(_AREA, "RMW", "ok", f"{rmw}; installed: {installed}")
    return rmw


def _transports(report: Report) -> None:
    """What nodes started here would use, and what running ones really use."""
    chosen = transports.chosen_transports()
    if chosen:
        do = "they may share memory with a process that dies, and stop late; unset it for our nodes"
        report.add(_AREA, "transports", "warn", f"our nodes take {chosen}; {do}")
    else:
        report.add(_AREA, "transports", "ok", "our nodes: UDP alone, shared memory for pictures")
    for pid in shared_memory.pids():
        with contextlib.suppress(OSError):
            if not _CONTROL.search(Path(f"/proc/{pid}/cmdline").read_bytes()):
                continue
            name, used = f"control_node {pid}", shared_memory.files_in_use(pid)
            if used:
                do = "start it without FASTDDS and FASTRTPS variables"
                text = f"has {len(used)} shared-memory files open: a stop may come late; {do}"
                report.add(_AREA, name, "fail", text)
            else:
                report.add(_AREA, name, "ok", "runs without shared memory")


def _dds(report: Report) -> None:
    """What camera drivers that are started here use."""
    if transports.prepared():  # by the console, for itself
        text = (
            "this shell is a node's (UDP alone); run 'adamoe doctor' where the drivers are started"
        )
        report.add(_AREA, "DDS", "unchecked", text)
        return
    path = next(
        (os.environ[name] for name in transports.PROFILE_VARIABLES if name in os.environ), ""
    )
    if not path:
        text = (
            "Fast DDS with its default 512 kB shared-memory segment drops most 640x480 frames; "
            "export FASTDDS_DEFAULT_PROFILES_FILE and FASTRTPS_DEFAULT_PROFILES_FILE with the path "
            "of config/fastdds.xml for camera drivers (our nodes do without)"
        )
        report.add(_AREA, "DDS", "warn", text)
        return
    try:
        size = segment_size(Path(path))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        report.add(
            _AREA, "DDS", "fail", f"{path}: {error}; point the variable at config/fastdds.xml"
        )
        return
    text, values = f"shared-memory segment of {size / 2**20:g} MiB in {path}", {"segment (B)": size}
    if size >= _SEGMENT:
        report.add(_AREA, "DDS", "ok", text, values)
    else:
        report.add(_AREA, "DDS", "warn", f"{text}; use config/fastdds.xml", values)


def segment_size(path: Path) -> int:
    """Largest shared-memory segment a Fast DDS profile asks for, bytes; 0 where it names none."""
    sizes = [
        int(element.text or 0)
        for element in ElementTree.parse(path).iter()
        if element.tag.rsplit("}", 1)[-1] == "segment_size"
    ]
    return max(sizes, default=0)


def _shared_memory(report: Report) -> None:
    folder = shared_memory.FOLDER
    if not folder.is_dir():
        report.add(_AREA, "shared memory", "unchecked", f"no {folder} on this system")
        return
    free, left = shutil.disk_usage(folder).free, shared_memory.leftovers()
    size = sum(item.size for item in left)
    values = {"free (B)": free, "leftovers": len(left), "leftovers (B)": size}
    text = f"{free / 2**20:.0f} MiB free"
    if left:
        text += (
            f"; {size / 2**20:.0f} MiB of {len(left)} dead processes, which our next node removes"
        )
    if free < 512 * 2**20:
        text += "; enlarge it (docker: --shm-size=1g)"
        report.add(_AREA, "shared memory", "fail", text, values)
    else:
        report.add(_AREA, "shared memory", "ok", text, values)


def _disk(report: Report) -> None:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= _DISK
    text = f"{free / 1e9:.1f} GB free here" + ("" if enough else "; bags and logs need 2 GB")
    report.add(_AREA, "disk", "ok" if enough else "warn", text, {"free (B)": free})


def _scheduling(report: Report) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    allowed = os.geteuid() == 0 or soft > 0
    text = (
        "real-time priority may be asked for (realtime_priority)"
        if allowed
        else "no real-time priority for this user; optional: config/system (doc/robot_computer.md)"
    )
    report.add(_AREA, "scheduling", "ok" if allowed else "warn", text, {"CPUs": os.cpu_count()})
