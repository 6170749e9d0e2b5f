# SPDX-License-Identifier: Apache-2.0
"""The policy actor whose network runs in a server: the same names, units, schedule and memory.

The server keeps nothing between requests: the chunk before is remembered here, and goes with the
request that goes on from it, as does the seed of the noise. So a server that was restarted, or another
one with the same checkpoint, goes on where the last one ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import ContractError, PolicyUnavailable, Problems, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import InferencePlan, InferenceRequest, free_plan
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.actor_base import BaseActor, BaseSession
from adamoe_ros.policy.normalise import NormStats
from adamoe_ros.serving.link import LinkSettings, PolicyLink
from adamoe_ros.serving.pictures import encode_jpeg, numbers
from adamoe_ros.serving.wire import EXTRA

_WARM_UPS = 3


class RemoteActor(BaseActor):
    """A server's checkpoint for one kind of robot.

    Args:
        profile: of the robot; None: vectors stay in the checkpoint's own order and units.
        settings: how it acts; what concerns the network (device, engine, threads) is the server's.
        jpeg_quality: of the pictures that are sent; 0: as they are.

    Raises:
        ContractError: no server, or profile, checkpoint and settings do not fit; all of it.

    Attributes:
        link: the connection.
    """

    def __init__(
        self,
        profile: RobotProfile | None,
        link: LinkSettings,
        settings: PolicySettings,
        jpeg_quality: int = 0,
    ) -> None:
        self.link = PolicyLink(link)
        try:
            announced, where = self.link.metadata, self.link.where
            _check(announced, settings, where)
            settings = replace(settings, flow_steps=announced.get("flow_steps", 0))
            super().__init__(profile, *read_announced(announced, where), settings)
        except Exception:
            self.link.close()
            raise
        self.jpeg_quality = jpeg_quality

    @property
    def device(self) -> str:
        """Where the model runs, for a person."""
        return f"{self.link.metadata.get('device')} of {self.link.where}"

    @property
    def fault(self) -> str:
        """See ``BaseActor``."""
        return self.link.fault

    def close(self) -> None:
        """End the connection."""
        self.link.close()

    def warm_up(self) -> float:
        """See ``BaseActor``; with the way there and back.

        Raises:
            ContractError: the server does not answer.
        """
        session, observation = self.session(), self.warm_up_observation()
        seconds = 0.0
        try:
            for _ in range(_WARM_UPS):
                made = session.infer(observation, free_plan(observation.stamp_ns, self.horizon))
                seconds = made.stages["total"]
        except PolicyUnavailable as error:
            raise ContractError(str(error)) from error
        return seconds

    def session(self, seed: int | None = None) -> RemoteSession:
        """See ``BaseActor``."""
        return RemoteSession(self, self.seed if seed is None else seed)


class RemoteSession(BaseSession):
    """One robot's run with a policy in a server."""

    def __init__(self, actor: RemoteActor, seed: int) -> None:
        super().__init__(actor, seed)
        self._actor = actor

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk.

        Raises:
            PolicyUnavailable: the link is down, or no answer came in time.
            ContractError: the server refuses the observation, or answers with something else.
        """
        begun = time.perf_counter()
        request = InferenceRequest(observation, plan)
        frame = self._frame(request)
        sent = time.perf_counter()
        answer = self._actor.link.ask(frame)
        back = time.perf_counter()
        actor, reply = self._actor, answer.get(EXTRA)
        if not isinstance(reply, Mapping):
            got, do = ", ".join(map(str, answer)), "is it the same server as before?"
            raise ContractError(problem(actor.link.where, f"a key {EXTRA!r}", got[:100], do))
        shape = (actor.horizon, actor.config.action_dim)
        do = "is its version the one of this computer?"
        normalized = numbers(reply.get("normalized"), shape, "normalized", do).astype(np.float32)
        actions = actor.vectors.decode_actions(normalized, observation.state)
        self.remember(request, normalized)
        stages = {name: float(value) for name, value in dict(reply.get("stages", {})).items()}
        served = stages.pop("served", 0.0)
        total = time.perf_counter() - begun
        stages |= {
            "encode": sent - begun,
            "network": max(0.0, back - sent - served),
            "total": total,
        }
        return Inference(
            positions=actor.joint_map.command_from_model(actions),
            normalized=normalized[:, : actions.shape[1]].astype(np.float64),
            committed_rows=int(reply.get("committed_rows", 0)),
            stages=stages,
            experts=tuple(reply.get("experts", ())),
        )

    def _frame(self, request: InferenceRequest) -> dict[str, Any]:
        actor, observation = self._actor, request.observation
        left, quality = self.leftover(request), actor.jpeg_quality
        images: dict[str, Any] = {
            slot: encode_jpeg(image, quality) if quality else image
            for slot, image in observation.images.items()
            if slot in actor.camera_slots
        }
        extra: dict[str, Any] = {
            "images": images,
            "state": observation.state,
            "prompt": observation.instruction,
            "noise_seed": self.noise_seed(request),
            "trace": True,
        }
        if left is not None:
            extra |= {
                "rows": left.rows,
                "weights": left.weights,
                "prefix_rows": left.prefix_rows,
                "max_weight": actor.max_weight,
            }
        return {EXTRA: extra}


def read_announced(
    announced: Mapping[str, Any], where: str
) -> tuple[CheckpointManifest, ModelConfig, NormStats]:
    """Manifest, sizes and statistics of a server's metadata.

    Raises:
        ContractError: one is missing or does not fit; it is of another version.
    """
    try:
        manifest = CheckpointManifest.model_validate_json(announced["manifest"])
        statistics = NormStats.model_validate(json.loads(announced["norm_stats"])["norm_stats"])
        return manifest, ModelConfig.from_dict(json.loads(announced["config"])), statistics
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        what = " ".join(str(error).split())[:200]
        do = "use the same version on both computers"
        raise ContractError(problem(where, "manifest, sizes and statistics", what, do)) from error


def _check(announced: Mapping[str, Any], settings: PolicySettings, where: str) -> None:
    """What is asked of the network, against what the server was started with."""
    problems, theirs = Problems(), announced.get("flow_steps")
    if settings.flow_steps not in (0, theirs):
        do = "set flow_steps to 0, or start the server with other --steps"
        problems.add(f"{where}: flow_steps", f"{theirs} as the server has", settings.flow_steps, do)
    guided = make_strategy(settings.strategy).policy_side.guidance
    theirs = announced.get("rtc_jacobian")
    if guided and settings.rtc_jacobian != theirs:
        expected, do = f"{theirs} as the server has", "change one of them"
        problems.add(f"{where}: rtc_jacobian", expected, settings.rtc_jacobian, do)
    problems.raise_if_any()
