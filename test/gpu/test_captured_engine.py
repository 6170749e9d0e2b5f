# SPDX-License-Identifier: Apache-2.0
"""What the CPU cannot show of the captured engine: capture, replay, asynchrony, memory, tail.

Fastest first: ``tools/gpu_check.sh`` stops them at a limit.
"""

from __future__ import annotations

import copy
import statistics
import time

import engine_cases
import pytest
import samples
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.conditioning import ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.model.config import adamoe_pi0, pi0
from adamoe_ros.policy.engines import EngineSettings, make_engine
from adamoe_ros.policy.engines.eager import EagerEngine
from adamoe_ros.policy.engines.weight_forms import WeightForms

DEVICE = "cuda"
FORMS = ("wide", "triton")


def pair(name: str, dtype: torch.dtype = torch.float32, **changes):
    """Eager and captured on the GPU, same weights."""
    config = engine_cases.CONFIGS[name]()
    model = engine_cases.network(config, dtype).to(DEVICE)
    shapes = {"batches": (1, 3), "views": (1, 3), "prompts": (config.prompt_length,)}
    settings = EngineSettings(**shapes, compiled=False, **changes)
    return EagerEngine(copy.deepcopy(model)), make_engine("captured", model, settings)


def test_a_network_that_does_not_fit_is_refused_with_numbers(monkeypatch):
    from adamoe_ros.policy.engines import captured

    monkeypatch.setattr(captured, "free_bytes", lambda device: 1000)
    with pytest.raises(ContractError, match="free bytes"):
        pair("k=1")


@pytest.mark.parametrize("int8", [False, True])
def test_mixture_kernels_compiled(int8):
    for name in ("k=1", "k=2", "k=E"):
        layer = engine_cases.network(engine_cases.CONFIGS[name]()).to(DEVICE).expert.layers[0].ffn
        for rows in (1, 16, 50, 150):
            x, residual = torch.randn(2, rows, 24, device=DEVICE)
            wanted = residual + layer(x.unsqueeze(0))[0]
            found = WeightForms(mixture="triton", int8=int8).mixture_of(layer, rows)(
                x, residual, None
            )
            assert engine_cases.relative(found, wanted) < (0.03 if int8 else 1e-5)


def test_nothing_waits_between_upload_and_download():
    _, engine = pair("k=1")
    given, noise = (
        engine_cases.inputs(engine.config, [[1, 1, 1]], [5]),
        samples.chunk(engine.config, 1),
    )
    engine.sample(given, noise)
    torch.cuda.set_sync_debug_mode("error")
    try:
        launched = engine.launch(given, noise)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(engine.finish(launched).sample.actions).all()


def test_conditioning_in_the_graph():
    eager, captured = pair("k=1")
    config = eager.config
    given, noise = engine_cases.inputs(config, [[1, 1, 1]], [5]), samples.chunk(config, 1)
    target = samples.chunk(config, 1, seed=9)
    mask = torch.arange(config.horizon).unsqueeze(0) < 2
    weights = torch.rand(1, config.horizon, 1)
    guidance = ChunkGuidance(target, weights, 4.0)
    options = SamplingOptions(frozen=FrozenRows(target, mask), guidance=guidance)
    wanted = eager.sample(given, noise, options).sample.actions
    found = captured.sample(given, noise, options).sample.actions
    assert engine_cases.relative(found, wanted) < 1e-4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["dense", "k=1", "k=2", "csmoe k=2", "small"])
def test_graphs_are_the_eager_engine(name, form):
    engines = pair(name, mixture=form)
    for cameras, prompts in engine_cases.BATCHES.values():
        given = engine_cases.inputs(engines[0].config, cameras, prompts)
        eager, captured = engines
        noise = samples.chunk(eager.config, len(given))
        wanted = eager.sample(given, noise).sample.actions
        assert engine_cases.relative(captured.sample(given, noise).sample.actions, wanted) < 1e-4


def test_two_thousand_inferences_leave_memory_flat():
    _, engine = pair("k=1")
    given, noise = (
        engine_cases.inputs(engine.config, [[1, 1, 1]], [5]),
        samples.chunk(engine.config, 1),
    )
    for count in range(2_000):
        engine.sample(given, noise)
        if count == 200:
            before = torch.cuda.mem_get_info()[0], torch.cuda.memory_allocated()
    assert (torch.cuda.mem_get_info()[0], torch.cuda.memory_allocated()) == before


def test_compiled_layers_too():
    config = engine_cases.CONFIGS["k=1"]()
    model = engine_cases.network(config).to(DEVICE)
    eager = EagerEngine(copy.deepcopy(model))
    settings = EngineSettings(views=(3,), prompts=(config.prompt_length,), compiled=True)
    engine = make_engine("captured", model, settings)
    given = engine_cases.inputs(config, [[1, 1, 1]], [5])
    noise = samples.chunk(config, 1)
    wanted = eager.sample(given, noise).sample.actions
    assert engine_cases.relative(engine.sample(given, noise).sample.actions, wanted) < 1e-4


@pytest.mark.parametrize(
    ("config", "limit_ms", "limit_bytes"),
    [(adamoe_pi0(), 18.0, 9.5e9), (pi0(), 14.0, 9.5e9)],
    ids=["adamoe", "dense"],
)
def test_full_size_on_an_h200(config, limit_ms, limit_bytes):
    """Frames in host memory to actions in host memory; 3 views, 10 steps, chunk 50, bfloat16."""
    from adamoe_ros.evaluation.bench.workload import made_up_network, made_up_problem

    if "H200" not in torch.cuda.get_device_name():
        pytest.skip("the limits are those of an H200")
    network = made_up_network(config, torch.bfloat16, torch.device(DEVICE))
    settings = EngineSettings(views=(3,), prompts=(48,))
    engine = make_engine("captured", network, settings)
    problem = made_up_problem(config, 1, 3, 48, 10)
    times = []
    for _ in range(1_000):
        begun = time.perf_counter()
        engine.sample(problem.inputs, problem.noise)
        times.append(time.perf_counter() - begun)
    p50 = statistics.median(times)
    p99 = statistics.quantiles(times, n=100)[98]
    assert p50 * 1e3 <= limit_ms and p99 <= 1.15 * p50
    assert engine.peak_memory() <= limit_bytes
