# SPDX-License-Identifier: Apache-2.0
"""``manifest.json`` of a checkpoint folder: what its numbers mean.

Nothing here has a silent default that could move a robot wrongly: a converter that cannot know a
fact writes ``null`` and sets ``raw_only``, and a raw-only checkpoint never drives a robot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.validation import validation_lines

CHECKPOINT_FILES = ("config.json", "model.safetensors", "norm_stats.json", "manifest.json")
FORMAT: Literal["adamoe_ros/1"] = "adamoe_ros/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = Literal["revolute", "prismatic", "gripper", "position", "rotation"]
# relative: to the state at the chunk's start; increment: of each row, -1 ... 1 of the controller's
# largest step
Representation = Literal["absolute", "relative", "increment"]


class JointRole(_Strict):
    """One entry of the state and action vectors.

    Roles are canonical, so that a checkpoint and a robot profile meet by name:
    ``left_0 ... left_5, left_gripper, right_0 ..., right_gripper`` (joints from base to wrist).
    Those of an end effector (``ee_x ... ee_rz``) are no profile's: position in m, rotation as
    axis-angle in rad.
    """

    role: str
    kind: Kind
    representation: Representation

    @property
    def for_joints(self) -> bool:
        """Whether a robot profile's driver can be given it."""
        return self.kind not in ("position", "rotation") and self.representation != "increment"


def vector_entry(role: str, representation: Representation = "absolute") -> JointRole:
    """An entry by its canonical name."""
    name = role.rpartition("_")[2] if role.startswith("ee_") else ""
    kind: Kind = "position" if name in ("x", "y", "z") else "rotation" if name else "revolute"
    if role.endswith("gripper"):
        kind = "gripper"
    elif role.startswith("finger_"):
        kind = "prismatic"
    return JointRole(role=role, kind=kind, representation=representation)


def action_entry(role: str, relative: bool = False) -> JointRole:
    """Of an action vector of its own: end effectors move by increments unless they are relative."""
    otherwise: Representation = "increment" if role.startswith("ee_") else "absolute"
    return vector_entry(role, "relative" if relative else otherwise)


class GripperConvention(_Strict):
    """Value of a gripper entry in the checkpoint's physical (unnormalised) vectors."""

    open: float
    closed: float


class Provenance(_Strict):
    """Where the weights came from."""

    source: str  # layout or training run
    created_by: str  # tool and version
    created: str  # ISO 8601 date
    notes: str = ""


class CheckpointManifest(_Strict):
    """Meaning of a checkpoint's inputs and outputs; see the attribute comments for units."""

    format: Literal["adamoe_ros/1"] = FORMAT
    raw_only: bool  # True: model space only (no statistics, tokenizer or joint semantics)
    architecture: Literal["pi0", "pi05"] = "pi0"  # as config.json has it
    embodiment: str | None  # e.g. "vx300s_dual"; must be accepted by the robot profile
    joints: tuple[JointRole, ...]  # order of the unpadded state and action vectors
    actions: tuple[JointRole, ...] = ()  # of the action vector where it is another than the state's
    gripper: GripperConvention | None
    control_rate_hz: float | None = Field(gt=0)  # rows of a chunk are 1 / this apart
    camera_slots: tuple[str, ...]  # model order
    image_resize: Literal["pad_bilinear_antialias"] = "pad_bilinear_antialias"
    normalization: Literal["mean_std", "quantile"] | None
    # openpi 1e-6; LeRobot 1e-8 in, none out
    normalization_eps: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    allow_constant: bool = False  # dimensions without spread are divided by the epsilon alone
    adapt_to_pi: Literal["none", "openpi", "adamoe"] | None  # generation of the ALOHA transform
    prompt_style: Literal["openpi", "lerobot", "plain"] | None
    # numbers of the state in the prompt: the joints', or padded to the model's width (LeRobot 0.4)
    prompt_state: Literal["none", "joints", "padded"] | None = "none"
    tokenizer: str | None  # file beside the manifest
    tokenizer_size: int | None = None  # entries it must have; None: at most the embedding's rows
    state_source: Literal["measured", "last_command"] | None
    rtc_max_delay: int = 0  # rows of clean prefix it was trained with; 0: not trained for it
    instructions: tuple[str, ...] = ()  # sentences it was trained on; empty: unknown
    provenance: Provenance

    @property
    def raw_only_reason(self) -> str:
        """What keeps a raw-only checkpoint off robots, as its converter noted it."""
        return self.provenance.notes or "marked so by --raw-only"

    @property
    def state_roles(self) -> tuple[str, ...]:
        """Roles in vector order."""
        return tuple(joint.role for joint in self.joints)

    @property
    def action_entries(self) -> tuple[JointRole, ...]:
        """In vector order."""
        return self.actions or self.joints


def checkpoint_name(folder: Path) -> str:
    """A folder's name; its parent's where that is only ``checkpoint``."""
    place = folder.resolve()
    return place.parent.name if place.name == "checkpoint" else place.name


def check_checkpoint_files(folder: Path) -> CheckpointManifest:
    """A checkpoint's manifest, with all of its files there; nothing else is read.

    Raises:
        ContractError: every file that is missing, or what is wrong with the manifest.
    """
    if not folder.is_dir():
        raise ContractError(
            f"checkpoint: expected a folder, got {str(folder)!r}; pass --checkpoint, or make one "
            "with 'adamoe train' or 'adamoe convert'"
        )
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    if not missing:
        manifest = load_manifest(folder / "manifest.json")
        if not manifest.tokenizer or (folder / manifest.tokenizer).is_file():
            return manifest
        missing = [manifest.tokenizer]
    files = f"the file{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
    where = f"checkpoint {folder}"
    raise ContractError(problem(where, files, "no such file", "copy the whole folder"))


def load_manifest(path: Path) -> CheckpointManifest:
    """Read ``manifest.json``.

    Raises:
        ContractError: the file is missing, not JSON, or has unknown, missing or wrong keys (all listed).
    """
    try:
        return CheckpointManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ContractError(
            f"{path}: expected the checkpoint's manifest, found no file; "
            "point --checkpoint at a folder made by 'adamoe convert' or 'adamoe train'"
        ) from error
    except ValidationError as error:
        raise ContractError(validation_lines(path.name, error, CheckpointManifest)) from error
    except UnicodeDecodeError as error:
        raise ContractError(problem(str(path), "JSON in UTF-8", error, "copy it again")) from error
