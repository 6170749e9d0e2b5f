# SPDX-License-Identifier: Apache-2.0
"""Figures of a run: the numbers that ``results.json`` and the report's tables share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from adamoe_ros.control.metrics import Sizes
from adamoe_ros.data.recording import Episode, Recording

RESULTS_FORMAT = "adamoe_ros/results/1"
CLIP_KINDS = ("position_clips", "velocity_clips", "acceleration_clips", "step_clips")
_RUNNING = 2  # ControlStatus.RUNNING


def spread(values: Sequence[float]) -> dict[str, float]:
    """count, p50, p95, p99 and max; empty for no values."""
    data = np.asarray(values, float)
    data = data[np.isfinite(data)]
    if data.size == 0:
        return {}
    p50, p95, p99 = np.percentile(data, (50, 95, 99))
    return {
        "count": int(data.size),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(data.max()),
    }


def stage_latencies(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """Stage -> s of every inference, in the stages' order."""
    stages: dict[str, list[float]] = {}
    for episode in episodes:
        for inference in episode.inferences:
            for name, value in zip(episode.stages, inference.latency, strict=False):
                stages.setdefault(name, []).append(value)
    return stages


def clip_totals(episode: Episode) -> dict[str, int]:
    """Gate interventions of an episode by cause, summed over joints."""
    return {kind: int(sum(episode.counters.get(kind, []))) for kind in CLIP_KINDS}


def seam_figures(episode: Episode) -> dict[str, Any]:
    """Chunk boundaries, by the definitions of ``control.metrics``, from what was seen of them.

    ``count`` is every boundary, ``seen`` those whose values came with a status message.
    """
    width = len(episode.joint_names)
    counts, seen = episode.counters, len(episode.seams)
    figures: dict[str, Any] = {"count": int(counts.get("seams", seen)), "seen": seen}
    for key in ("position_jump", "velocity_jump", "jerk"):
        values = [row for row in (getattr(seam, key) for seam in episode.seams) if row]
        figures[key] = asdict(Sizes.of(values, width))
    for key in ("repeated_rows", "skipped_rows"):
        figures[key] = int(counts.get(key, 0))
    return figures


def episode_results(episode: Episode) -> dict[str, Any]:
    """One episode's entry of ``results.json``; s, Hz, rad or m."""
    running = [item for item in episode.control if item.mode == _RUNNING]
    return {
        "index": episode.index,
        "seed": episode.seed,
        "task": episode.task,
        "instruction": episode.instruction,
        "changes": [asdict(change) for change in episode.changes],
        "success": episode.success,
        "ever_success": episode.ever_success,
        "result_code": episode.result_code,
        "result_message": episode.result_message,
        "elapsed": episode.elapsed,
        "wall": episode.wall,
        "chunks": len(episode.chunks),
        "latency": {name: spread(values) for name, values in stage_latencies([episode]).items()},
        "command_rate": float(np.median([item.rate for item in running])) if running else 0.0,
        "jitter_p99": max((item.jitter_p99 for item in running), default=0.0),
        "command_age": spread([item.command_age for item in running if item.command_age >= 0]),
        "holds": int(episode.counters.get("holds", 0)),
        "hold_share": float(episode.counters.get("hold_share", 0.0)),
        "missed_ticks": int(episode.counters.get("missed_ticks", 0)),
        "rejected_chunks": int(episode.counters.get("rejected_chunks", 0)),
        "late_chunks": int(episode.counters.get("late_chunks", 0)),
        "clips": clip_totals(episode),
        "seams": seam_figures(episode),
        "frames_sent": episode.frames_sent,
        "dropped_frames": episode.dropped_frames,
    }


def results(recording: Recording) -> dict[str, Any]:
    """The whole of ``results.json``."""
    episodes = recording.episodes
    successes = sum(episode.success for episode in episodes)
    return {
        "format": RESULTS_FORMAT,
        "settings": recording.settings,
        "episodes_run": len(episodes),
        "successes": successes,
        "success_rate": successes / len(episodes) if episodes else 0.0,
        "latency": {name: spread(values) for name, values in stage_latencies(episodes).items()},
        "episodes": [episode_results(episode) for episode in episodes],
    }
