# SPDX-License-Identifier: Apache-2.0
"""One chunk from inputs in a file, the same on every machine: ``in.npz`` -> ``out.npz``.

The numbers go the way of the robot's (same processor, same engine); in raw mode state and actions
are the padded model vectors, without statistics or joint mapping.
Shapes: V camera slots, L prompt tokens, D joints, S state width, H rows, A action width.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.files import replace_file
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.policy.checkpoint import Checkpoint, read_checkpoint
from adamoe_ros.policy.engines.eager import EagerEngine
from adamoe_ros.policy.processing import ModelInputs
from adamoe_ros.policy.runtime import choose_device

_KEYS = {"images", "image_mask", "state", "prompt", "token_ids", "token_mask", "noise"}


@dataclass(frozen=True)
class InferSettings:
    """How to run.

    Attributes:
        raw: model space.
        steps: Euler steps; None: the checkpoint's.
        seed: of the noise where the file has none.
        device: see ``choose_device``.
        dtype: of the weights; None: as stored.
    """

    raw: bool = False
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    dtype: torch.dtype | None = None


def infer_file(folder: Path, inputs: Path, out: Path, settings: InferSettings) -> dict[str, Any]:
    """Run one chunk and write it.

    Args:
        inputs: keys ``images`` (V, h, w, 3) uint8; ``image_mask`` (V,) bool, all present without
            it; ``state`` (D,), raw: (S,); ``prompt``, or ``token_ids`` (up to L,) with an optional
            ``token_mask``; ``noise`` (H, A), drawn from the seed without it.
        out: keys ``actions`` (H, D), raw: (H, A); ``experts`` (steps, layers, tokens, k), empty
            for a dense model; ``latency_ms``.

    Returns:
        What was written.

    Raises:
        ContractError: everything that does not fit; nothing is written then.
    """
    checkpoint = read_checkpoint(folder)
    vectors = None if settings.raw else checkpoint.vectors()
    arrays = _read(inputs)
    width = checkpoint.config.state_dim if vectors is None else len(checkpoint.manifest.joints)
    problems = Problems()
    _check(arrays, checkpoint, width, str(inputs), problems)
    device = choose_device(settings.device)
    problems.raise_if_any()
    state = np.asarray(arrays["state"], dtype=np.float64)
    model_state = state.astype(np.float32)  # before it is normalised, as on the robot
    numbers = np.asarray(model_state, np.float64)
    if vectors is not None:
        numbers = vectors.prompt_state(model_state)
        model_state = vectors.encode_state(model_state)
    made = _model_inputs(checkpoint, arrays, model_state, numbers)
    engine = EagerEngine(checkpoint.load_network(device, settings.dtype))
    noise = _noise(checkpoint, arrays, settings.seed)
    result = engine.sample(made, noise, SamplingOptions(settings.steps, trace=True))
    normalized = result.sample.actions[0].numpy()
    actions = normalized if vectors is None else vectors.decode_actions(normalized, state)
    experts = np.zeros((0, 0, 0, 0), np.int64)
    if checkpoint.config.moe.variant != "dense":
        experts = result.sample.selected()[:, :, 0].cpu().numpy()
    latency = np.float64(1e3 * sum(result.stages.values()))
    values = {"actions": actions, "experts": experts, "latency_ms": latency}
    _write(out, values)
    return values


_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,  # encrypted, it says, or compressed in an unknown way
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,  # an array's header is read as Python
    SyntaxError,
)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError(f"a single array {archive.shape} of {archive.dtype}")
            with archive:
                return dict(archive)
    except _UNREADABLE as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        expected = f"an .npz of numbers with {', '.join(sorted(_KEYS))}"
        raise ContractError(
            problem(str(path), expected, line, "write it with numpy.savez")
        ) from error


def _check(
    arrays: dict[str, NDArray[Any]],
    checkpoint: Checkpoint,
    width: int,
    where: str,
    problems: Problems,
) -> None:
    """Keys, shapes and types, all at once."""
    config = checkpoint.config
    for key in sorted(arrays.keys() - _KEYS):
        problems.add(f"{where}: {key}", ", ".join(sorted(_KEYS)), "another key", "remove it")
    views, rows = config.num_views, (config.horizon, config.action_dim)

    def shaped(key: str, expected: tuple[int, ...], needed: bool, do: str) -> None:
        if key not in arrays:
            if needed:
                problems.add(f"{where}: {key}", str(expected), "nothing", "add it")
        elif arrays[key].shape != expected:
            problems.add(f"{where}: {key}", str(expected), arrays[key].shape, do)
        elif arrays[key].dtype.kind not in "fiub" or not np.isfinite(arrays[key]).all():
            problems.add(f"{where}: {key}", "finite numbers", arrays[key].dtype, "correct it")

    images = arrays.get("images")
    if images is None or images.ndim != 4 or images.shape[::3] != (views, 3) or images.size == 0:
        got = "nothing" if images is None else images.shape
        slots = ", ".join(checkpoint.manifest.camera_slots)
        problems.add(f"{where}: images", f"({views}, height, width, 3)", got, f"give {slots}")
    elif images.dtype != np.uint8:
        problems.add(f"{where}: images", "uint8 RGB", images.dtype, "give 0 ... 255")
    shaped("image_mask", (views,), False, "one flag for each camera slot")
    shaped("state", (width,), True, "is --raw right?")
    shaped("noise", rows, False, "horizon x action dim")
    _check_prompt(arrays, checkpoint, where, problems)


def _check_prompt(
    arrays: dict[str, NDArray[Any]], checkpoint: Checkpoint, where: str, problems: Problems
) -> None:
    config, ids = checkpoint.config, arrays.get("token_ids")
    if ("prompt" in arrays) == (ids is not None):
        got = "both" if ids is not None else "neither"
        problems.add(where, "prompt or token_ids", got, "give one of them")
    elif ids is None:
        if arrays["prompt"].ndim or arrays["prompt"].dtype.kind != "U":
            problems.add(f"{where}: prompt", "a sentence", arrays["prompt"].dtype, "give a string")
        elif checkpoint.manifest.tokenizer is None:
            do = "give token_ids, or convert it with --tokenizer"
            problems.add(f"{checkpoint.folder}", "a tokenizer", "none", do)
    elif ids.ndim != 1 or ids.dtype.kind not in "iu" or len(ids) > config.prompt_length:
        expected = f"up to {config.prompt_length} whole numbers"
        problems.add(f"{where}: token_ids", expected, f"{ids.shape} {ids.dtype}", "correct it")
    elif ids.size and not 0 <= ids.min() <= ids.max() < config.prefix.vocab:
        got = f"{ids.min()} to {ids.max()}"
        expected = f"0 to {config.prefix.vocab - 1}"
        problems.add(f"{where}: token_ids", expected, got, "is it the right tokenizer?")
    mask = arrays.get("token_mask")
    if mask is not None and (ids is None or mask.shape != ids.shape or mask.dtype != np.bool_):
        got = f"{mask.shape} {mask.dtype}"
        problems.add(f"{where}: token_mask", "a bool for each of token_ids", got, "correct it")


def _model_inputs(
    checkpoint: Checkpoint,
    arrays: dict[str, NDArray[Any]],
    state: NDArray[np.float32],
    numbers: NDArray[np.float64],
) -> ModelInputs:
    """Args: numbers: normalised state, for a prompt that holds it; padding behind it is cut."""
    images = arrays["images"]
    present = arrays.get("image_mask", np.ones(len(images))).astype(bool)
    frames = tuple(image if there else None for image, there in zip(images, present, strict=True))
    if "prompt" in arrays:
        prompts = checkpoint.prompts()
        ids, mask = prompts(str(arrays["prompt"]), numbers[: prompts.state_width])
    else:
        given = arrays["token_ids"]
        ids = np.zeros(checkpoint.config.prompt_length, np.int64)
        mask = np.zeros(len(ids), bool)
        ids[: len(given)] = given
        mask[: len(given)] = arrays.get("token_mask", True)
    return ModelInputs((frames,), ids[None], mask[None], state[None])


def _noise(checkpoint: Checkpoint, arrays: dict[str, NDArray[Any]], seed: int) -> torch.Tensor:
    """(1, H, A) float32."""
    if "noise" in arrays:
        return torch.from_numpy(arrays["noise"].astype(np.float32))[None]
    generator = torch.Generator().manual_seed(seed)
    rows = (1, checkpoint.config.horizon, checkpoint.config.action_dim)
    return torch.randn(rows, generator=generator)


def _write(path: Path, values: dict[str, Any]) -> None:
    """Appears whole or not at all."""
    try:
        replace_file(path, lambda stream: np.savez(stream, **values))
    except OSError as error:
        do = "choose another place"
        raise ContractError(problem(str(path), "room to write it", error, do)) from error
