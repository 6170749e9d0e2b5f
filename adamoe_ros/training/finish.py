# SPDX-License-Identifier: Apache-2.0
"""The end of a run: its averaged weights as a checkpoint folder, its settings and curve beside it.

May import: contract, policy, torch, matplotlib (inside a function).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from adamoe_ros.contract.manifest import GripperConvention
from adamoe_ros.training.export import TOKENIZER_FILE, make_manifest
from adamoe_ros.training.run import Prepared
from adamoe_ros.training.storage import read_lines, write_atomic
from adamoe_ros.training.trainer import LOG_FILE

GRIPPER = GripperConvention(open=1.0, closed=0.0)


def half_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """State dict with float16 matrices; vectors stay float32 (they are small)."""
    return {
        name: values.detach().cpu().to(torch.float16 if values.dim() > 1 else torch.float32)
        for name, values in network.state_dict().items()
    }


def training_record(run: Prepared) -> dict[str, Any]:
    """Settings, data, and the curve of a run, as JSON."""
    rows = read_lines(run.trainer.folder / LOG_FILE)
    return {
        "settings": run.config.model_dump(mode="json"),
        "network": run.sizes.to_dict(),
        "parameters": sum(p.numel() for p in run.trainer.network.parameters()),
        "data": {
            "episodes": len(run.data.episodes),
            "frames": len(run.data),
            "seeds": [run.data.episodes[0].seed, run.data.episodes[-1].seed],
            "instructions": list(run.data.sentences()),
        },
        "object_statistics": run.statistics.get("objects"),
        "steps": run.trainer.step,
        "curve": [row for row in rows if "flow" in row],
        "evaluations": [row for row in rows if "evaluation" in row],
    }


def write_record(run: Prepared, folder: Path) -> None:
    """``training.json`` and ``curve.png``."""
    record = training_record(run)
    text = json.dumps(record, indent=1).encode()
    write_atomic(folder / "training.json", lambda stream: stream.write(text))
    draw_curve(record, folder / "curve.png")


def draw_curve(record: dict[str, Any], path: Path) -> None:
    """Losses over steps, with the roll-outs' success where there were any."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    steps = [row["step"] for row in record["curve"]]
    for axis, names in zip(
        axes, (("flow", "objects"), ("balance", "top_expert_share")), strict=True
    ):
        for name in names:
            values = [row.get(name) for row in record["curve"]]
            if any(value is not None for value in values):
                axis.plot(steps, values, label=name, linewidth=1)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    success = [(r["step"], r["evaluation"]["success"]) for r in record["evaluations"]]
    if success:
        axes[1].plot(*zip(*success, strict=True), "o-", label="success")
    for axis in axes:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


__all__ = ["GRIPPER", "TOKENIZER_FILE", "half_weights", "make_manifest", "write_record"]
