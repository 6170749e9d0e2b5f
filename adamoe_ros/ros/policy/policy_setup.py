# SPDX-License-Identifier: Apache-2.0
"""The policy that the parameters of policy_node ask for; what does not fit ends the transition."""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.extras import parts_needed
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.policy.actor_base import BaseActor
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters


def make_actor(params: PolicyParameters) -> BaseActor:
    """Profile and checkpoint read, or the latter asked for, cross-checked and loaded.

    Raises:
        ContractError: everything that is wrong with either, or between them.
    """
    problems = Problems()
    if not params.robot:
        problems.add("parameter robot", "a value", "none", "set robot:=...")
    if bool(params.checkpoint) == bool(params.policy):
        got = "both" if params.policy else "none"
        do = "set checkpoint:=... or policy:=ws://host:port"
        problems.add("parameter checkpoint", "a value, or one of policy", got, do)
    problems.raise_if_any()
    profile = problems.collect(lambda: load_profile(profile_path(params.robot, robots_dir())))
    make = _remote if params.policy else _local
    with parts_needed("serve" if params.policy else "policy"):
        made = make(params, profile, problems)
    problems.raise_if_any()
    assert made is not None
    return made


def _local(
    params: PolicyParameters, profile: RobotProfile | None, problems: Problems
) -> BaseActor | None:
    from adamoe_ros.policy.actor import PolicyActor
    from adamoe_ros.policy.checkpoint import read_checkpoint

    checkpoint = problems.collect(lambda: read_checkpoint(Path(params.checkpoint)))
    if checkpoint is None:
        return None
    rate = checkpoint.manifest.control_rate_hz
    _check_latency(params, checkpoint.config.horizon / rate if rate else None, problems)
    if problems.lines or profile is None:
        return None
    return PolicyActor(profile, checkpoint, params)


def _remote(
    params: PolicyParameters, profile: RobotProfile | None, problems: Problems
) -> BaseActor | None:
    from adamoe_ros.serving.link import LinkSettings
    from adamoe_ros.serving.remote_actor import RemoteActor

    if profile is None:
        return None
    token, authority = (
        Path(name) if name else None for name in (params.policy_token, params.policy_authority)
    )
    link = LinkSettings(params.policy, token, authority, params.answer_timeout)
    actor = problems.collect(lambda: RemoteActor(profile, link, params, params.jpeg_quality))
    if actor is not None:
        _check_latency(params, actor.horizon * actor.dt_s, problems)
        if problems.lines:
            actor.close()
    return actor


def _check_latency(params: PolicyParameters, chunk_s: float | None, problems: Problems) -> None:
    if chunk_s is not None and params.inject_latency >= chunk_s:
        expected = f"less than the {chunk_s:.2f} s of a chunk"
        got, do = params.inject_latency, "choose a smaller one"
        problems.add("parameter inject_latency", expected, got, do)
