# SPDX-License-Identifier: Apache-2.0
"""``adamoe evaluate`` in the real simulator: from a checkpoint folder to figures, page and videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from policy_support import make_checkpoint, tiny_config

from adamoe_ros.cli.main import main
from adamoe_ros.contract.manifest import checkpoint_name
from adamoe_ros.control.scheduling import InferenceRequest
from adamoe_ros.evaluation.cases import Case
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.evaluation.evaluator import Evaluator
from adamoe_ros.evaluation.results import weights_digest
from adamoe_ros.evaluation.scenes import SceneStore, SharedCamera, SimulatedArms
from adamoe_ros.evaluation.success import success_rates
from adamoe_ros.sim.render import CameraRenderer

SENTENCES = ("lift the yellow bar with both arms", "pick up the red cube with the left arm")
SHORT = EvaluationSettings(max_time_s=0.3, parallel=3, device="cpu")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, four experts, two tasks."""
    folder = tmp_path_factory.mktemp("trained") / "checkpoint"
    return make_checkpoint(folder, tiny_config(), instructions=SENTENCES)


def test_each_scene_keeps_its_colours_before_the_shared_camera() -> None:
    stage = SceneStore()
    try:
        sims, shared = stage.sims("pick_cube", 2), stage.camera("pick_cube")
        for seed, sim in enumerate(sims):
            sim.reset(seed)
        assert (sims[0].model.geom_rgba != sims[1].model.geom_rgba).any()
        for sim in sims:
            mujoco.mj_forward(sim.model, sim.data)
            own = CameraRenderer(sim.model)
            alone = own.slots(sim.data)
            own.close()
            together = shared.pictures(sim, sim.state())
            for slot, picture in alone.items():
                different = np.abs(together[slot].astype(int) - picture).mean()
                assert different < 0.005, slot
        assert stage.sims("pick_cube", 1)[0] is sims[0]
    finally:
        stage.close()


def test_blind_is_black_and_plain_is_not(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bool] = []
    evaluator = Evaluator(policy, SHORT)
    original = evaluator.actor.infer_batch

    def spy(sessions: Any, requests: Sequence[InferenceRequest], *more: Any, **named: Any) -> Any:
        shown.extend(bool(image.any()) for r in requests for image in r.observation.images.values())
        return original(sessions, requests, *more, **named)

    monkeypatch.setattr(evaluator.actor, "infer_batch", spy)
    try:
        evaluator.run([Case("blind", "lift_bar", 1)])
        assert shown and not any(shown)
        shown.clear()
        evaluator.run([Case("plain", "lift_bar", 1)])
        assert shown and all(shown)
    finally:
        evaluator.close()


