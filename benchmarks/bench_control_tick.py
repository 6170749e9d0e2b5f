# SPDX-License-Identifier: Apache-2.0
"""Cost of one control tick, typical and worst, per strategy.

Each measured tick includes what a period brings: a joint state, a heartbeat, in every 20th a chunk,
and the tick itself; refused chunks and stops are mixed in, because the worst case counts. Wall and
CPU time stand side by side: on a shared machine the wall maximum is the scheduler's, the CPU
maximum is ours. Writes JSON.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import RESULTS, machine, write

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import ControlSettings
from adamoe_ros.control.strategies import STRATEGIES

ROWS = 50
WARMUP = 500


def periods(profile: RobotProfile, strategy: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Wall and CPU time of each period, s, (count,) each."""
    rng = np.random.default_rng(0)
    core = ControlCore(profile, ControlSettings(strategy=strategy))
    home = np.array([value for _, arm in profile.ordered_arms for value in arm.home])
    period = round(core.period_s * 1e9)
    now = 10**12
    core.activate(now, home)
    core.on_run(1)
    wall, cpu = np.zeros(count + WARMUP), np.zeros(count + WARMUP)
    joints = len(home)
    for index in range(count + WARMUP):
        now += period
        state = home + rng.normal(0, 1e-3, joints)
        rows = core.gate.position + np.cumsum(rng.normal(0, 2e-3, (ROWS, joints)), axis=0)
        if index % 997 == 0:
            rows[3, 2] = np.nan
        chunk = ActionChunk(now - 2 * period, index + 1, 1, profile.joint_ids, 0.02, rows)
        begin, used = time.perf_counter_ns(), time.thread_time_ns()
        core.on_state(now, state)
        core.on_heartbeat(now)
        if index % 20 == 0:
            core.on_chunk(chunk, now)
        core.tick(now)
        wall[index] = (time.perf_counter_ns() - begin) / 1e9
        cpu[index] = (time.thread_time_ns() - used) / 1e9
        if index % 5003 == 0:
            core.on_hold("cancelled")
            core.on_run(1)
    return wall[WARMUP:], cpu[WARMUP:]


def figures(seconds: np.ndarray) -> dict[str, float]:
    """Microseconds."""
    named = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: round(float(np.quantile(seconds, q)) * 1e6, 1) for name, q in named.items()} | {
        "max": round(float(seconds.max()) * 1e6, 1)
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", default="aloha_sim", help="profile name")
    parser.add_argument("--periods", type=int, default=20_000, help="measured per strategy")
    parser.add_argument("--out", type=Path, default=RESULTS / "control_tick.json")
    options = parser.parse_args()
    profile = load_profile(profile_path(options.robot, robots_dir()))
    results: dict[str, object] = {
        "unit": "us per control period (state + heartbeat + tick; a chunk in every 20th)",
        "settings": {"robot": options.robot, "periods": options.periods, "rows": ROWS},
        "machine": machine(),
    }
    for strategy in STRATEGIES:
        wall, cpu = periods(profile, strategy, options.periods)
        results[strategy] = {"wall": figures(wall), "cpu": figures(cpu)}
        print(strategy, results[strategy])
    write(options.out, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
