# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves: ``results.json``, ``report.html`` and videos of failures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.files import replace_text
from adamoe_ros.evaluation.blocks import Blocks, KeptFailure
from adamoe_ros.evaluation.judgement import PHASES
from adamoe_ros.evaluation.report.evaluation_page import evaluation_page
from adamoe_ros.evaluation.report.sim_video import episode_video
from adamoe_ros.evaluation.success import summarise
from adamoe_ros.evaluation.usage.figures import usage

FORMAT = "adamoe_ros/evaluation/1"
RESULTS, REPORT, VIDEOS = "results.json", "report.html", "videos"


def weights_digest(folder: Path) -> str:
    """Short hash of a checkpoint's weights and manifest.

    Raises:
        ContractError: a file is missing.
    """
    made = hashlib.sha256()
    try:
        for name in ("model.safetensors", "manifest.json"):
            with (folder / name).open("rb") as stream:
                while part := stream.read(1 << 22):
                    made.update(part)
    except OSError as error:
        do = "give the folder of a checkpoint"
        raise ContractError(problem(str(folder), "a checkpoint", error, do)) from error
    return made.hexdigest()[:16]


def evaluation_document(
    blocks: Blocks, checkpoint: str, trained: str, machine: str, exchanges: int = 200
) -> dict[str, Any]:
    """Everything that ``results.json`` says.

    Args:
        checkpoint: as it is named. trained: its provenance.
    """
    episodes, job = blocks.episodes(), blocks.job
    seconds = blocks.infer_seconds()
    routing = blocks.routing()
    return {
        "format": FORMAT,
        "version": __version__,
        "checkpoint": checkpoint,
        "weights": job.weights,
        "trained": trained,
        "settings": {
            "path": job.path,
            "tasks": list(job.tasks),
            "controls": list(job.controls),
            "seeds": list(job.seeds),
            **dataclasses.asdict(job.settings),
            "machine": machine,
        },
        "summary": summarise(episodes),
        "inference": {
            "batches": len(seconds),
            "chunks": sum(episode.inferences for episode in episodes),
            "seconds": round(float(np.sum(seconds)), 3),
        },
        "experts": None if routing is None else usage(routing, PHASES, exchanges),
        "episodes": [dataclasses.asdict(episode) for episode in episodes],
    }


def write_results(
    blocks: Blocks,
    document: dict[str, Any],
    report: Callable[[str], None] = lambda text: None,
    made: Sequence[tuple[str, str]] | None = None,
) -> None:
    """Videos first, then the figures, the page last.

    Args:
        report: is given a line before each video.
        made: videos that are there already, (file name in VIDEOS, caption); None: they are made of
            the states that were kept.

    Raises:
        ContractError: the folder cannot be written.
    """
    folder = blocks.folder
    try:
        shown = _videos(blocks, report) if made is None else made
        videos = [(f"{VIDEOS}/{name}", text) for name, text in shown]
        routing = blocks.routing()
        page = evaluation_page(document, videos, None if routing is None else routing.density)
        replace_text(folder / RESULTS, json.dumps(document, indent=1) + "\n")
        replace_text(folder / REPORT, page)
    except OSError as error:
        do = "give another --out"
        raise ContractError(problem(str(folder), "a folder to write", error, do)) from error


def _videos(blocks: Blocks, report: Callable[[str], None]) -> Sequence[tuple[str, str]]:
    made = []
    folder = blocks.folder / VIDEOS
    for kept in blocks.kept_failures():
        name = f"{kept.episode.control}-{kept.episode.task}-{kept.episode.seed}.mp4"
        if not (folder / name).is_file():
            folder.mkdir(exist_ok=True)
            report(f"video {name}")
            episode_video(folder / name, kept.trace, kept.episode.instruction, kept.episode.task)
        made.append((name, _caption(kept)))
    return made


def _caption(kept: KeptFailure) -> str:
    episode = kept.episode
    asked = "" if episode.instruction == episode.scene else f"; the scene is for “{episode.scene}”"
    done = " The scene's own task was done." if episode.success else ""
    before = "" if episode.first is None else f"“{episode.first}”, then "
    return f"{episode.control}, seed {episode.seed}: given {before}“{episode.instruction}”{asked}.{done}"
