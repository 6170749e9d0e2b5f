# SPDX-License-Identifier: Apache-2.0
"""The report: what was recorded is on the page, and the page needs nothing beside it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.data import svg
from adamoe_ros.data.recording import (
    ChunkRecord,
    ControlRecord,
    Episode,
    InferenceRecord,
    Recording,
    Samples,
    SeamRecord,
    read_recording,
)
from adamoe_ros.evaluation.report.demo_page import demo_page
from adamoe_ros.evaluation.report.rendering import number, shown
from adamoe_ros.evaluation.report.summary import episode_results, results, spread

JOINTS = [f"{side}/{name}" for side in ("left", "right") for name in ("waist", "elbow", "gripper")]
VOID = {"meta", "br", "img", "input", "link"}


def make_recording() -> Recording:
    """Two episodes of 4 s; the second failed and held once."""
    recording = Recording(settings={"robot": "aloha_sim", "strategy": "async", "seeds": [3, 4]})
    time = np.arange(0, 4, 0.02)
    for index in range(2):
        wave = np.sin(time[:, None] + np.arange(len(JOINTS)))
        episode = Episode(
            index, 3 + index, "lift_bar", "lift the <yellow> bar", joint_names=list(JOINTS)
        )
        episode.stages = ["prefix", "total"]
        episode.commanded = Samples(time.tolist(), wave.tolist())
        episode.measured = Samples(time.tolist(), (wave - 0.02).tolist())
        for step in range(4):
            experts = [
                {
                    "layer": layer,
                    "selected": [0.25, 0.75],
                    "probability": [0.4, 0.6],
                    "scale": [0.5, 1.5],
                }
                for layer in range(3)
            ]
            episode.inferences.append(
                InferenceRecord(step + 0.2, [0.03, 0.1 + 0.01 * step], experts)
            )
            episode.chunks.append(ChunkRecord(step + 1, step, step + 0.2, 50, 0.02, 0.01, 0.1))
            episode.seams.append(SeamRecord(step + 0.2, [0.01 * step] * 6, [0.1] * 6, [5.0] * 6))
        modes = [2] * 30 + [1 if index else 2] * 5 + [2] * 5
        episode.control = [
            ControlRecord(
                0.1 * tick, mode, "chunk_exhausted" if mode == 1 else "", 0.2, 50.0, 0.001
            )
            for tick, mode in enumerate(modes)
        ]
        clips = [0, 0, 0, 7, 0, 0] if index else [0] * 6
        episode.counters = {
            "ticks": 200,
            "holds": index,
            "hold_share": 0.125 * index,
            "seams": 4,
            "velocity_clips": clips,
        }
        episode.success = episode.ever_success = index == 0
        episode.elapsed = 4.0
        recording.episodes.append(episode)
    return recording


class Balance(HTMLParser):
    """Fails on a tag that is closed in the wrong order; notes what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value for key, value in attrs if key in ("src", "href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_self_contained() -> None:
    parser = Balance()
    parser.feed(demo_page(make_recording(), b"\x00\x01mp4"))
    assert parser.open == []
    assert parser.loads == ["data:video/mp4;base64,AAFtcDQ="]


def test_page_shows_what_was_recorded() -> None:
    page = demo_page(make_recording(), None)
    assert "1 of 2" in page
    assert "lift the &lt;yellow&gt; bar" in page and "<yellow>" not in page
    assert "held: chunk_exhausted" in page
    assert "No intervention in 200 control ticks" in page  # first episode
    assert "<td>right/waist</td><td>0</td><td>7</td>" in page  # second episode
    assert "No video" in page
    for name in JOINTS:
        assert name.replace("/", " · ") in page
    assert page.count("expert 1: 75% on average") == 2 * 3
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_settings_are_for_people() -> None:
    recording = make_recording()
    recording.settings |= {
        "scenes": [{"task": "lift_bar", "seed": 3}, {"task": "pick_two", "seed": 3}],
        "checkpoint": "/somewhere/on/this/machine/demo",
        "seeds": list(range(1000, 1050)),
        "video": False,
    }
    page = demo_page(recording, None)
    assert "task lift bar · seed 3; task pick two · seed 3" in page
    assert "1000 … 1049" in page and "<dd>no</dd>" in page and "<dd>demo</dd>" in page
    for raw in ("{&#39;", "{'", "[{", "/somewhere"):
        assert raw not in page


def test_the_title_is_one_sentence_or_none() -> None:
    recording = make_recording()
    assert "<h1>“lift the &lt;yellow&gt; bar”</h1>" in demo_page(recording, None)
    recording.episodes[1].instruction = "push the blue cube to the line"
    page = demo_page(recording, None)
    assert "<h1>2 instructions, two arms</h1>" in page
    assert "push the blue cube" not in page[page.index("<title>") : page.index("</h1>")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.30000000001, "0.3"),
        (True, "yes"),
        ([1, 2], "1, 2"),
        ([5, 6, 7], "5 … 7"),
        ([], "none"),
        ({"a_b": 1.5, "c": [1, 3]}, "a b 1.5 · c 1, 3"),
        (Path("/home/someone/checkpoints/demo"), "demo"),
        ("/home/someone/checkpoints/demo", "demo"),
        ("rad/s", "rad/s"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1453.2, "1450"),
        (0.01234, "0.0123"),
        (99.96, "100"),
        (None, "–"),
        (2.5e7, "2.5e+07"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


def test_recording_survives_the_file(tmp_path: Path) -> None:
    recording = make_recording()
    recording.write(tmp_path / "recording.json")
    assert read_recording(tmp_path / "recording.json") == recording


def test_recording_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    path.write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="other"):
        read_recording(path)


def test_results_count_and_summarise() -> None:
    document = json.loads(json.dumps(results(make_recording()), allow_nan=False))
    assert (document["episodes_run"], document["successes"], document["success_rate"]) == (
        2,
        1,
        0.5,
    )
    second = document["episodes"][1]
    assert second["clips"]["velocity_clips"] == 7
    seams = second["seams"]
    assert seams["count"] == 4 and seams["repeated_rows"] == 0
    assert seams["position_jump"]["largest"] == pytest.approx(0.03)
    assert seams["position_jump"]["joints"] == pytest.approx([0.015] * 6)
    assert seams["jerk"]["mean"] == pytest.approx(5.0)
    assert second["latency"]["total"]["p50"] == pytest.approx(0.115)


def test_an_empty_episode_still_makes_a_page() -> None:
    recording = Recording({}, [Episode(0, 0, "lift_bar", "lift")])
    parser = Balance()
    parser.feed(demo_page(recording, None))
    assert episode_results(recording.episodes[0])["command_rate"] == 0.0
    assert "No inference was recorded" in demo_page(recording, None)


def test_spread_ignores_what_is_not_finite() -> None:
    assert spread([1.0, float("nan"), 3.0])["p50"] == 2.0
    assert spread([]) == {}


def test_thinning_keeps_spikes() -> None:
    values = np.zeros(10_000)
    values[4321] = 9.0
    xs, ys = svg.thin(np.arange(10_000), values, most=200)
    assert len(xs) <= 402 and ys.max() == 9.0
    assert (np.diff(xs) > 0).all()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (1e-4, 2e-4), (0.0, 0.0)])
def test_ticks_are_inside_and_round(low: float, high: float) -> None:
    marks = svg.ticks(low, high)
    assert all(low - 1e-12 <= mark <= high + 1e-12 for mark in marks)
    assert 1 <= len(marks) <= 8
