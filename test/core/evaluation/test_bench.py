# SPDX-License-Identifier: Apache-2.0
"""``adamoe bench`` on the smallest network, its peer against the eager network, its arithmetic."""

from __future__ import annotations

import json
import sys

import bench_engines
import pytest
import samples
import torch
from pi0_peers import OpenpiPeer, TransformersPeer
from roofline import Ceilings, Cost, costs, roofline

from adamoe_ros.cli import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.evaluation.bench.latency import BenchSettings
from adamoe_ros.evaluation.bench.timing import interleaved, operations
from adamoe_ros.model.config import PRESETS, adamoe_pi0, pi0, small, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.weights import parameter_shapes
from adamoe_ros.policy.checkpoint_formats.openpi_torch import pi0_names
from adamoe_ros.policy.engines.shapes import Shape

DENSE = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}


@pytest.mark.parametrize("changes", [DENSE, {}], ids=["dense", "adamoe"])
def test_the_peer_computes_the_same(changes):
    config = tiny().changed(changes)
    network = samples.policy(config)
    peer = TransformersPeer(network)
    given = samples.inputs(config, [[1, 1, 1]], [5])
    noise = samples.chunk(config, 1)
    with torch.inference_mode():
        theirs = peer.arguments(
            given["images"], given["image_mask"], given["token_ids"], given["token_mask"],
            given["state"],
        )  # fmt: skip
        wanted = network.sample(**given, noise=noise).actions
        torch.testing.assert_close(peer.sample(theirs, noise, 10), wanted, rtol=0, atol=1e-4)
        cache = peer.prefix(theirs, peer.vision(theirs))
        first = peer.step(theirs, cache, noise, 0.7)
        assert torch.equal(peer.step(theirs, cache, noise, 0.7), first)  # the cache is as before
        state = network.encode_state(network.encode_prefix(**given), given["state"])
        wanted = network.velocity(state, noise, torch.tensor([0.7]))
        torch.testing.assert_close(first, wanted, rtol=0, atol=1e-5)


def test_a_small_policy_has_no_peer():
    with pytest.raises(ContractError, match="a model of pi0's form"):
        TransformersPeer(samples.policy(small()))


ARGUMENTS = ["--preset", "tiny", "--dtype", "float32", "--rounds", "1", "--device", "cpu"]


def test_whole_command(tmp_path, capsys):
    out = tmp_path / "bench.json"
    more = ["--mixtures", "auto,sparse", "--out", str(out)]
    assert main.main(["bench", *ARGUMENTS, *more]) == 0
    result = json.loads(out.read_text())
    candidates = {"eager", "packed", "packed sparse"}
    assert result["stages"]["step"].keys() == result["stages"]["whole"].keys() == candidates
    assert all(row["median_ms"] > 0 for rows in result["stages"].values() for row in rows.values())
    assert result["operations"]["packed"] < result["operations"]["eager"]
    assert result["machine"]["packages"]["torch"] == torch.__version__
    assert result["machine"]["cpu"] and result["clock"] == "wall"
    shown = capsys.readouterr().out
    assert "packed sparse" in shown and "times faster than eager" in shown


def test_help_is_for_its_user(capsys):
    with pytest.raises(SystemExit):
        main.main(["bench", "--help"])
    shown = capsys.readouterr().out.lower()
    assert "import" not in shown and "may load" not in shown and "latency" in shown


def test_comparison_with_other_codes(tmp_path, capsys):
    out = tmp_path / "engines.json"
    more = ["--soak", "20", "--stages", "vision,encode,step,whole", "--out", str(out)]
    assert bench_engines.main([*ARGUMENTS, *more]) == 0
    result = json.loads(out.read_text())
    assert {"eager", "packed", "transformers"} == result["stages"]["whole"].keys()
    assert result["clock"] == "process CPU time" and result["settings"]["threads"] == 1
    assert result["soak"]["inferences"] == 20
    assert result["peers_left_out"].keys() == {"lerobot", "openpi"}  # not of their widths
    floors = result["roofline"]["floor_ms"]
    for stage, rows in result["stages"].items():  # a limit is never above what was reached
        assert 0 < floors[stage] <= min(row["min_ms"] for row in rows.values()) * (1 + 1e-9)
    shown = capsys.readouterr().out
    assert "left out: --peers lerobot" in shown
    assert "roofline" in shown and "times faster than transformers" in shown


