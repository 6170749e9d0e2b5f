# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder: sizes, meaning, statistics, tokenizer and weights, read and written whole.

config.json  manifest.json  model.safetensors  norm_stats.json  <tokenizer>
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.files import new_folder
from adamoe_ros.contract.manifest import CheckpointManifest, load_manifest
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.weights import load_policy
from adamoe_ros.policy.normalise import NormStats, load_norm_stats
from adamoe_ros.policy.prompt import PromptEncoder, load_tokenizer
from adamoe_ros.policy.tensor_file import TensorFile, TensorSpec, write_tensors
from adamoe_ros.policy.vectors import VectorSpace

CONFIG, MANIFEST, WEIGHTS, STATISTICS = (
    "config.json",
    "manifest.json",
    "model.safetensors",
    "norm_stats.json",
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose files have been checked against each other; weights are read on demand.

    Attributes:
        statistics: None only for a raw-only checkpoint.
    """

    folder: Path
    config: ModelConfig
    manifest: CheckpointManifest
    statistics: NormStats | None

    def load_network(
        self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
    ) -> AdaMoEPolicy:
        """The network with its weights.

        Args:
            dtype: None: bfloat16 where it is stored so, else float32.

        Raises:
            ContractError: the file is damaged, or tensors do not belong to the configuration.
        """
        path = self.folder / WEIGHTS
        with TensorFile(path) as tensors:
            dtype = dtype or _running_dtype(tensors)
            return load_policy(self.config, tensors, device, dtype, where=path.name)

    def vectors(self) -> VectorSpace:
        """Conversions between physical and model vectors.

        Raises:
            ContractError: the checkpoint is raw-only, or does not say how its numbers were normalised.
        """
        if self.manifest.raw_only or self.statistics is None:
            where = f"checkpoint {self.folder}"
            expected = "statistics and the meaning of every number"
            got = f"a raw-only checkpoint ({self.manifest.raw_only_reason})"
            do = "use --raw, or convert it again with what is missing"
            raise ContractError(problem(where, expected, got, do))
        for name in ("normalization", "normalization_eps"):
            if getattr(self.manifest, name) is None:
                where = f"checkpoint {self.folder}: {name}"
                raise ContractError(problem(where, "a value", "null", "set it in manifest.json"))
        sizes = self.config
        return VectorSpace(self.manifest, self.statistics, sizes.state_dim, sizes.action_dim)

    def prompts(self) -> PromptEncoder:
        """Sentences to tokens.

        Raises:
            ContractError: the checkpoint has no tokenizer, or its file is damaged.
        """
        name, style = self.manifest.tokenizer, self.manifest.prompt_style
        if name is None or style is None:
            where, do = f"checkpoint {self.folder}", "give token_ids, or convert it with one"
            raise ContractError(problem(where, "a tokenizer and a prompt style", "none", do))
        tokenizer = load_tokenizer(self.folder / name)
        width = prompt_state_width(self.manifest, self.config)
        return PromptEncoder(tokenizer, style, self.config.prompt_length, width)


def prompt_state_width(manifest: CheckpointManifest, config: ModelConfig) -> int | None:
    """Numbers of the state that a prompt holds; None: it is not in there.

    Raises:
        ContractError: nobody said whether it holds them, or how many joints there are.
    """
    if manifest.prompt_state == "padded":
        return config.state_dim
    if manifest.prompt_state == "none":
        return None
    if manifest.prompt_state is None or not manifest.joints:
        where, expected = f"{MANIFEST}: prompt_state", "none, joints (with their roles) or padded"
        got = "joints without roles" if manifest.prompt_state else "null"
        do = "convert it with --prompt-state and --joints, or give token_ids"
        raise ContractError(problem(where, expected, got, do))
    return len(manifest.joints)


def _running_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    first = next(iter(tensors), None)
    stored = tensors[first].dtype if first is not None else torch.float32
    return torch.bfloat16 if stored is torch.bfloat16 else torch.float32


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read and cross-check everything but the weights.

    Raises:
        ContractError: every file that is missing or wrong, every pair that does not fit.
    """
    if not folder.is_dir():
        do = "give the folder that 'adamoe train' or 'adamoe convert' made"
        raise ContractError(problem(f"checkpoint {folder}", "a folder", "none", do))
    problems = Problems()
    config = problems.collect(lambda: read_config(folder / CONFIG))
    manifest = problems.collect(lambda: load_manifest(folder / MANIFEST))
    statistics = None
    if manifest is not None and not (manifest.raw_only and not (folder / STATISTICS).is_file()):
        statistics = problems.collect(lambda: load_norm_stats(folder / STATISTICS))
    if not (folder / WEIGHTS).is_file():
        problems.add(str(folder / WEIGHTS), "the weights", "no file", "copy the whole checkpoint")
    if config is not None and manifest is not None:
        _check_fit(folder, config, manifest, statistics, problems)
    problems.raise_if_any()
    assert config is not None and manifest is not None
    return Checkpoint(folder, config, manifest, statistics)


def read_config(path: Path) -> ModelConfig:
    """Read ``config.json``.

    Raises:
        ContractError: missing, not JSON, or keys that do not fit.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        do = "copy the whole checkpoint"
        raise ContractError(problem(str(path), "the sizes", "no file", do)) from error
    except ValueError as error:
        raise ContractError(problem(str(path), "JSON", error, "copy it again")) from error
    if not isinstance(tree, dict):
        got = type(tree).__name__
        raise ContractError(problem(str(path), "an object", got, "copy it again"))
    return ModelConfig.from_dict(tree)


def _check_fit(
    folder: Path,
    config: ModelConfig,
    manifest: CheckpointManifest,
    statistics: NormStats | None,
    problems: Problems,
) -> None:
    slots, joints = len(manifest.camera_slots), len(manifest.joints)
    actions = len(manifest.action_entries)
    if slots != config.num_views:
        got = f"{slots} camera slots"
        problems.add(
            f"{MANIFEST}: camera_slots", f"{config.num_views} as in {CONFIG}", got, "adapt"
        )
    for name, count, most in (
        ("joints", joints, config.state_dim),
        ("actions", actions, config.action_dim),
    ):
        if count > most:
            expected = f"at most {most} as in {CONFIG}"
            problems.add(f"{MANIFEST}: {name}", expected, count, "adapt one of them")
    relative = [entry.representation == "relative" for entry in manifest.action_entries]
    if any(relative) and actions > joints:
        expected = f"at most {joints}, as the state that they are relative to"
        problems.add(f"{MANIFEST}: actions", expected, actions, "correct the entries")
    if manifest.adapt_to_pi not in (None, "none") and joints != 14:
        problems.add(f"{MANIFEST}: adapt_to_pi", "14 joints (ALOHA)", joints, "set it to none")
    _check_architecture(folder, config, manifest, problems)
    if statistics is not None and manifest.normalization is not None and joints:
        problems.extend(
            statistics.check(
                (joints, actions), manifest.normalization, STATISTICS, manifest.allow_constant
            )
        )
    if manifest.tokenizer is not None:
        _check_tokenizer(folder / manifest.tokenizer, config, manifest, problems)


_NORMS = {"pi0": "expert.norm.weight", "pi05": "expert.norm.modulation.weight"}


def _check_architecture(
    folder: Path, config: ModelConfig, manifest: CheckpointManifest, problems: Problems
) -> None:
    """Sizes, meaning and tensors are of one; else one line, not one for each tensor later."""
    where, do = "architecture", "take the files of one checkpoint"
    stored = _stored_architecture(folder / WEIGHTS)
    if manifest.architecture != config.architecture:
        expected = f"{config.architecture} as in {CONFIG}"
        problems.add(f"{MANIFEST}: {where}", expected, manifest.architecture, do)
    elif stored not in (None, config.architecture):
        expected, got = f"{stored}, which the tensors are", config.architecture
        problems.add(f"{folder / CONFIG}: {where}", expected, got, do)
    elif config.architecture == "pi0" and manifest.prompt_state != "none":
        line = state_token_problem(f"{MANIFEST}: prompt_state", manifest.prompt_state)
        problems.extend([line])


def _stored_architecture(path: Path) -> str | None:
    """What the tensors' names say; None: nothing, or the file is damaged, as loading it will say."""
    try:
        names = set(TensorFile(path))
    except ContractError:
        return None
    found = [name for name, norm in _NORMS.items() if norm in names]
    return found[0] if len(found) == 1 else None


def state_token_problem(where: str, prompt_state: str | None) -> str:
    """The line about a pi0 whose prompt is said to hold the state."""
    expected, got = "none: pi0 has a token for the state", prompt_state or "null"
    return problem(where, expected, got, "leave it out, or is this a pi0.5?")


def _check_tokenizer(
    path: Path, config: ModelConfig, manifest: CheckpointManifest, problems: Problems
) -> None:
    tokenizer = problems.collect(lambda: load_tokenizer(path))
    if tokenizer is None:
        return
    rows, wanted = config.prefix.vocab, manifest.tokenizer_size
    if wanted is not None and tokenizer.size != wanted:
        do = "take the checkpoint's own tokenizer"
        problems.add(str(path), f"{wanted} entries as in {MANIFEST}", tokenizer.size, do)
    elif tokenizer.size > rows + 1:  # PaliGemma's has one more, <image>, which no text produces
        do = "take the checkpoint's own tokenizer"
        problems.add(str(path), f"at most the embedding's {rows} entries", tokenizer.size, do)


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    manifest: CheckpointManifest,
    statistics: NormStats | None,
    specs: Mapping[str, TensorSpec],
    tensors: Iterable[tuple[str, Tensor]],
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder that appears only when it is complete.

    Args:
        specs, tensors: see ``tensor_file.write_tensors``; ``specs_of`` makes the first.
        files: further files by name, e.g. the tokenizer.
        overwrite: replace a folder of this name.

    Raises:
        ContractError: the folder exists, or the disk is full or not writable.
    """
    with new_folder(folder, overwrite) as beside:
        text = json.dumps(config.to_dict(), indent=1) + "\n"
        (beside / CONFIG).write_text(text, encoding="utf-8")
        (beside / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if statistics is not None:
            (beside / STATISTICS).write_text(statistics.to_json(), encoding="utf-8")
        for name, content in (files or {}).items():
            (beside / name).write_bytes(content)
        write_tensors(beside / WEIGHTS, specs, tensors)
    return folder
