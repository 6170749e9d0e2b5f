# SPDX-License-Identifier: Apache-2.0
"""The end of a run: its averaged weights as a checkpoint folder, its settings and curve beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adamoe_ros.data import svg
from adamoe_ros.policy.checkpoint import write_checkpoint
from adamoe_ros.policy.tensor_file import specs_of
from adamoe_ros.training.data_manifest import provenance
from adamoe_ros.training.finetuning import plain_state
from adamoe_ros.training.starting_point import Start
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_log import LOG_FILE, read_lines

RECORD, CURVE = "training.json", "curve.svg"


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
    """The averaged weights as a checkpoint folder with ``training.json`` and ``curve.svg``.

    Every process must call it; the first one gathers the shards and writes.

    Args:
        picture: draw the curve, too.

    Raises:
        ContractError: the disk is full or not writable; an old folder is untouched.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = get_model_state_dict(trainer.average.module, options=options)
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
    """SVG of the losses over steps, with the roll-outs' success where there were any."""
    frame = svg.PlotArea(width=460, height=240, right=20)
    success = [{"step": row["step"], **row["evaluation"]} for row in record["evaluations"]]
    charts = []
    for title, rows, log in (
        ("log10 of the loss", (("flow", record["curve"]), ("objects", record["curve"])), True),
        (
            "mixture, roll-outs",
            (
                ("balance", record["curve"]),
                ("top_expert_share", record["curve"]),
                ("success", success),
            ),
            False,
        ),
    ):
        lines = []
        for tone, (name, points) in enumerate(rows):
            known = [(row["step"], row[name]) for row in points if name in row]
            if known:
                x, y = np.array(known, float).T
                values = np.log10(np.maximum(y, 1e-12)) if log else y
                lines.append(svg.Series(name, x, values, tone))
        charts.append((title, lines, svg.line_chart(lines, name=title, frame=frame)))
    return svg.document(charts, frame).encode()
