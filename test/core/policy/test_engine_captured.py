# SPDX-License-Identifier: Apache-2.0
"""The GPU engine's static-shape program, run on the CPU without capture, against the eager one.

Buckets, padding, masks, steering inside the loop, arena and download are the same code as on CUDA;
what needs a GPU is in test/gpu.
"""

from __future__ import annotations

import engine_cases
import numpy as np
import pytest
import samples
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.conditioning import FREE, ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.policy.engines import memory_budget as memory
from adamoe_ros.policy.engines.captured import CapturedEngine
from adamoe_ros.policy.engines.engine_settings import EngineSettings
from adamoe_ros.policy.engines.memory_budget import (
    check_fits,
    check_room,
    needed_bytes,
    weight_bytes,
)
from adamoe_ros.policy.engines.prefix_program import heads_of
from adamoe_ros.policy.engines.shapes import Shape, next_shape
from adamoe_ros.policy.engines.transformer_block import make_block, run_block
from adamoe_ros.policy.engines.weight_forms import WeightForms


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def static(**changes):
    return lambda model: CapturedEngine(model, EngineSettings(batches=(1, 3), **changes))


@pytest.fixture(
    scope="module", params=["dense", "k=1", "k=2", "csmoe k=2", "small", "pi0.5 k=2", "pi0.5 small"]
)
def engines(request):
    return engine_cases.pair(engine_cases.CONFIGS[request.param](), static())


@pytest.mark.parametrize("batch", engine_cases.BATCHES)
def test_every_bucket_is_the_eager_engine(engines, batch):
    given = engine_cases.inputs(engines[0].config, *engine_cases.BATCHES[batch])
    assert engine_cases.compare(*engines, given) < 1e-5


