# SPDX-License-Identifier: Apache-2.0
"""What can be known of graphs and kernels without a GPU: waits, compilations, the chip's limits."""

from __future__ import annotations

import json

import choose_mixture
import compile_kernels
import gpu_budget
import pytest
import torch
import trace_graphs

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.config import PRESETS
from adamoe_ros.policy.engines import engine_settings
from adamoe_ros.policy.engines.engine_settings import EngineSettings

CUDA, HALF = torch.device("cuda"), torch.bfloat16


@pytest.mark.parametrize("name", ["small", "tiny"])
@pytest.mark.parametrize("form", ["wide", "grouped"])
def test_nothing_of_the_host_is_in_a_graph(name, form):
    found = trace_graphs.traced(PRESETS[name](), form, HALF)
    assert found["on_host"] == {}
    assert all(count > 100 for count in found["operators"].values())


def test_a_wait_for_the_device_is_found():
    def waits(block, x, *rest):
        return block(x * float(x.sum() > 0), *rest)

    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|item|_local_scalar_dense"):
        trace_graphs.traced(PRESETS["tiny"](), "wide", HALF, waits)


def test_a_tensor_of_the_host_is_found():
    operators = trace_graphs.Operators("meta")
    with operators:
        torch.tensor([1.0, 2.0]).to("meta")
    assert operators.on_host


@pytest.mark.parametrize("form", ["wide", "grouped"])
def test_all_layers_share_three_compiled_graphs(form):
    """Prefix, state token, action tokens: compiling takes seconds, and there are 18 layers."""
    deep = PRESETS["tiny"]().changed({"prefix.depth": 5})
    assert trace_graphs.compiled_layers(deep, form, HALF) == 3


@pytest.mark.parametrize(
    ("dtype", "capability", "refused"),
    [(HALF, (9, 0), False), (HALF, (8, 9), True), (torch.float32, (9, 0), True)],
)
def test_the_grouped_form_is_refused_where_it_waits(dtype, capability, refused):
    EngineSettings(mixture="wide").check_graphs(dtype, capability)
    settings = EngineSettings(mixture="grouped")
    if not refused:
        settings.check_graphs(dtype, capability)
        return
    with pytest.raises(ContractError, match="bfloat16 and compute capability"):
        settings.check_graphs(dtype, capability)


def test_the_measured_form_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(engine_settings, "MIXTURE_BY_ARCHITECTURE", {(9, 0): "grouped"})
    assert EngineSettings().static_mixture(CUDA, HALF) == "grouped"
    assert EngineSettings().static_mixture(CUDA, torch.float32) == "wide"
    assert EngineSettings(int8=True).static_mixture(CUDA, HALF) == "triton"
    monkeypatch.setattr(engine_settings, "MIXTURE_BY_ARCHITECTURE", {})
    assert EngineSettings().static_mixture(CUDA, HALF) == "wide"


# --- kernels compiled ahead -----------------------------------------------------------------------


def test_kernels_compile_and_fit_an_h200():
    rows = compile_kernels.survey("H200")
    assert {row["kernel"] for row in rows} == set(compile_kernels.KERNELS)
    assert [row for row in rows if row["faults"]] == []
    products = [row for row in rows if row["kernel"] in ("gate_up", "down")]
    half = [row for row in products if "float32" not in row["cases"][0]]
    assert all(row["matrix_instructions"] for row in half)
    assert all(row["programs_per_multiprocessor"] >= 2 for row in rows)


def test_what_does_not_fit_is_a_fault():
    found = {"shared": 300 << 10, "registers": 256, "stack": 8, "spills": 1}
    assert len(compile_kernels.faults(found, compile_kernels.CHIPS["H200"])) == 4


@pytest.mark.parametrize("name", ["pi0", "adamoe_pi0"])
def test_the_kernels_on_paper_add_up_to_the_work(name):
    config = PRESETS[name]()
    shape = gpu_budget.Shape(1, 3, config.prompt_length)
    wanted = gpu_budget.costs(config, shape, HALF, False, config.flow_steps)["whole"]
    parts = [k.each.times(k.count) for k in gpu_budget.kernels(config, shape, "triton")]
    assert sum(part.flops for part in parts) == pytest.approx(wanted.flops, rel=2e-3)
    assert sum(part.bytes for part in parts) == pytest.approx(wanted.bytes, rel=2e-3)


# --- the choice of a run --------------------------------------------------------------------------


def run_of(rehearsal=False, **forms):
    """A run with p50 in ms by form; a negative one computed wrong actions."""
    machine = {"gpu": {"name": "NVIDIA X", "capability": "9.0"}, "commit": "abc", "date": "today"}
    steps = {"environment": {"status": "done", "result": {"machine": machine}}}
    for form, p50 in forms.items():
        result = {"wall": {"median_ms": abs(p50)}, "deviation_from_eager": 0.01 if p50 > 0 else 0.9}
        steps[f"engine adamoe_pi0 {form}"] = {"status": "done", "result": result}
    return {"rehearsal": rehearsal, "steps": steps}


def test_the_fastest_right_form_of_a_run_is_written(tmp_path):
    run, mixtures = tmp_path / "gpu_check.json", tmp_path / "mixtures.json"
    run.write_text(json.dumps(run_of(wide=15.0, grouped=14.0, triton=-9.0)))
    mixtures.write_text(choose_mixture.MIXTURES.read_text())
    before = json.loads(mixtures.read_text())
    words = [str(run), "--mixtures", str(mixtures), "--results", str(tmp_path)]
    assert choose_mixture.main(words) == 0
    after = json.loads(mixtures.read_text())
    assert after["9.0"]["mixture"] == "grouped"
    assert after["9.0"]["measured"]["p50_ms"] == {"wide": 15.0, "grouped": 14.0}
    assert {k: row for k, row in after.items() if k != "9.0"} == {
        k: row for k, row in before.items() if k != "9.0"
    }
    assert json.loads((tmp_path / "gpu_9.0.json").read_text()) == json.loads(run.read_text())


@pytest.mark.parametrize(
    "run", [run_of(rehearsal=True, wide=1.0, triton=2.0), run_of(wide=1.0), run_of()]
)
def test_a_run_that_measured_nothing_chooses_nothing(run):
    with pytest.raises(SystemExit, match="choose_mixture: expected"):
        choose_mixture.choice(run)


def test_what_the_engine_chooses_comes_from_a_result_file():
    rows = json.loads(choose_mixture.MIXTURES.read_text())
    for capability, row in rows.items():
        results = choose_mixture.RESULTS / f"gpu_{capability}.json"
        if row["measured"] == "not measured":
            assert row["mixture"] == engine_settings.UNMEASURED and not results.exists()
        else:
            run = json.loads(results.read_text())
            assert choose_mixture.choice(run) == (capability, row)