def test_the_batch_changes_no_decision(policy: Path) -> None:
    """Together and one by one: the same routers' choices, and states within rounding."""
    evaluator = Evaluator(policy, SHORT)
    try:
        cases = [Case("plain", "pick_cube", seed) for seed in (5, 6, 7)]
        together, alone = evaluator.run(cases), [evaluator.run([case]) for case in cases]
    finally:
        evaluator.close()
    assert together.routing is not None and len(together.routing) == 6  # two chunks each
    for number, one in enumerate(alone):
        assert one.routing is not None
        own = together.routing.seed == cases[number].seed
        assert (one.routing.counts == together.routing.counts[own]).mean() > 0.95
        assert np.allclose(one.traces[0].states, together.traces[number].states, atol=1e-4)
        assert one.episodes[0] == together.episodes[number]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)
        self.sources += [str(value) for name, value in attrs if name == "src"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_evaluate_command_goes_on_where_it_was(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    words = ["evaluate", str(policy), "--episodes", "3", "--seed", "3", "--max-time", "0.3"]
    words += ["--control", "wrong-sentence", "--control", "blind", "--parallel", "2"]
    words += ["--control", "changed"]
    words += ["--videos", "1", "--device", "cpu", "--out", str(out)]
    assert main([*words, "--processes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        [control, task, share]
        for control in ("plain", "wrong-sentence", "changed", "blind")
        for task, share in (("lift_bar", "0/3"), ("pick_cube", "0/3"), ("all", "0/6"))
    ]
    document = json.loads((out / "results.json").read_text())
    assert document["settings"]["seeds"] == [3, 4, 5]
    assert document["weights"] == weights_digest(policy)
    low, high = document["summary"]["plain"]["all"]["wilson_95"]
    assert low == 0 and 0.38 < high < 0.4
    wrong = document["summary"]["wrong-sentence"]["tasks"]
    assert wrong["lift_bar"]["followed"]["episodes"] == 0  # no cube beside the bar
    assert wrong["pick_cube"]["followed"]["episodes"] == 3
    assert len(document["episodes"]) == 24
    assert len(document["experts"]["share_by_layer"]) == 2
    assert set(document["experts"]["information"]) == {"task", "flow_step"}
    page = (out / "report.html").read_text()
    tags = _Tags()
    tags.feed(page)
    # two tasks, each twice, and one in spite of its sentence
    assert not tags.open and len(tags.sources) == 5
    assert all((out / source).stat().st_size > 1000 for source in tags.sources)
    assert "What the choice of an expert depends on" in page

    log = out / "episodes.jsonl"
    kept = log.read_text().splitlines()
    log.write_text("\n".join([*kept[:-1], kept[-1][:40]]))  # killed while it wrote the last block
    assert main([*words, "--processes", "1"]) == 0
    assert "there already" in capsys.readouterr().err
    again = json.loads((out / "results.json").read_text())
    assert again["summary"] == document["summary"] and len(again["episodes"]) == 24
    assert [json.loads(line) for line in log.read_text().splitlines()][1:]

    other = ["evaluate", str(policy), "--episodes", "2", "--out", str(out)]
    assert main(other) == 2
    error = capsys.readouterr().err
    assert "with other" in error and "seeds" in error and "--overwrite" in error
    assert len(json.loads((out / "results.json").read_text())["episodes"]) == 24


def test_a_dense_policy_has_no_experts_to_report(tmp_path: Path) -> None:
    dense = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}
    folder = make_checkpoint(tmp_path / "dense", tiny_config(**dense))
    words = ["--tasks", "lift_bar", "--episodes", "1", "--max-time", "0.2", "--videos", "0"]
    out = tmp_path / "out"
    assert main(["evaluate", str(folder), *words, "--device", "cpu", "--out", str(out)]) == 0
    assert json.loads((out / "results.json").read_text())["experts"] is None
    assert "no routing to show" in (out / "report.html").read_text()


def test_roll_outs_of_a_training_run(policy: Path) -> None:
    rates = success_rates(policy, ["lift_bar", "pick_cube"], range(4), SHORT)
    assert rates == {"lift_bar": 0.0, "pick_cube": 0.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tasks", "juggle"], "juggle"),
        (["--tasks", "lift_bar", "--instruction", "dance"], "dance"),
        (["--instruction", SENTENCES[0]], "one task"),
        (["--robot", "nobody"], "nobody"),
        (["--strategy", "hope"], "hope"),
        (["--ros", "--control", "blind"], "--ros"),
    ],
)
def test_bad_wishes_are_one_line(
    arguments: list[str],
    expected: str,
    policy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(policy), "--episodes", "1", "--device", "cpu", "--processes", "1"]
    words += ["--out", str(tmp_path / "out")]
    assert main(["evaluate", *words, *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert expected in error[-1] and error[-1].startswith("adamoe evaluate: ")


def test_no_checkpoint_and_no_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    folder = make_checkpoint(tmp_path / "policy", tiny_config())  # says no sentences
    assert main(["evaluate", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "--tasks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_of_checkpoints(tmp_path: Path) -> None:
    assert checkpoint_name(tmp_path / "suite" / "checkpoint") == "suite"
    assert checkpoint_name(tmp_path / "demo") == "demo"


def test_black_pictures_have_the_cameras_size() -> None:
    camera = SharedCamera("lift_bar")
    try:
        sim = SceneStore().sims("lift_bar", 1)[0]
        sim.reset(0)
        seen, black = SimulatedArms(sim, camera), SimulatedArms(sim, None)
        shapes = [
            {k: v.shape for k, v in arms.pictures(arms.look()).items()} for arms in (seen, black)
        ]
        assert shapes[0] == shapes[1]
    finally:
        camera.close()
