# SPDX-License-Identifier: Apache-2.0
"""Arms of the comparison of mixtures: how each starts, is trained, and is measured.

Every arm continues from the same dense checkpoint with the same data, steps and order of samples per
seed, through ``adamoe train``'s and ``adamoe evaluate``'s own lines.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from adamoe_ros.contract.files import replace_text
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.workers import Workers
from adamoe_ros.evaluation.blocks import Blocks, Job, run_blocks
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.evaluation.judgement import PHASES
from adamoe_ros.evaluation.machine import commit
from adamoe_ros.evaluation.results import weights_digest
from adamoe_ros.evaluation.success import summarise
from adamoe_ros.evaluation.usage.figures import usage
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime
from adamoe_ros.policy.upcycling import count_parameters, widen_checkpoint
from adamoe_ros.training.demonstration_store import read_demonstrations
from adamoe_ros.training.run_state import latest_state
from adamoe_ros.training.trainer import LOG_FILE
from adamoe_ros.training.training_config import TrainingConfig, load_config
from adamoe_ros.training.training_log import read_lines
from adamoe_ros.training.training_run import CHECKPOINT, train

WIDEN_NOISE = 0.1  # relative, of copied hidden units
_FRAMES = 24  # held-out frames in one batch


@dataclass(frozen=True)
class Arm:
    """One way to spend parameters.

    Attributes:
        widen: width of the dense feed-forward layers, in those of the origin.
        mixture: (variant, experts, chosen per token); None: dense.
    """

    name: str
    text: str
    widen: int = 1
    mixture: tuple[str, int, int] | None = None


ARMS = {
    arm.name: arm
    for arm in (
        Arm("dense", "dense, goes on as it is"),
        Arm("dense_x2", "dense, as many active parameters as k = 1", widen=2),
        Arm("dense_x3", "dense, as many active parameters as k = 2", widen=3),
        Arm("vanilla_e4k1", "coupled: weight = probability", mixture=("vanilla", 4, 1)),
        Arm("csmoe_e4k1", "concatenated scale", mixture=("csmoe", 4, 1)),
        Arm("adamoe_e4k1", "AdaMoE, the paper's choice", mixture=("adamoe", 4, 1)),
        Arm("adamoe_e4k2", "AdaMoE, two experts a token", mixture=("adamoe", 4, 2)),
        Arm("adamoe_e8k1", "AdaMoE, eight experts", mixture=("adamoe", 8, 1)),
        Arm("adamoe_e8k2", "AdaMoE, eight experts, two a token", mixture=("adamoe", 8, 2)),
    )
}


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        origin_steps: of the dense checkpoint that all arms continue from.
        episodes: evaluated per task and run. max_time_s: of each.
        held_out: demonstrations per task that no arm is trained on. every: frames of them used.
    """

    origin_steps: int
    episodes: int
    max_time_s: float
    held_out: int
    every: int
    seeds: tuple[int, ...] = (0, 1, 2)
    first_seed: int = 3000  # of the evaluated scenes


SIZES = {
    "cpu-smoke": Size(origin_steps=150, episodes=2, max_time_s=3.0, held_out=6, every=4),
    "cpu-hour": Size(origin_steps=1500, episodes=20, max_time_s=8.0, held_out=20, every=4),
    "cpu-night": Size(origin_steps=4000, episodes=30, max_time_s=12.0, held_out=20, every=2),
    "gpu": Size(origin_steps=20000, episodes=50, max_time_s=15.0, held_out=50, every=1),
}


