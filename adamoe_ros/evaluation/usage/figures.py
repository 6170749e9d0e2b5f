# SPDX-License-Identifier: Apache-2.0
"""Expert usage as figures: by layer, flow step, phase and task; weights against probabilities.

Shapes: N inferences, S flow steps, L mixture layers, E routed experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.evaluation.usage.decision_record import (
    P_BINS,
    S_BINS,
    S_RANGE,
    UNKNOWN,
    RoutingRecord,
)
from adamoe_ros.evaluation.usage.information import Information, entropy, information

Floats = NDArray[np.float64]


def usage(record: RoutingRecord, phases: Sequence[str], exchanges: int = 200) -> dict[str, Any]:
    """Everything that ``results.json`` says about the experts.

    Args:
        record: inferences, of the plain runs where there are others.
        phases: names of the phase numbers.
        exchanges: of the labels, for the chance level.
    """
    tasks = sorted(set(record.task.tolist()))
    known = [p for p in range(len(phases)) if (record.phase == p).any()]
    per_layer = _shares(record.counts.sum((0, 1)))
    return {
        "inferences": len(record),
        "experts": record.counts.shape[3],
        "layers": record.counts.shape[2],
        "flow_steps": record.counts.shape[1],
        "share_by_layer": _plain(per_layer),
        "probability_by_layer": _plain(record.probability.mean((0, 1))),
        "scale_by_layer": _plain(_scales(record)),
        "balance_by_layer": [
            round(entropy(row) / np.log2(max(2, len(row))), 4) for row in per_layer
        ],
        "share_by_step": _plain(_shares(record.counts.sum(0))),
        "share_by_task": {
            task: _plain(_shares(record.counts[record.task == task].sum((0, 1)))) for task in tasks
        },
        "share_by_phase": {
            phases[p]: _plain(_shares(record.counts[record.phase == p].sum((0, 1)))) for p in known
        },
        "information": {
            name: [layer.as_json() for layer in layers]
            for name, layers in _information(record, exchanges).items()
        },
        "weight_against_probability": density_figures(record.density),
    }


def _shares(counts: NDArray[Any]) -> Floats:
    """Relative to the last axis' sum; 0 where nothing was counted."""
    values = np.asarray(counts, float)
    return np.asarray(values / np.maximum(values.sum(-1, keepdims=True), 1e-12))


def _scales(record: RoutingRecord) -> Floats:
    """(L, E) mean weight where chosen, 0 where never."""
    counts = record.counts.astype(float)
    total = counts.sum((0, 1))
    return np.asarray((record.scale * counts).sum((0, 1)) / np.maximum(total, 1e-12))


def _information(record: RoutingRecord, exchanges: int) -> dict[str, list[Information]]:
    """Label -> one entry per layer. Only labels with at least two values are there."""
    layers = record.counts.shape[2]
    episodes = np.array(
        [f"{c}/{t}/{s}" for c, t, s in zip(record.control, record.task, record.seed, strict=True)]
    )
    out: dict[str, list[Information]] = {}
    if len(set(record.task.tolist())) > 1:  # an episode is one draw
        names, first, number = np.unique(episodes, return_index=True, return_inverse=True)
        whole = np.zeros((len(names), *record.counts.shape[2:]))
        np.add.at(whole, number.ravel(), record.counts.sum(1))
        out["task"] = [
            information(whole[:, layer], record.task[first], exchanges=exchanges)
            for layer in range(layers)
        ]
    known = record.phase != UNKNOWN
    if len(set(record.phase[known].tolist())) > 1:  # an inference is one, within its episode
        rows = record.counts[known].sum(1)
        out["phase"] = [
            information(rows[:, layer], record.phase[known], episodes[known], exchanges)
            for layer in range(layers)
        ]
    steps = record.counts.shape[1]
    if steps > 1:
        numbers = np.tile(np.arange(steps), len(record))
        inference = np.repeat(np.arange(len(record)), steps)
        out["flow_step"] = [
            information(
                record.counts[:, :, layer].reshape(-1, record.counts.shape[3]),
                numbers,
                inference,
                exchanges=min(exchanges, 50),
            )
            for layer in range(layers)
        ]
    return out


def density_figures(density: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Per layer: correlation of weight and probability, and how often they say different things."""
    p = (np.arange(P_BINS) + 0.5) / P_BINS
    low, high = S_RANGE
    s = low + (np.arange(S_BINS) + 0.5) / S_BINS * (high - low)
    out = []
    for layer in density.astype(float):
        total = layer.sum()
        if total == 0:
            continue
        weights = layer / total
        mean_p, mean_s = (weights.sum(1) * p).sum(), (weights.sum(0) * s).sum()
        dp, ds = p - mean_p, s - mean_s
        var_p, var_s = (weights.sum(1) * dp**2).sum(), (weights.sum(0) * ds**2).sum()
        together = (weights * dp[:, None] * ds[None]).sum()
        spread = np.sqrt(var_p * var_s)
        out.append(
            {
                "mean_probability": round(float(mean_p), 4),
                "mean_weight": round(float(mean_s), 4),
                "correlation": round(float(together / spread), 4) if spread > 1e-9 else None,
                "weight_below_probability": round(
                    float(weights[(s[None] < p[:, None] - 0.025)].sum()), 4
                ),
                "weight_above_probability": round(
                    float(weights[(s[None] > p[:, None] + 0.025)].sum()), 4
                ),
            }
        )
    return out


def _plain(values: Floats) -> Any:
    return np.round(np.asarray(values, float), 5).tolist()
