# SPDX-License-Identifier: Apache-2.0
"""The policy that the parameters of policy_node ask for; what does not fit ends the transition."""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.policy.actor import PolicyActor
from adamoe_ros.policy.checkpoint import Checkpoint, read_checkpoint
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters


def make_actor(params: PolicyParameters) -> PolicyActor:
    """Profile and checkpoint read, cross-checked and loaded.

    Raises:
        ContractError: everything that is wrong with either, or between them.
    """
    problems = Problems()
    for name in ("robot", "checkpoint"):
        if not getattr(params, name):
            problems.add(f"parameter {name}", "a value", "none", f"set {name}:=...")
    problems.raise_if_any()
    profile = problems.collect(lambda: load_profile(profile_path(params.robot, robots_dir())))
    checkpoint = problems.collect(lambda: read_checkpoint(Path(params.checkpoint)))
    if checkpoint is not None:
        _check_latency(params, checkpoint, problems)
    problems.raise_if_any()
    assert profile is not None and checkpoint is not None
    return PolicyActor(profile, checkpoint, params)


def _check_latency(params: PolicyParameters, checkpoint: Checkpoint, problems: Problems) -> None:
    rate, horizon = checkpoint.manifest.control_rate_hz, checkpoint.config.horizon
    if rate and params.inject_latency >= horizon / rate:
        expected = f"less than the {horizon / rate:.2f} s of a chunk"
        got, do = params.inject_latency, "choose a smaller one"
        problems.add("parameter inject_latency", expected, got, do)
