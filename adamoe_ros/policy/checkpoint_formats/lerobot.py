# SPDX-License-Identifier: Apache-2.0
"""LeRobot's pi0 and pi0.5 (0.4 and later): weights, ``config.json``, processor files and statistics.

The processors say what happens around the network: which statistics, whether actions are relative.
A step that is not known here may do anything, so it is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.config import Architecture
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    ForeignCheckpoint,
    check_called,
)
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.metadata_files import (
    PERIODS,
    expect,
    mapping,
    read_json,
    read_tokenizer,
)
from adamoe_ros.policy.checkpoint_formats.openpi_torch import open_torch
from adamoe_ros.policy.checkpoint_formats.sources import open_safetensors
from adamoe_ros.policy.normalise import FeatureStats, NormStats

CAMERAS, STATE, ACTION = "observation.images.", "observation.state", "action"
EMPTY_CAMERA = "empty_camera_"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor", "policy_postprocessor"
STATE_STEP = "pi05_prepare_state_tokenizer_processor_step"
_KNOWN_STEPS = {
    "rename_observations_processor", "to_batch_processor", "pi0_new_line_processor",
    "tokenizer_processor", "device_processor", "relative_actions_processor",
    "absolute_actions_processor", "normalizer_processor", "unnormalizer_processor",
    STATE_STEP,
}  # fmt: skip
_METHODS = {"MEAN_STD": "mean_std", "QUANTILES": "quantile"}
_STATISTICS = ("mean", "std", "q01", "q99")


def open_source(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open a dense pi0 or pi0.5 with what its processors say.

    Raises:
        ContractError: missing or damaged files, another policy, processors with unknown steps.
    """
    settings, where = read_json(source / "config.json"), f"{source}/config.json"
    called = settings.get("type")
    if called not in get_args(Architecture):
        got = repr(settings.get("type")) if settings else "no config.json"
        do = "check the path and --from"
        raise ContractError(problem(where, "type 'pi0' or 'pi05'", got, do))
    expect(where, settings, PERIODS)
    expect(where, settings, {key: False for key in settings if key.endswith("_memory")})
    metadata = CheckpointMetadata()
    _read_settings(metadata, settings)
    _read_processors(metadata, source, settings)
    read_tokenizer(metadata, source)
    foreign = open_torch(source, open_safetensors(source), metadata, _known(settings))
    check_called(f"{where}: type", str(called), foreign.architecture)
    return foreign


def _known(settings: dict[str, Any]) -> dict[str, int]:
    """The padded state's width, which no tensor of pi0.5 has."""
    width = settings.get("max_state_dim")  # checked with the other sizes
    return {} if settings.get("type") == "pi0" or width is None else {"state": width}


def _read_settings(metadata: CheckpointMetadata, settings: dict[str, Any]) -> None:
    where = "config.json: input_features"
    names = [
        name.removeprefix(CAMERAS)
        for name, feature in mapping(where, settings.get("input_features")).items()
        if mapping(f"{where}: {name}", feature).get("type") == "VISUAL"
    ]
    slots = tuple(name for name in names if not name.startswith(EMPTY_CAMERA))
    metadata.set(
        "config.json",
        horizon=settings.get("chunk_size"),
        flow_steps=settings.get("num_inference_steps"),
        prompt_length=settings.get("tokenizer_max_length"),
        camera_slots=slots or None,
    )
    if settings.get("adapt_to_pi_aloha") is False:
        metadata.set("config.json", adapt_to_pi="none")


