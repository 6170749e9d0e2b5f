# SPDX-License-Identifier: Apache-2.0
"""The end of a run: its averaged weights as a checkpoint folder, its settings and curve beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from adamoe_ros.policy.checkpoint import write_checkpoint
from adamoe_ros.policy.tensor_writer import specs_of
from adamoe_ros.training.data_manifest import provenance
from adamoe_ros.training.finetuning import plain_state
from adamoe_ros.training.processes import whole
from adamoe_ros.training.starting_point import Start
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_log import LOG_FILE, read_lines

RECORD, CURVE = "training.json", "curve.png"


def half_weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with float16 matrices; vectors stay float32 (they are small)."""
    return {
        name: values.detach().cpu().to(torch.float16 if values.dim() > 1 else torch.float32)
        for name, values in tensors.items()
    }


def training_record(trainer: Trainer, start: Start) -> dict[str, Any]:
    """Settings, data, and the curve of a run, as JSON."""
    rows = read_lines(trainer.folder / LOG_FILE)
    data = trainer.source
    return {
        "settings": trainer.config.model_dump(mode="json"),
        "network": start.sizes.to_dict(),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "data": {
            "episodes": len(data.episodes),
            "frames": len(data),
            "seeds": [data.episodes[0].seed, data.episodes[-1].seed],
            "instructions": list(data.sentences()),
        },
        "steps": trainer.step,
        "curve": [row for row in rows if "flow" in row],
        "evaluations": [row for row in rows if "evaluation" in row],
    }


def write_policy(trainer: Trainer, start: Start, folder: Path, picture: bool = True) -> Path:
    """The averaged weights as a checkpoint folder with ``training.json`` and ``curve.png``.

    Every process must call it; the first one writes.

    Args:
        picture: draw the curve, too.

    Raises:
        ContractError: the disk is full or not writable; an old folder is untouched.
    """
    state = whole(trainer.average.module.state_dict(), trainer.processes.first)
    if not trainer.processes.first:
        return folder
    record = training_record(trainer, start)
    data, name = record["data"], trainer.config.name
    notes = (
        f"run {name}: {trainer.step} steps on {data['frames']} frames of "
        f"{data['episodes']} scripted demonstrations; see {RECORD}"
    )
    tensors = half_weights(plain_state(state, trainer.config.model.lora))
    return write_checkpoint(
        folder,
        start.sizes,
        start.manifest.model_copy(update={"provenance": provenance(notes)}),
        start.statistics,
        specs_of(tensors),
        tensors.items(),
        files={
            str(start.manifest.tokenizer): start.tokenizer,
            RECORD: json.dumps(record, indent=1).encode(),
            **({CURVE: curve_picture(record)} if picture else {}),
        },
        overwrite=True,
    )


def curve_picture(record: dict[str, Any]) -> bytes:
    """PNG of the losses over steps, with the roll-outs' success where there were any."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, names in zip(
        axes, (("flow", "objects"), ("balance", "top_expert_share")), strict=True
    ):
        for name in names:
            points = [(row["step"], row[name]) for row in record["curve"] if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    success = [(row["step"], row["evaluation"]["success"]) for row in record["evaluations"]]
    if success:
        axes[1].plot(*zip(*success, strict=True), "o-", label="success")
    for axis in axes:
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    pyplot.close(figure)
    return stream.getvalue()