@dataclass
class Comparison:
    """Everything that the runs have in common.

    Attributes:
        config: of an arm, before its seed and start.
        settings: what ``config`` was read from. Not the whole configuration: a setting that a later
            version adds would begin a night's work anew.
        folder: gets a folder a run.
    """

    size: Size
    config: TrainingConfig
    settings: str
    folder: Path
    processes: int = 1
    arms: tuple[str, ...] = tuple(ARMS)

    def key(self, *parts: str) -> str:
        """Changes with anything that changes a result."""
        said = [self.settings, json.dumps(asdict(self.size)), *parts]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:10]

    def tasks(self) -> tuple[str, ...]:
        """Trained and evaluated."""
        return tuple(dict.fromkeys(made.task for made in self.config.data.generate))

    def origin(self) -> Path:
        """The dense checkpoint; trained where it is missing."""
        folder = self.folder / f"origin-{self.key('origin')}"
        if not (folder / "done").is_file():
            changes = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}
            model = self.config.model.model_copy(
                update={"changes": {**self.config.model.changes, **changes}}
            )
            wanted = {"model": model, "steps": self.size.origin_steps, "name": "origin"}
            _train(self.config.model_copy(update=wanted), folder)
            (folder / "done").write_text("")
        return folder / CHECKPOINT

    def place(self, arm: Arm, seed: int) -> Path:
        """Folder of a run."""
        return self.folder / f"{arm.name}-s{seed}-{self.key(repr(arm))}"

    def result(self, arm: Arm, seed: int) -> dict[str, Any] | None:
        """What a finished run came to."""
        path = self.place(arm, seed) / "result.json"
        return dict(json.loads(path.read_text())) if path.is_file() else None

    def run(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Train and measure; a run that was stopped goes on."""
        folder, begun = self.place(arm, seed), time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(self.config.threads)
        config = self.arm_config(arm, seed, folder)
        checkpoint = _train(config, folder)
        trained = time.monotonic() - begun
        success, experts = self._evaluated(checkpoint, folder)
        network = read_checkpoint(checkpoint).config
        count = count_parameters(network, torch.float32)
        result = {
            "arm": arm.name,
            "seed": seed,
            "parameters": count.total,
            "active_parameters": count.active,
            "steps": config.steps,
            "commit": commit(),
            "held_out": self.held_out_errors(checkpoint),
            "success": success,
            "experts": experts,
            "curve": curve(folder),
            "trained_s": round(trained, 1),  # of this call: less where it went on
            "wall_s": round(time.monotonic() - begun, 1),
        }
        replace_text(folder / "result.json", json.dumps(result))
        if (state := latest_state(folder)) is not None:
            shutil.rmtree(state)
        return result

    def arm_config(self, arm: Arm, seed: int, folder: Path) -> TrainingConfig:
        """Settings of a run; makes the widened checkpoint where it needs one."""
        start = self.origin()
        if arm.widen > 1:
            start = folder / "start"
            if not start.is_dir():
                widen_checkpoint(self.origin(), start, arm.widen, WIDEN_NOISE, seed)
        model: dict[str, Any] = {"checkpoint": start, "changes": {}}
        if arm.mixture is not None:
            variant, experts, top_k = arm.mixture
            model["upcycle"] = {"variant": variant, "experts": experts, "top_k": top_k}
        whole = self.config.model_dump(mode="json")
        whole["model"] = json.loads(json.dumps(model, default=str))
        return TrainingConfig.model_validate(whole | {"seed": seed, "name": arm.name})

    def _evaluated(self, checkpoint: Path, folder: Path) -> tuple[Any, Any]:
        if not self.size.episodes:
            return None, None
        first, settings = (
            self.size.first_seed,
            EvaluationSettings(
                max_time_s=self.size.max_time_s,
                device=self.config.device,
                threads=self.config.threads,
                parallel=8,
            ),
        )
        job = Job(
            checkpoint,
            weights_digest(checkpoint),
            self.tasks(),
            ("plain",),
            tuple(range(first, first + self.size.episodes)),
            replace(settings, others=self.tasks()),
        )
        blocks = Blocks(job, folder / "evaluation", overwrite=True)
        run_blocks(blocks, Workers(self.processes), lambda episodes: None)
        routing = blocks.routing()
        experts = None if routing is None else usage(routing, PHASES, exchanges=100)
        if experts is not None and routing is not None:
            routing.save(folder / "routing.npz")
        return summarise(blocks.episodes())["plain"], experts

    def held_out_errors(self, checkpoint: Path) -> dict[str, Any]:
        """Mean distance of sampled chunks from the expert's, over the first half of each chunk."""
        runtime = PolicyRuntime(read_checkpoint(checkpoint), self.config.device)
        found = {task: self._task_errors(runtime, task) for task in self.tasks()}
        return {
            **{f"{task}_mrad": value for task, (value, _) in found.items()},
            "arms_mrad": float(np.mean([value for value, _ in found.values()])),
            "gripper": float(np.mean([value for _, value in found.values()])),
        }

    def _task_errors(self, runtime: PolicyRuntime, task: str) -> tuple[float, float]:
        data = self.config.data
        made = next(made for made in data.generate if made.task == task)
        whole = data.model_copy(update={"generate": (made,), "episodes": None})
        size = runtime.checkpoint.config.vision.image_size
        shown = read_demonstrations(whole, size, runtime.horizon)
        first = data.episodes or 0
        part = shown.episodes[first : first + self.size.held_out]
        if not first or not part:
            raise SystemExit("data.episodes must leave demonstrations out")
        apart = type(shown)(part, shown.layout, runtime.horizon)
        errors = []
        numbers = np.arange(0, len(apart), self.size.every)
        for begin in range(0, len(numbers), _FRAMES):
            errors.append(_chunk_errors(runtime, apart, numbers[begin : begin + _FRAMES]))
        mean = np.concatenate(errors).mean(0)
        grippers = [i for i, role in enumerate(shown.layout.roles) if role.endswith("_gripper")]
        return float(np.delete(mean, grippers).mean() * 1e3), float(mean[grippers].mean())


def _chunk_errors(runtime: PolicyRuntime, data: Any, numbers: np.ndarray) -> np.ndarray:
    """(B, J) mean absolute error of each joint, noise fixed by the frame's number."""
    batch = data.batch(np.asarray(numbers))
    observations = [
        Observation(
            stamp_ns=int(number) + 1,
            images=dict(zip(data.layout.camera_slots, batch.images[row], strict=True)),
            state=np.asarray(batch.state[row], float),
            instruction=batch.instructions[row],
        )
        for row, number in enumerate(numbers)
    ]
    noise = torch.cat([runtime.noise(int(number)) for number in numbers])
    chunks = np.stack([output.actions for output in runtime.infer_batch(observations, noise)])
    half = runtime.horizon // 2
    return np.asarray(np.abs(chunks - batch.actions)[:, :half].mean(1))


def _train(config: TrainingConfig, folder: Path) -> Path:
    """A run of ``adamoe train``, or what is left of it."""
    if (folder / "trained").is_file():
        return folder / CHECKPOINT
    checkpoint = train(config, folder, resume="if-any")
    (folder / "trained").write_text("")
    return checkpoint


def curve(folder: Path) -> list[dict[str, float]]:
    """Losses over the steps, at most 60 points: means of what the log has between them."""
    rows = [row for row in read_lines(folder / LOG_FILE) if "flow" in row]
    names = [n for n in ("flow", "objects", "balance", "top_expert_share") if n in rows[0]]
    parts = np.array_split(np.arange(len(rows)), min(60, len(rows)))
    return [
        {"step": float(rows[part[-1]]["step"])}
        | {name: float(np.mean([rows[i][name] for i in part])) for name in names}
        for part in parts
    ]


def comparison(size: str, config: Path, overrides: Sequence[str], folder: Path) -> Comparison:
    """Of a size by name, with changes of the arms' training settings."""
    said = json.dumps([yaml.safe_load(config.read_text()), *overrides])
    read = load_config(config, overrides)
    # sums are rounded by the number of threads, which must not depend on where a run runs
    read = read.model_copy(update={"threads": read.threads or 1})
    return Comparison(SIZES[size], read, said, folder)


def run_before(deadline: float, job: Comparison, arm: Arm, seed: int) -> dict[str, Any] | None:
    """A unit of work: one run; None: it is too late to begin it (s since the epoch)."""
    return job.run(arm, seed) if time.time() < deadline else None
