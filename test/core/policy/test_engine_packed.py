# SPDX-License-Identifier: Apache-2.0
"""The CPU's engine against the eager one: whole samples, in every kind of batch."""

from __future__ import annotations

import engine_cases
import numpy as np
import pytest
import samples
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.conditioning import ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.policy.engines import EngineSettings, linears, make_engine, weight_forms
from adamoe_ros.policy.engines.packed import PackedEngine
from adamoe_ros.policy.engines.shapes import exact_shape, small_inputs


@pytest.fixture(autouse=True)
def _small_weights_are_packed(monkeypatch):
    monkeypatch.setattr(linears, "_WORTH_PACKING", 0)


@pytest.fixture
def _as_on_intel(monkeypatch):
    """MKL's forms for every layer that they exist for, on any processor."""
    if not torch.backends.mkl.is_available():
        pytest.skip("a torch without MKL")
    monkeypatch.setattr(linears, "_MKL_ROWS", (1, 1000))
    monkeypatch.setattr(linears, "mkl_packing_works", lambda: True)
    monkeypatch.setattr(weight_forms, "mkl_is_at_home", lambda: True)
    monkeypatch.setattr(weight_forms, "_CHUNKED_ROWS", 1)
    monkeypatch.setattr(weight_forms, "_CHUNK", 8)


def packed(**changes):
    return lambda model: PackedEngine(model, EngineSettings(**changes))


@pytest.mark.parametrize("batch", engine_cases.BATCHES)
@pytest.mark.parametrize("name", engine_cases.CONFIGS)
def test_same_numbers_and_choices(name, batch):
    config = engine_cases.CONFIGS[name]()
    given = engine_cases.inputs(config, *engine_cases.BATCHES[batch])
    for mixture in ("wide", "sparse"):
        eager, engine = engine_cases.pair(config, packed(mixture=mixture))
        assert engine_cases.compare(eager, engine, given) < 1e-5


@pytest.mark.parametrize("name", engine_cases.CONFIGS)
def test_same_numbers_and_choices_by_mkl(name, _as_on_intel):
    """Three observations: rows are cut to one's, and a state token's are filled up."""
    config = engine_cases.CONFIGS[name]()
    eager, engine = engine_cases.pair(config, packed(mixture="sparse"))
    laid = (engine.flow.blocks[0].qkv, engine.prefix.blocks[0].ffn.layer)
    assert [type(form).__name__ for form in laid] == ["MklLinear", "ChunkedGated"]
    for batch in ("all cameras", "different masks"):
        given = engine_cases.inputs(config, *engine_cases.BATCHES[batch])
        assert engine_cases.compare(eager, engine, given) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("name", engine_cases.CONFIGS)
def test_velocities(name):
    config = engine_cases.CONFIGS[name]()
    eager, engine = engine_cases.pair(config, packed())
    given = engine_cases.inputs(config, *engine_cases.BATCHES["different masks"])
    noise = samples.chunk(config, 3)
    shape = exact_shape(given)
    pixels = torch.rand(3, shape.views, 3, *config.vision.image_size) * 2 - 1
    laid = small_inputs(given, shape, config)
    full = torch.zeros(3, config.num_views, *pixels.shape[2:])
    for row, (slots, there) in enumerate(zip(laid.slots, laid.present, strict=True)):
        for place, slot in enumerate(slots[there]):
            full[row, slot] = pixels[row, place]
    state = torch.from_numpy(given.state)
    network = eager.network
    cache = network.encode_prefix(
        full,
        torch.from_numpy(given.image_mask),
        torch.from_numpy(given.token_ids),
        torch.from_numpy(given.token_mask),
        state,
    )
    cache = network.encode_state(cache, state)
    stage, _ = engine.encode(pixels, laid, shape)
    times, table = engine.flow.schedule(10)
    for step in (0, 4, 9):
        wanted = network.velocity(cache, noise, times[step].expand(3))
        found = engine.flow.velocity(stage, noise, table[step][None, :1])
        assert engine_cases.relative(found, wanted) < 1e-5


@pytest.mark.parametrize("name", ["dense", "k=1", "small", "pi0.5"])
def test_bfloat16_is_as_near_to_float32_as_eager(name):
    """Whole trajectories, with float32 as the truth: at most 1.5 times the eager error + 0.5 %."""
    config = engine_cases.CONFIGS[name]()
    given = engine_cases.inputs(config, [[1, 1, 1], [1, 0, 1]], [5, 3])
    noise = samples.chunk(config, 2)
    truth = engine_cases.pair(config, packed())[0].sample(given, noise).sample.actions
    eager, engine = engine_cases.pair(config, packed(), torch.bfloat16)
    errors = [
        (found.sample(given, noise).sample.actions - truth).square().mean().sqrt()
        / truth.square().mean().sqrt()
        for found in (eager, engine)
    ]
    assert 1e-5 < errors[1] < 1.5 * errors[0] + 0.005 < 0.2