def test_a_peer_asked_for_by_name_is_not_left_out(capsys):
    assert bench_engines.main([*ARGUMENTS, "--peers", "openpi"]) == 2
    assert "--peers openpi: expected a model of pi0's or pi0.5's widths" in capsys.readouterr().err
    assert bench_engines.main([*ARGUMENTS, "--peers", "jax", "--batch", "2"]) == 2
    shown = capsys.readouterr().err
    assert (
        "expected auto, transformers, lerobot, openpi" in shown and "--batch: expected 1" in shown
    )


@pytest.mark.parametrize("code", ["lerobot", "openpi"])
def test_a_package_that_is_not_here_is_named(monkeypatch, code):
    monkeypatch.setitem(sys.modules, code, None)
    with torch.device("meta"):
        network = AdaMoEPolicy(pi0().changed({"prefix.depth": 1, "vision.depth": 1}))
    with pytest.raises(ContractError, match=f"got ModuleNotFoundError.*install {code}"):
        OpenpiPeer(network, code)


def test_every_weight_has_a_place_in_the_peers():
    config = pi0().changed({"prefix.depth": 2, "vision.depth": 3})
    assert sorted(pi0_names(config).values()) == sorted(parameter_shapes(config))


def test_bad_settings_are_all_named(capsys):
    arguments = ["--preset", "tiny", "--device", "cpu", "--views", "9", "--dtype", "int4"]
    assert main.main(["bench", *arguments, "--stages", "step,nap", "--batch", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_costs_are_those_of_the_reference():
    """performance.md, section 1: GFLOP and GB of pi0 with three views."""
    shape = Shape(1, 3, 48)
    found = costs(adamoe_pi0(), shape, torch.bfloat16, int8=False)
    assert found["vision"].flops == pytest.approx(661e9, rel=0.02)
    assert found["prefix"].flops == pytest.approx(3149e9, rel=0.02)
    assert found["step"].flops == pytest.approx(61.7e9, rel=0.03)
    assert found["step"].bytes == pytest.approx(2.44e9, rel=0.02)
    dense = costs(pi0(), shape, torch.bfloat16, int8=False)["step"]
    assert dense.bytes == pytest.approx(0.63e9, rel=0.04)
    eight = costs(adamoe_pi0(), shape, torch.bfloat16, int8=True)["step"].bytes
    assert eight == pytest.approx(found["step"].bytes * 0.308 / 0.571, rel=0.02)


def test_the_floor_is_the_larger_of_both():
    limits = Ceilings(bytes_per_s=10.0, flops=100.0)
    assert Cost(flops=200.0, bytes=1.0).floor(limits) == 2.0
    assert Cost(flops=1.0, bytes=50.0).floor(limits) == 5.0


def test_a_stage_that_is_faster_than_the_ceilings_raises_them():
    needed = {"step": Cost(flops=200.0, bytes=1.0), "vision": Cost(flops=400.0, bytes=1.0)}
    stages = {"step": {"packed": {"min_ms": 1000.0, "median_ms": 1250.0}}}
    found = roofline(needed, Ceilings(bytes_per_s=10.0, flops=100.0), stages)
    assert found["floor_ms"] == {"step": 1000.0, "vision": 2000.0}
    assert found["product_flops"] == 200.0 and found["copy_bytes_per_s"] == 10.0
    assert found["fraction"] == {"step": {"packed": 0.8}}


def test_candidates_take_turns():
    seen = []
    device = torch.device("cpu")
    works = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    times = interleaved(works, 3, device)
    assert seen == ["a", "b"] * 4 and len(times["a"]) == len(times["b"]) == 3
    assert operations(lambda: torch.ones(3) + torch.ones(3), device) > 0
    assert BenchSettings().filled(tiny()).steps == 10


def test_every_preset_is_named(capsys):
    with pytest.raises(SystemExit):
        main.main(["bench", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"model sizes: {', '.join(PRESETS)} (default" in said
