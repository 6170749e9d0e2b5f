# SPDX-License-Identifier: Apache-2.0
"""A loaded policy: deterministic, batch equals one by one, devices never replaced silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policy_support import make_checkpoint, manifest, network, observation, tiny_config

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.policy.checkpoint import read_checkpoint, write_checkpoint
from adamoe_ros.policy.engines.eager import model_images
from adamoe_ros.policy.runtime import PolicyRuntime, choose_device
from adamoe_ros.policy.tensor_file import specs_of


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> PolicyRuntime:
    folder = make_checkpoint(tmp_path_factory.mktemp("policy") / "made")
    return PolicyRuntime(read_checkpoint(folder), "cpu")


def test_same_noise_same_chunk(runtime: PolicyRuntime) -> None:
    first = runtime.infer(observation(), runtime.noise(3))
    again = runtime.infer(observation(), runtime.noise(3))
    assert np.array_equal(first.actions, again.actions)
    assert first.actions.shape == (6, 14)
    other = runtime.infer(observation(), runtime.noise(4))
    assert not np.array_equal(first.actions, other.actions)


def test_equal_to_the_network_itself(runtime: PolicyRuntime) -> None:
    seen = observation()
    inputs = runtime.processor.inputs([seen])
    config = runtime.checkpoint.config
    expected = network(config).sample(
        model_images(inputs, config, torch.device("cpu")),
        torch.from_numpy(inputs.image_mask),
        torch.from_numpy(inputs.token_ids),
        torch.from_numpy(inputs.token_mask),
        torch.from_numpy(inputs.state),
        runtime.noise(0),
    )
    made = runtime.infer(seen, runtime.noise(0))
    # not bit for bit: mapped weights are aligned otherwise, and matrix products depend on it
    np.testing.assert_allclose(made.normalized, expected.actions[0].numpy(), atol=1e-5)


def test_a_batch_equals_one_by_one(runtime: PolicyRuntime) -> None:
    seen = [observation(0), observation(1, absent=("cam_right_wrist",)), observation(2)]
    noise = runtime.noise(5, len(seen))
    together = runtime.infer_batch(seen, noise)
    for number, (one, made) in enumerate(zip(seen, together, strict=True)):
        alone = runtime.infer(one, noise[number : number + 1])
        np.testing.assert_allclose(made.actions, alone.actions, atol=1e-5)


def test_expert_loads(runtime: PolicyRuntime) -> None:
    """As ``msg/ExpertLoad.msg`` says, also where a token has several experts."""
    text = (Path(__file__).resolve().parents[3] / "msg" / "ExpertLoad.msg").read_text()
    assert "share of all selections (k per token)" in text and text.count("sums to 1\n") == 2
    output = runtime.infer(observation(), runtime.noise(0), SamplingOptions(trace=True))
    loads = output.expert_loads()
    assert [load["layer"] for load in loads] == [0, 1]
    for load in loads:
        assert sum(load["selected"]) == pytest.approx(1.0)
        assert sum(load["probability"]) == pytest.approx(1.0, abs=1e-5)
        assert len(load["scale"]) == 4
    assert runtime.infer(observation(), runtime.noise(0)).expert_loads() == []


def test_stages_sum_to_less_than_the_total(runtime: PolicyRuntime) -> None:
    stages = dict(runtime.infer(observation(), runtime.noise(0)).stages)
    total = stages.pop("total")
    assert set(stages) >= {"prepare", "images", "prefix", "flow", "decode"}
    assert sum(stages.values()) <= total * 1.001
    assert runtime.warm_up(observation()) > 0


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "mps"])
def test_an_absent_device_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="device"):
        choose_device(name)


def test_a_raw_checkpoint_does_not_act(tmp_path: Path) -> None:
    config = tiny_config()
    tensors = network(config).state_dict()
    raw = manifest(raw_only=True, tokenizer=None, joints=(), normalization=None)
    folder = write_checkpoint(
        tmp_path / "raw", config, raw, None, specs_of(tensors), tensors.items()
    )
    with pytest.raises(ContractError, match="raw-only"):
        PolicyRuntime(read_checkpoint(folder), "cpu")
