# SPDX-License-Identifier: Apache-2.0
"""One client's request, as the actor takes it, and what our own client may ask beyond openpi.

The extra keys are in one mapping, ``adamoe``, of the observation; every one may be left out:

    images, state, prompt   by the checkpoint's slots, past the interface file; a JPEG for a picture
    noise_seed              int; the same seed gives the same chunk on every server
    noise                   (H, A) instead
    rows, weights, prefix_rows, max_weight
                            the previous chunk for real-time chunking: (H, A) normalised and
                            re-anchored, (H,) or None, leading rows to keep, clip
    age                     s since the observation was taken: older ones are inferred first
    trace                   bool: statistics of the routers, when the batch is this one alone
    echo                    bytes: answered at once, without an inference

H rows, A action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.scheduling import InferenceRequest, free_plan
from adamoe_ros.model.conditioning import FREE, Jacobian, SamplingOptions
from adamoe_ros.policy.actor import PolicyActor, condition_on
from adamoe_ros.serving.interfaces import Inputs, ObservationReader, sentence
from adamoe_ros.serving.pictures import numbers, slot_pictures
from adamoe_ros.serving.wire import EXTRA

KEYS = (
    *("images", "state", "prompt", "noise_seed", "noise", "rows", "weights", "prefix_rows"),
    *("max_weight", "age", "trace", "echo"),
)
_OLDEST = 1.0  # s of age that count: a client cannot push all others back
_FULL_SCALE = 1 << 63


@dataclass(eq=False)
class ClientRequest:
    """What the actor infers for one client; it is both the request and its own ``Requester``.

    Attributes:
        request: observation and plan.
        due: s of the monotonic clock, when the observation was taken: the oldest goes first.
        drawn: (1, H, A) noise.
        options: what of the previous chunk goes in.
        trace: routing statistics are wanted.
        normalized: (H, A) float32 after the inference.
    """

    request: InferenceRequest
    due: float
    drawn: torch.Tensor
    options: SamplingOptions = FREE
    trace: bool = False
    normalized: NDArray[np.float32] | None = field(default=None, init=False)

    @property
    def clip(self) -> float | None:
        """Of the guidance: requests of one batch have the same one, or none."""
        guidance = self.options.guidance
        return None if guidance is None else float(guidance.max_weight)

    def noise(self, _request: InferenceRequest) -> torch.Tensor:
        """See ``Requester``."""
        return self.drawn

    def condition(self, _request: InferenceRequest) -> SamplingOptions:
        """See ``Requester``."""
        return self.options

    def remember(self, _request: InferenceRequest, normalized: NDArray[np.float32]) -> None:
        """See ``Requester``; the client remembers, the server forgets."""
        self.normalized = normalized


class RequestReader:
    """Makes requests of observations.

    Args:
        actor: without a profile.
    """

    def __init__(self, actor: PolicyActor) -> None:
        self._actor = actor
        self._slots, self._joints = actor.camera_slots, len(actor.manifest.joints)
        self._chunk = (actor.horizon, actor.config.action_dim)

    def __call__(
        self,
        frame: Mapping[str, Any],
        observations: ObservationReader | None,
        seed: int,
        arrived: float,
    ) -> ClientRequest:
        """One request.

        Args:
            observations: by the interface; None: only clients of ours are understood.
            seed: of the noise where the client names none.
            arrived: s of the monotonic clock.

        Raises:
            ContractError: everything that does not fit.
        """
        extra = frame.get(EXTRA, {})
        if not isinstance(extra, Mapping) or (unknown := [k for k in extra if k not in KEYS]):
            got = f"unknown key {unknown[0]!r}"[:60] if isinstance(extra, Mapping) else "no mapping"
            raise ContractError(problem(EXTRA, ", ".join(KEYS), got, "is the client newer?"))
        return self.request(self._inputs(frame, extra, observations), extra, seed, arrived)

    def request(
        self, inputs: Inputs, extra: Mapping[str, Any], seed: int, arrived: float
    ) -> ClientRequest:
        """Of inputs that are understood already."""
        observation = Observation(0, inputs.images, inputs.state, inputs.prompt)
        problems = Problems()
        drawn = problems.collect(lambda: self._noise(extra, seed))
        options = problems.collect(lambda: self._options(extra))
        age = problems.collect(lambda: float(_number(extra, "age", 0.0, 0.0, 3600.0)))
        unfit = self._actor.instruction_problem(inputs.prompt)
        problems.extend([unfit] if unfit else [])  # here, or it would fail the others of its batch
        problems.raise_if_any()
        assert drawn is not None and options is not None and age is not None
        return ClientRequest(
            InferenceRequest(observation, free_plan(0, self._actor.horizon)),
            arrived - min(age, _OLDEST),
            drawn,
            options,
            extra.get("trace") is True,
        )

    def _inputs(
        self,
        frame: Mapping[str, Any],
        extra: Mapping[str, Any],
        observations: ObservationReader | None,
    ) -> Inputs:
        if "images" not in extra:
            if observations is None:
                got = ", ".join(map(str, list(frame)[:12]))
                do = "start the server with an --interface of this protocol, or use our own client"
                raise ContractError(problem("observation", f"a key {EXTRA!r}", got, do))
            return observations(frame)
        problems, images = Problems(), extra["images"]
        if not isinstance(images, Mapping) or not set(images) <= set(self._slots) or not images:
            got = ", ".join(map(str, images)) if isinstance(images, Mapping) else "no mapping"
            problems.add("images", f"some of {', '.join(self._slots)}", got[:80], "name the slots")
            problems.raise_if_any()
        made = slot_pictures(images, problems)
        do = "send the checkpoint's joints"
        state = problems.collect(lambda: numbers(extra.get("state"), (self._joints,), "state", do))
        prompt = problems.collect(lambda: sentence(extra.get("prompt"), "prompt"))
        problems.raise_if_any()
        assert state is not None and prompt is not None
        return Inputs(made, state, prompt)

    def _noise(self, extra: Mapping[str, Any], seed: int) -> torch.Tensor:
        if extra.get("noise") is not None:
            do = "send the horizon and width of the metadata"
            given = numbers(extra["noise"], self._chunk, "noise", do)
            return torch.as_tensor(given, dtype=torch.float32)[None]
        return self._actor.runtime.noise(
            int(_number(extra, "noise_seed", seed, 0, _FULL_SCALE - 1))
        )

    def _options(self, extra: Mapping[str, Any]) -> SamplingOptions:
        actor = self._actor
        if extra.get("rows") is None:
            return FREE
        rows = numbers(extra["rows"], self._chunk, "rows", "send the leftover of the last chunk")
        weights, do = extra.get("weights"), "send a weight in 0 ... 1 for each row"
        if weights is not None:
            weights = numbers(weights, self._chunk[:1], "weights", do)
            if weights.min() < 0 or weights.max() > 1:
                got = f"{weights.min():g} ... {weights.max():g}"
                raise ContractError(problem("weights", "0 ... 1", got, do))
        prefix = int(_number(extra, "prefix_rows", 0, 0, actor.max_prefix_rows))
        clip = float(_number(extra, "max_weight", actor.max_weight, 0.0, 2.0 * actor.steps - 1e-6))
        jacobian = cast(Jacobian, actor.settings.rtc_jacobian)
        return condition_on(rows, weights, prefix, clip, jacobian)


def _number(extra: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = extra.get(key, default)
    kinds = (int,) if isinstance(default, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        expected = f"{'a whole number' if kinds == (int,) else 'a number'} in {low:g} ... {high:g}"
        raise ContractError(problem(key, expected, repr(value)[:40], "correct it"))
    return value
