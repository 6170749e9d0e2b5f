# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run: one YAML file, overrides as ``a.b=value``, everything validated.

Defaults are openpi's and the AdaMoE authors' (reference/pi0-adamoe.md §1.10, §2.5) where they have
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.validation import validation_lines


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupConfig(_Section):
    """Learning rate of one parameter group: linear warm-up, then a cosine to the end of the run."""

    peak_lr: float = Field(2.5e-5, gt=0)
    final_lr: float = Field(1e-6, ge=0)
    warmup_steps: int = Field(1000, ge=0)
    weight_decay: float = Field(1e-6, ge=0)


class OptimiserConfig(_Section):
    """AdamW over three groups with one global-norm clip."""

    base: GroupConfig = GroupConfig()
    experts: GroupConfig = GroupConfig()
    router: GroupConfig = GroupConfig(peak_lr=5e-5, warmup_steps=100)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    clip_norm: float = Field(1.0, gt=0)


class BalanceConfig(_Section):
    """Load-balancing loss. ``authors``: (1/E) sum f P; ``switch``: E sum f P."""

    form: Literal["authors", "switch"] = "authors"
    start: float = Field(0.01, ge=0)  # coefficient up to and including step `switch_after`
    end: float = Field(0.005, ge=0)
    switch_after: int = Field(500, ge=0)


class LossConfig(_Section):
    """Weights of what is added to the flow-matching loss."""

    balance: BalanceConfig = BalanceConfig()
    z_weight: float = Field(0.0, ge=0)  # 1e-4 in the authors' code, where it is only logged
    object_weight: float = Field(0.3, ge=0)  # auxiliary object positions, normalised units


class AugmentConfig(_Section):
    """Random changes of a training sample; 0 switches one off."""

    shift: float = Field(0.0, ge=0, le=0.2)  # of the image size, both ways
    crop: float = Field(0.0, ge=0, lt=0.5)  # share cut off, then enlarged; not wrists; openpi 0.05
    rotation_deg: float = Field(0.0, ge=0, le=45)  # both ways; not wrists; openpi 5
    brightness: float = Field(0.0, ge=0, lt=1)  # factor 1 +- value
    contrast: float = Field(0.0, ge=0, lt=1)
    saturation: float = Field(0.0, ge=0, lt=1)
    state_noise: float = Field(0.0, ge=0)  # standard deviation, normalised units


class GenerateConfig(_Section):
    """Demonstrations that are made when `data.folder` has none: a LeRobot dataset for each task."""

    task: str = "lift_bar"
    name: str = ""  # of the folder; empty: the task
    changed: bool = False  # the arms were following another sentence before
    robot: str = "aloha_sim"  # profile whose units the simulator speaks
    episodes: int = Field(300, gt=0)
    first_seed: int = 100_000
    every: int = Field(10, gt=0)  # control ticks between kept frames
    noise: tuple[float, ...] = (0.0, 0.008, 0.0, 0.014)  # rad, of the execution, in turn


class MeaningConfig(_Section):
    """What a dataset's columns mean, where it does not say so itself (datasets of others)."""

    embodiment: str  # as in the robot's profile, e.g. vx300s_dual
    roles: tuple[str, ...]  # canonical, column by column: left_0 ... left_gripper, right_0 ...
    action_roles: tuple[str, ...] = ()  # where actions have others than the state: ee_x ... gripper
    gripper_open: float = 1.0
    gripper_closed: float = 0.0
    state_source: Literal["measured", "last_command"] = "measured"


class BagsConfig(_Section):
    """Bags that become the data set ``data.dataset`` when that does not exist yet."""

    paths: tuple[Path, ...] = Field(min_length=1)  # bags, or folders of them
    robot: str  # profile of the robot that recorded them
    gripper: Literal["1_open", "0_open"] = "1_open"  # not used where a checkpoint says it
    fps: float | None = Field(None, ge=1, le=1000)  # None: the slowest camera's
    action: Literal["command", "next_state"] = "command"
    instruction: str = ""  # sentence, where the bags have none
    namespace: str = ""


class DataConfig(_Section):
    """What is trained on: a LeRobot dataset, bags, or demonstrations made in the simulator."""

    dataset: Path | None = None  # LeRobot format 3.0 or 2.1; made of `bags` if absent
    bags: BagsConfig | None = None
    cameras: dict[str, str] | None = None  # slot -> camera of the dataset; None: by their names
    meaning: MeaningConfig | None = None
    cache: Path = Path("out/pictures")  # pictures in the model's size, decoded once
    generate: tuple[GenerateConfig, ...] = ()  # one a task; made in `folder`/<task> where missing
    folder: Path = Path("out/demonstrations")
    episodes: int | None = Field(None, gt=0)  # None: all
    balanced_tasks: bool = False  # every task equally often, however many frames it has
    # how many times as often as others a frame is seen in which a human led the arms (a correction)
    correction_weight: float = Field(1.0, gt=0, le=1000)


