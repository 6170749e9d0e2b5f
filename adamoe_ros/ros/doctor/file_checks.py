# SPDX-License-Identifier: Apache-2.0
"""Profile and checkpoint, each alone and against each other, without loading weights. No ROS."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.manifest import CHECKPOINT_FILES, CheckpointManifest, load_manifest
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics, leader_topics
from adamoe_ros.policy.compatibility import mismatches
from adamoe_ros.ros.doctor.report import Report
from adamoe_ros.streams.commands import command_type
from adamoe_ros.streams.encodings import encoding_name

_MATCH = "match"
_WORKSPACE = 1.25  # device memory needed per byte of weights: activations, caches, graphs


def check_profile(report: Report, robot: str) -> RobotProfile | None:
    """Load the profile; every problem is one failed check."""
    try:
        profile = load_profile(profile_path(robot, robots_dir()))
        for topic in (*command_topics(profile), *leader_topics(profile)):
            command_type(topic)
        for slot, camera in profile.present_cameras.items():
            encoding_name(camera.encoding, f"cameras.{slot}.encoding")
    except ContractError as error:
        for line in error.problems:
            where, _, text = line.partition(": ")
            report.add("profile", where, "fail", text)
        return None
    joints, cameras = len(profile.joint_ids), len(profile.present_cameras)
    report.add("profile", robot, "ok", f"{joints} joints, {cameras} cameras: {profile.description}")
    for side, arm in profile.ordered_arms:
        rows = [
            f"{name} {limits.velocity:g}"
            for name, limits in zip(arm.names, arm.limits, strict=True)
        ]
        text = f"velocity limits as resolved (rad/s, m/s): {', '.join(rows)}"
        report.add("profile", f"{side} arm", "ok", text)
    if profile.teleop is not None:
        text = (
            f"leaders of {', '.join(profile.teleop.arms)}, dead-man {profile.teleop.deadman.topic}"
        )
        report.add("profile", "teleop", "ok", text)
    return profile


def check_checkpoint(report: Report, folder: Path) -> CheckpointManifest | None:
    """Files, manifest, and the size of the weights."""
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    if missing:
        do = "point --checkpoint at a folder made by 'adamoe convert' or 'adamoe train'"
        report.add("checkpoint", str(folder), "fail", f"without {', '.join(missing)}; {do}")
    try:
        manifest = load_manifest(folder / "manifest.json")
    except ContractError as error:
        for line in error.problems:
            report.add("checkpoint", "manifest", "fail", line)
        return None
    if manifest.raw_only:
        got = f"raw_only ({manifest.raw_only_reason}): it cannot drive a robot"
        do = "convert it again with what is missing"
        report.add("checkpoint", "manifest", "fail", f"{got}; {do}")
    else:
        text = (
            f"{manifest.architecture}, {manifest.embodiment}, {len(manifest.joints)} joints, "
            f"{manifest.control_rate_hz:g} Hz"
        )
        report.add("checkpoint", "manifest", "ok", text)
    if manifest.tokenizer and not (folder / manifest.tokenizer).is_file():
        report.add(
            "checkpoint", "tokenizer", "fail", f"no file {manifest.tokenizer}; copy it there"
        )
    if "model.safetensors" not in missing:
        _check_weights(report, folder / "model.safetensors")
    return manifest


def weight_bytes(path: Path) -> int:
    """Bytes of all tensors, from the header of a safetensors file.

    Raises:
        ValueError: not a safetensors file.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ValueError("shorter than its header")
        (length,) = struct.unpack("<Q", start)
        if length > path.stat().st_size:
            raise ValueError("cut off, or not a safetensors file")
        header = json.loads(stream.read(length))
    try:
        places = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
        return sum(int(end) - int(begin) for begin, end in places)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("its header is damaged") from error


def _check_weights(report: Report, path: Path) -> None:
    try:
        size = weight_bytes(path)
    except (ValueError, OSError) as error:
        report.add("checkpoint", "weights", "fail", f"{path.name}: {error}; copy it again")
        return
    values = {"weights (B)": size, "needed (B)": round(size * _WORKSPACE)}
    free = _device_memory()
    text = f"{size / 2**30:.2f} GiB"
    if free is None:
        report.add(
            "checkpoint", "weights", "ok", f"{text}; no CUDA device, it runs on the CPU", values
        )
    elif free < size * _WORKSPACE:
        need = size * _WORKSPACE / 2**30
        do = f"{free / 2**30:.1f} GiB free on the GPU, {need:.1f} needed; end what else uses it"
        report.add("checkpoint", "weights", "fail", f"{text}; {do}", values)
    else:
        report.add("checkpoint", "weights", "ok", f"{text}, {free / 2**30:.1f} GiB free", values)


def _device_memory() -> int | None:
    """Free bytes of the first CUDA device; None without one."""
    try:
        import torch
    except ImportError:
        return None
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def check_match(report: Report, profile: RobotProfile, manifest: CheckpointManifest) -> None:
    """Checkpoint against profile, by the checks of policy_node; and what is worth knowing beside."""
    lines = mismatches(profile, manifest)
    for line in lines:
        report.add(_MATCH, profile.name, "fail", line)
    if not lines:
        report.add(_MATCH, profile.name, "ok", "joints, grippers, cameras and state source fit")
    for slot, camera in profile.cameras.items():
        if slot not in manifest.camera_slots:
            report.add(_MATCH, slot, "warn", "the checkpoint does not look at it; it is not used")
        elif camera.absent:
            report.add(_MATCH, slot, "warn", "declared absent: the checkpoint was trained with it")
        else:
            report.add(_MATCH, slot, "ok", f"from {camera.topic}")
    _check_rates(report, profile, manifest)


def _check_rates(report: Report, profile: RobotProfile, manifest: CheckpointManifest) -> None:
    rate = manifest.control_rate_hz
    if not rate:
        return
    if profile.command_rate < rate:
        text = f"commands at {profile.command_rate:g} Hz, rows at {rate:g} Hz; raise command_rate"
        report.add(_MATCH, "rates", "fail", text)
        return
    text = f"rows at {rate:g} Hz, interpolated to {profile.command_rate:g} Hz"
    report.add(_MATCH, "rates", "ok", text)