def test_conditioning_inside_the_loop(engines):
    config = engines[0].config
    given = engine_cases.inputs(config, [[1, 1, 1], [1, 0, 1]], [5, 2])
    target = samples.chunk(config, 2, seed=9)
    rows = torch.arange(config.horizon).expand(2, -1)
    frozen = FrozenRows(target, rows < torch.tensor([[config.horizon // 4], [config.horizon // 3]]))
    guidance = ChunkGuidance(target, torch.rand(2, config.horizon, 1), 4.0)
    for options in (
        SamplingOptions(frozen=frozen),
        SamplingOptions(guidance=guidance),
        SamplingOptions(frozen=frozen, guidance=guidance),
        FREE,  # nothing of the inferences before may remain
    ):
        assert engine_cases.compare(*engines, given, options) < 1e-5


@pytest.mark.parametrize("form", ["grouped", "sparse"])
def test_other_forms(form):
    pair = engine_cases.pair(engine_cases.CONFIGS["k=2"](), static(mixture=form))
    given = engine_cases.inputs(pair[0].config, *engine_cases.BATCHES["different masks"])
    assert engine_cases.compare(*pair, given) < 1e-5


def test_one_inference_leaves_nothing_to_the_next():
    """Large batch, then a small one in the same bucket, then another instruction and camera."""
    pair = engine_cases.pair(engine_cases.CONFIGS["k=1"](), static())
    for cameras, prompts, seed in (
        ([[1, 1, 1]] * 3, [10, 10, 10], 1),
        ([[1, 1, 1]] * 2, [6, 7], 2),
        ([[0, 0, 1]], [1], 3),
        ([[1, 0, 1]], [9], 4),
        ([[1, 1, 1]], [10], 5),
    ):
        given = engine_cases.inputs(pair[0].config, cameras, prompts, seed)
        assert engine_cases.compare(*pair, given) < 1e-5


def test_results_outlive_the_next_inference():
    _, engine = engine_cases.pair(engine_cases.CONFIGS["k=1"](), static())
    given = engine_cases.inputs(engine.config, [[1, 1, 1]], [4])
    first = engine.sample(
        given, samples.chunk(engine.config, 1), options=SamplingOptions(trace=True)
    ).sample
    kept = first.actions.clone(), first.selected().clone()
    engine.sample(
        given, samples.chunk(engine.config, 1, seed=8), options=SamplingOptions(trace=True)
    )
    assert torch.equal(first.actions, kept[0]) and torch.equal(first.selected(), kept[1])


def test_pictures_of_any_size(monkeypatch):
    """Resized on the device within a grey level; one that does not fit in is shrunk before."""
    from adamoe_ros.policy.engines import captured_shape

    monkeypatch.setattr(captured_shape, "_FRAME_ROOM", 4000)
    eager, engine = engine_cases.pair(engine_cases.CONFIGS["dense"](), static())
    given = engine_cases.inputs(eager.config, [[1, 1, 1]], [5])
    draw = np.random.default_rng(3)
    frames = [draw.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in
              ((48, 64), (20, 28), (97, 31))]  # fmt: skip
    given = type(given)((tuple(frames),), given.token_ids, given.token_mask, given.state)
    noise = samples.chunk(eager.config, 1)
    wanted, found = (e.sample(given, noise).sample.actions for e in (eager, engine))
    assert engine_cases.relative(found, wanted) < 0.02


def test_stages():
    _, engine = engine_cases.pair(engine_cases.CONFIGS["k=1"](), static())
    given = engine_cases.inputs(engine.config, [[1, 1, 1]], [4])
    stages = engine.sample(given, samples.chunk(engine.config, 1)).stages
    assert list(stages) == ["upload", "images", "prefix", "flow", "download"]
    assert all(seconds >= 0 for seconds in stages.values()) and stages["flow"] > 0
    _, quiet = engine_cases.pair(engine_cases.CONFIGS["k=1"](), static(timing=False))
    assert quiet.sample(given, samples.chunk(engine.config, 1)).stages == {}


def test_what_no_graph_holds_is_refused():
    settings = {"views": (2, 3), "prompts": (4, 8)}
    _, engine = engine_cases.pair(engine_cases.CONFIGS["k=1"](), static(**settings))
    noise = samples.chunk(engine.config, 1)
    long = engine_cases.inputs(engine.config, [[1, 1, 1]], [9])
    with pytest.raises(ContractError, match=r"got \(.*\) = \(1, 3, 9\); shorten the instruction"):
        engine.sample(long, noise)
    crowd = engine_cases.inputs(engine.config, [[1, 1, 1]] * 4, [3] * 4)
    with pytest.raises(ContractError, match=r"\(4, 3, 3\)"):
        engine.sample(crowd, samples.chunk(engine.config, 4))
    given = engine_cases.inputs(engine.config, [[1, 0, 0]], [3])
    assert torch.isfinite(engine.sample(given, noise).sample.actions).all()  # the next bucket
    with pytest.raises(ContractError, match="expected 10 flow steps, got 3"):
        engine.sample(given, noise, options=SamplingOptions(3))
    exact = ChunkGuidance(noise, torch.ones(1, engine.config.horizon, 1), 4.0, "vjp")
    with pytest.raises(ContractError, match="choose engine eager"):
        engine.sample(given, noise, SamplingOptions(guidance=exact))


def test_the_cheapest_bucket_is_taken():
    known = [Shape(1, 2, 8), Shape(1, 3, 4), Shape(1, 3, 8), Shape(4, 3, 8)]
    assert next_shape(Shape(1, 2, 3), known) == Shape(1, 2, 8)
    assert next_shape(Shape(1, 3, 4), known) == Shape(1, 3, 4)
    assert next_shape(Shape(2, 1, 1), known) == Shape(4, 3, 8)


def test_default_buckets_hold_everything():
    config = engine_cases.CONFIGS["k=1"]()
    shapes = EngineSettings().captured_shapes(config)
    for views in (1, 2, 3):
        for prompt in range(config.prompt_length + 1):
            assert next_shape(Shape(1, views, prompt), shapes)


def test_memory_is_refused_with_both_numbers():
    config = engine_cases.CONFIGS["k=1"]()
    parameters = sum(p.numel() for p in engine_cases.network(config).parameters())
    assert weight_bytes(config, torch.bfloat16) == 2 * parameters
    assert parameters < weight_bytes(config, torch.bfloat16, int8=True) < 2 * parameters
    shapes = EngineSettings().captured_shapes(config)
    needed = needed_bytes(config, torch.bfloat16, EngineSettings(), shapes)
    assert needed > 2 * parameters
    check_fits(needed, needed, "cuda:0")
    with pytest.raises(ContractError) as refused:
        check_fits(needed, 1000, "cuda:0")
    assert str(needed) in refused.value.problems[0] and "got 1000 " in refused.value.problems[0]


def test_host_memory_is_refused_with_both_numbers(monkeypatch, tmp_path):
    config, cpu = engine_cases.CONFIGS["k=1"](), torch.device("cpu")
    assert memory.free_bytes(cpu) > 1 << 20
    check_room(config, cpu, torch.float32, EngineSettings())
    needed = weight_bytes(config, torch.float32)
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 64 kB\nMemAvailable:      9 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", table)
    with pytest.raises(ContractError, match=f"device cpu: expected {needed} free.*got 9216 "):
        check_room(config, cpu, torch.float32, EngineSettings())
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    check_room(config, cpu, torch.float32, EngineSettings())  # not told: not refused


def test_full_size_needs_what_the_reference_says():
    from adamoe_ros.model.config import adamoe_pi0

    shapes = EngineSettings().captured_shapes(adamoe_pi0())
    needed = needed_bytes(adamoe_pi0(), torch.bfloat16, EngineSettings(), shapes)
    assert 8.29e9 < needed < 9.5e9


@torch.inference_mode()
def test_layers_trace_into_one_graph_each():
    """What the compiler is given on CUDA: no break, and one graph for all layers of a shape."""
    from torch._dynamo.testing import CompileCounterWithBackend

    config = engine_cases.CONFIGS["k=2"]()
    model = engine_cases.network(config)
    forms = WeightForms(mixture="wide")
    heads = heads_of(model, forms)
    counter = CompileCounterWithBackend("aot_eager")
    traced = torch.compile(run_block, dynamic=False, fullgraph=True, backend=counter)
    table = heads.table(torch.arange(24, 30).unsqueeze(0))
    x = torch.randn(1, 6, config.expert.width)
    for layer in model.expert.layers:
        block = make_block(layer, forms, 6, heads)
        keys = torch.randn(2, 1, 1, 30, config.prefix.head_dim)
        outs, chosen = [], []
        for run in (run_block, traced):
            seen, trace = keys.clone(), []
            outs.append((run(block, x, table, seen[0], seen[1], 24, None, trace), seen))
            chosen.append(trace[0].selected)
        torch.testing.assert_close(outs[0], outs[1])
        assert torch.equal(*chosen)
    assert counter.frame_count == 1