class UpcycleConfig(_Section):
    """A dense checkpoint becomes a mixture before the first step; as ``adamoe upcycle``."""

    variant: Literal["adamoe", "csmoe", "vanilla"] = "adamoe"
    experts: int = Field(4, gt=0)
    top_k: int = Field(1, gt=0)
    noise_std: float = Field(0.0, ge=0)
    router_std: float = Field(0.006, ge=0)
    preserve: bool = False


class LoraConfig(_Section):
    """Low-rank changes of matrices instead of the matrices; merged into the exported weights."""

    rank: int = Field(16, gt=0)
    alpha: float = Field(16.0, gt=0)  # the change is alpha / rank * B A
    targets: tuple[str, ...] = ("prefix", "expert")  # parts, as in `freeze`


class NetworkConfig(_Section):
    """Which network: a preset, changed key by key, or the weights of a checkpoint folder.

    ``inherit``: what a checkpoint gives besides weights and tokenizer. ``all``: meaning and
    statistics; ``meaning``: statistics are the data's; ``weights``: both are the data's.
    """

    preset: str = "small"
    changes: dict[str, Any] = {}  # with a checkpoint: only what leaves its tensors as they are
    checkpoint: Path | None = None
    inherit: Literal["all", "meaning", "weights"] = "all"
    upcycle: UpcycleConfig | None = None
    freeze: tuple[str, ...] = ()  # parts: vision, embed, prefix, expert, ..., experts, router
    lora: LoraConfig | None = None


class EvaluationConfig(_Section):
    """Roll-outs in the simulator while training."""

    every_steps: int = Field(0, ge=0)  # 0: never
    task: str = "lift_bar"
    episodes: int = Field(10, gt=0)
    first_seed: int = 50_000  # apart from the demonstrations' and the benchmark's seeds
    execute_rows: int = Field(25, gt=0)
    latency_s: float = Field(0.15, ge=0)


class TrainingConfig(_Section):
    """Everything a run depends on besides the data itself."""

    name: str = "demo"
    seed: int = 0
    steps: int = Field(30_000, gt=0)
    batch_size: int = Field(32, gt=0)
    flow_draws: int = Field(1, gt=0)  # flow times and noises per sample: images are encoded once
    rtc_max_delay: int = Field(0, ge=0)  # rows given clean, 0 ... so many: for strategy rtc_trained
    # First so many steps learn only where the objects are, without the flow: a third of the cost.
    perception_steps: int = Field(0, ge=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; weights: float32
    device: str = "auto"
    threads: int = Field(0, ge=0)  # of torch; 0: torch's own choice
    gradient_checkpointing: bool = False  # layers are computed twice, their insides not kept
    tensorboard: bool = True  # event files beside log.jsonl
    log_every: int = Field(50, gt=0)
    save_every: int = Field(1000, gt=0)
    model: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a YAML file (None: the defaults) and apply ``a.b=value`` overrides (values are YAML).

    Raises:
        ContractError: the file or a key or a value does not fit; every finding listed.
    """
    tree = _read_tree(path)
    for override in overrides:
        _apply(tree, override)
    try:
        return TrainingConfig.model_validate(tree)
    except ValidationError as error:
        where = path.name if path else "training settings"
        raise ContractError(validation_lines(where, error, TrainingConfig)) from error


def dump_config(config: TrainingConfig) -> str:
    """The whole configuration as YAML that ``load_config`` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_tree(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ContractError(
            problem(
                str(path),
                "a training YAML file",
                "no file",
                "see config/training for examples",
            )
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise ContractError(problem(str(path), "valid YAML", reason, "correct it")) from error
    if tree is not None and not isinstance(tree, dict):
        raise ContractError(
            problem(str(path), "keys and values", type(tree).__name__, "see config/training")
        )
    return tree or {}


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ContractError(
            problem("--set", "key.key=value", repr(override), "for example --set steps=2000")
        )
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ContractError(
                problem(
                    f"--set {key}",
                    f"a section at {part!r}",
                    repr(child),
                    "shorten the key",
                )
            )
        node = child
    node[parts[-1]] = yaml.safe_load(text)