def _read_processors(metadata: CheckpointMetadata, source: Path, settings: dict[str, Any]) -> None:
    """What happens around the network; nothing where there are no processor files."""
    before = _steps(source, PREPROCESSOR)
    after = _steps(source, POSTPROCESSOR)
    if not before or not after:
        return
    problems = Problems()
    for file, steps in ((PREPROCESSOR, before), (POSTPROCESSOR, after)):
        for name in steps.keys() - _KNOWN_STEPS:
            got = f"{name!r}, whose effect is not known"
            do = "remove it, or convert without the processor files"
            problems.add(f"{source / file}.json", "LeRobot's own steps of pi0", got, do)
    problems.raise_if_any()
    file = f"{PREPROCESSOR}.json"
    if settings.get("adapt_to_pi_aloha") in (None, False):
        metadata.set(f"{file}: no such step", adapt_to_pi="none")
    if "pi0_new_line_processor" in before:
        metadata.set(file, prompt_style="lerobot")
    elif STATE_STEP in before:  # openpi's text; how wide its state was, LeRobot's version tells
        metadata.set(file, prompt_style="openpi")
    relative = _config(before, "relative_actions_processor")
    metadata.set(file, relative=_relative(relative, settings))
    _read_statistics(metadata, source, before, after)


def _steps(source: Path, name: str) -> dict[str, dict[str, Any]]:
    """Steps of a pipeline by registered name."""
    where = f"{source / name}.json: steps"
    steps = read_json(source / f"{name}.json").get("steps") or []
    if not isinstance(steps, list):
        do = "copy or download it again"
        raise ContractError(problem(where, "a list", f"{steps!r:.60}", do))
    found = [mapping(f"{where}: {number}", step) for number, step in enumerate(steps)]
    return {str(step.get("registry_name") or step.get("class", "?")): step for step in found}


def _config(steps: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    return mapping(f"{name}: config", steps.get(name, {}).get("config"))


def _relative(step: dict[str, Any], settings: dict[str, Any]) -> Any:
    """``none``, ``all``, or one flag per action dimension."""
    if not step.get("enabled"):
        return "none"
    names = step.get("action_names") or settings.get("action_feature_names")
    excluded = [str(word).lower() for word in step.get("exclude_joints") or [] if word]
    if not names or not excluded:
        return "all"
    return relative_flags(names, excluded)


def relative_flags(names: list[Any], excluded: list[str]) -> tuple[bool, ...]:
    """Which action dimensions are relative; a word excludes every name that contains it."""
    return tuple(not any(word in str(name).lower() for word in excluded) for name in names)


def _read_statistics(
    metadata: CheckpointMetadata, source: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    steps = (before.get("normalizer_processor"), after.get("unnormalizer_processor"))
    if steps[0] is None or steps[1] is None:
        return
    settings = _config(before, "normalizer_processor")
    norms = mapping("normalizer_processor: norm_map", settings.get("norm_map"))
    modes = {kind: str(mode) for kind, mode in norms.items()}
    chosen = (modes.get("STATE"), modes.get("ACTION"))
    file = f"{PREPROCESSOR}.json"
    method = _METHODS.get(str(chosen[0]))
    if chosen[0] != chosen[1] or method is None:
        expected = "MEAN_STD or QUANTILES for both STATE and ACTION"
        got, do = f"{chosen[0]} and {chosen[1]}", "convert without the processor files"
        raise ContractError(problem(f"{source / file}: norm_map", expected, got, do))
    # quantiles are used as they are; with mean and spread LeRobot adds eps on the way in only
    eps = 0.0 if method == "quantile" else settings.get("eps", 1e-8)
    metadata.set(file, normalization=method, normalization_eps=eps)
    vectors = [_vector(source, steps[0], STATE), _vector(source, steps[1], ACTION)]
    if vectors[0] is not None and vectors[1] is not None:
        stats = NormStats(state=vectors[0], actions=vectors[1])
        metadata.set("statistics of the processors", statistics=stats)


def _vector(source: Path, step: dict[str, Any], feature: str) -> FeatureStats | None:
    """Statistics of one feature from the step's state file; None without any."""
    if not step.get("state_file"):
        return None
    tensors = open_safetensors(source / str(step["state_file"]))
    values = {
        name: tuple(tensors[f"{feature}.{name}"].read().double().flatten().tolist())
        for name in _STATISTICS
        if f"{feature}.{name}" in tensors
    }
    if not {"mean", "std"} <= values.keys():
        return None
    return FeatureStats.model_validate(values)