def test_batch_equals_one_by_one():
    config = engine_cases.CONFIGS["k=2"]()
    _, engine = engine_cases.pair(config, packed())
    cameras, prompts = [[1, 1, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0]], [10, 0, 4, 4]
    ones = [engine_cases.inputs(config, [c], [p], 5) for c, p in zip(cameras, prompts, strict=True)]
    noise = samples.chunk(config, 4)
    together = engine.sample(engine_cases.stacked(ones), noise).sample.actions
    for row, one in enumerate(ones):
        alone = engine.sample(one, noise[row : row + 1]).sample.actions
        assert engine_cases.relative(together[row : row + 1], alone) < 1e-5


@pytest.mark.parametrize("name", ["k=1", "small", "pi0.5 k=2", "pi0.5 small"])
def test_real_time_chunking(name):
    config = engine_cases.CONFIGS[name]()
    eager, engine = engine_cases.pair(config, packed())
    given = engine_cases.inputs(config, [[1, 1, 1], [1, 0, 1]], [5, 2])
    target = samples.chunk(config, 2, seed=9)
    rows = torch.arange(config.horizon).expand(2, -1)
    frozen = FrozenRows(target, rows < config.horizon // 4)
    guidance = ChunkGuidance(target, torch.rand(2, config.horizon, 1), 4.0)
    for options in (
        SamplingOptions(frozen=frozen),
        SamplingOptions(guidance=guidance),
        SamplingOptions(3, frozen, guidance),
        SamplingOptions(3),
    ):
        assert engine_cases.compare(eager, engine, given, options) < 1e-5
    options = SamplingOptions(frozen=frozen)
    out = engine.sample(given, samples.chunk(config, 2), options).sample.actions
    assert torch.equal(out[frozen.mask], target[frozen.mask])


def test_the_exact_jacobian_is_refused():
    config = engine_cases.CONFIGS["k=1"]()
    _, engine = engine_cases.pair(config, packed())
    given = engine_cases.inputs(config, [[1, 1, 1]], [3])
    target = samples.chunk(config, 1)
    guidance = ChunkGuidance(target, torch.ones(1, config.horizon, 1), 4.0, "vjp")
    with pytest.raises(ContractError, match="choose engine eager"):
        engine.sample(given, target, SamplingOptions(guidance=guidance))


def test_weights_exist_once():
    model = engine_cases.network(engine_cases.CONFIGS["k=1"]())
    PackedEngine(model, EngineSettings(consume=True))
    left = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name)
    assert left == 0


def test_choice_by_name():
    model = engine_cases.network(engine_cases.CONFIGS["k=1"]())
    assert make_engine("auto", model).name == "packed"
    model = engine_cases.network(engine_cases.CONFIGS["k=1"]())
    assert make_engine("eager", model).name == "eager"
    with pytest.raises(ContractError, match="expected auto, eager, packed, captured, got 'fast'"):
        make_engine("fast", model)
    with pytest.raises(ContractError, match="engine on cpu: expected eager or packed"):
        make_engine("captured", model)
    with pytest.raises(ContractError) as refused:
        make_engine(
            "packed", model, EngineSettings(int8=True, mixture="grouped", views=(9,), batches=())
        )
    assert len(refused.value.problems) == 3


def test_thousands_of_inferences_leave_memory_flat():
    """The smallest network; two shapes in turn. 10 000 run in ``bench_engines.py --soak``."""
    config = engine_cases.CONFIGS["k=1"]().changed(
        {
            "num_views": 1, "horizon": 2, "flow_steps": 1, "prefix.depth": 1, "vision.depth": 1,
            "vision.image_size": (14, 14), "prompt_length": 2,
        }
    )  # fmt: skip
    engine = PackedEngine(engine_cases.network(config), EngineSettings())
    given = [engine_cases.inputs(config, [[1]], [words]) for words in (1, 2)]
    noise = samples.chunk(config, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in range(2_500):
            engine.sample(given[count % 2], noise)
            if count == 500:
                before = resident()
    finally:
        torch.set_num_threads(threads)
    # 2 kB an inference: a tensor kept by each would be more, an arena of the allocator is less
    assert resident() - before < 4 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * 4096


def test_pictures_are_those_of_the_eager_engine():
    config = engine_cases.CONFIGS["k=1"]()
    eager, engine = engine_cases.pair(config, packed())
    given = engine_cases.inputs(config, [[1, 1, 1]], [5])
    draw = np.random.default_rng(3)
    frames = [draw.integers(0, 256, size, dtype=np.uint8) for size in
              ((48, 64, 3), (20, 28, 3), (97, 31, 3))]  # fmt: skip
    given = type(given)((tuple(frames),), given.token_ids, given.token_mask, given.state)
    assert engine_cases.compare(eager, engine, given) < 1e-5
