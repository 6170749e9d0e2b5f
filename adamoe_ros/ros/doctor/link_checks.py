# SPDX-License-Identifier: Apache-2.0
"""A policy server as policy_node would use it: who answers, how long it takes, how much goes through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adamoe_ros.contract.errors import ContractError, PolicyUnavailable
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.policy.compatibility import mismatches
from adamoe_ros.ros.doctor.report import Check
from adamoe_ros.serving.link import LinkSettings, PolicyLink
from adamoe_ros.serving.remote_actor import read_announced
from adamoe_ros.serving.wire import EXTRA

_AREA = "policy server"
_ECHOES = 20
_PAYLOAD = 4 << 20  # bytes, about three raw pictures of 640x480
_CLOCK_S = 0.1  # difference that is worth a word: stamps are never compared across the link
_ANSWER_S = 30.0


def check_link(
    url: str, token: Path | None, authority: Path | None, profile: RobotProfile | None
) -> Iterator[Check]:
    """Reachability, match, round trip, clock and bandwidth."""
    try:
        link = PolicyLink(LinkSettings(url, token, authority, _ANSWER_S))
    except ContractError as error:
        for line in error.problems:
            yield Check(_AREA, "connection", "fail", line)
        return
    try:
        yield from _checks(link, profile)
    except (ContractError, PolicyUnavailable) as error:
        yield Check(_AREA, "connection", "fail", str(error))
    finally:
        link.close()


def _checks(link: PolicyLink, profile: RobotProfile | None) -> Iterator[Check]:
    told = link.metadata
    manifest, config, _ = read_announced(told, link.where)
    text = (
        f"{told['checkpoint']} on {told['device']}, {told['server']}, in batches of {told['batch']}"
    )
    values = {"fingerprint": told["fingerprint"], "inference (s)": told["warm_s"]}
    yield Check(_AREA, "connection", "ok", text, values)
    if profile is not None:
        lines = mismatches(profile, manifest)
        for line in lines:
            yield Check(_AREA, "match", "fail", line)
        if not lines:
            yield Check(_AREA, "match", "ok", f"the checkpoint fits {profile.name}")
    trips, offsets = _echoes(link)
    p50, p99 = np.percentile(trips, (50, 99))
    text = f"round trip {1e3 * p50:.1f} ms, at worst {1e3 * p99:.1f} ms"
    yield Check(_AREA, "latency", "ok", text, {"p50 (s)": float(p50), "p99 (s)": float(p99)})
    offset = offsets[int(np.argmin(trips))]  # the shortest trip says most of the clocks
    differs = bool(abs(offset) > _CLOCK_S + p50)
    advice = "; nothing depends on it, but logs of both cannot be compared: run chrony" * differs
    text = f"the server's is {1e3 * offset:+.1f} ms from ours{advice}"
    yield Check(_AREA, "clock", "warn" if differs else "ok", text, {"offset (s)": float(offset)})
    rate = _bandwidth(link, float(p50))
    chunk_s = config.horizon / (manifest.control_rate_hz or 1.0)
    yield _judge_bandwidth(rate, profile, manifest.camera_slots, chunk_s)


def _echoes(link: PolicyLink) -> tuple[list[float], list[float]]:
    """s of round trips, and how far the server's clock is ahead in each."""
    trips, offsets = [], []
    for _ in range(_ECHOES):
        before, begun = time.time_ns(), time.perf_counter()
        answer = link.ask({EXTRA: {"echo": b""}})
        trips.append(time.perf_counter() - begun)
        middle = before + round(trips[-1] * 5e8)
        offsets.append((int(answer[EXTRA]["time_ns"]) - middle) / 1e9)
    return trips, offsets


def _bandwidth(link: PolicyLink, round_trip_s: float) -> float:
    """Bytes per s towards the server."""
    payload = np.random.default_rng(0).bytes(_PAYLOAD)
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        link.ask({EXTRA: {"echo": payload}})
        took.append(time.perf_counter() - begun)
    return _PAYLOAD / max(1e-6, min(took) - round_trip_s)


def _judge_bandwidth(
    rate: float, profile: RobotProfile | None, slots: tuple[str, ...], chunk_s: float
) -> Check:
    shown = f"{rate / 1e6:.0f} MB/s"
    if profile is None:
        text = f"{shown}; give --robot to compare it with the cameras"
        return Check(_AREA, "bandwidth", "ok", text, {"bytes/s": rate})
    cameras = [camera for slot, camera in profile.present_cameras.items() if slot in slots]
    size = sum(3 * camera.width * camera.height for camera in cameras)
    share = size / rate / chunk_s
    values = {"bytes/s": rate, "bytes of an observation": size}
    text = f"{shown}: raw pictures of an observation take {1e3 * size / rate:.0f} ms"
    if share <= 0.1:
        return Check(_AREA, "bandwidth", "ok", text, values)
    text += (
        f", {share:.0%} of a chunk's {chunk_s:.2f} s; set jpeg_quality:=90, or use a faster network"
    )
    return Check(_AREA, "bandwidth", "warn" if share < 0.5 else "fail", text, values)
