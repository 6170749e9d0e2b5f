# SPDX-License-Identifier: Apache-2.0
"""``adamoe demo`` before anything runs: bad input is one line, and processes end with everything."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from adamoe_ros.cli import main as cli
from adamoe_ros.cli.demo import TOUR, planned_episodes
from adamoe_ros.cli.demo_view import View, ViewState, describe
from adamoe_ros.data.recording import Change, Episode
from adamoe_ros.ros.sim import node_processes
from adamoe_ros.ros.sim.node_processes import NodeProcesses
from adamoe_ros.sim.tasks import TASKS

UNBUFFERED = {**os.environ, "PYTHONUNBUFFERED": "1"}  # as a demo's own environment has it
NOW = ViewState(1, 2, "lift the bar", "executing", "running", 0.12, 50.0, 3, 0, 1.5, 0.9, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--robot", "nobody"], ("robot: expected", "aloha_sim", "'nobody'")),
        (["--instruction", "  "], ("--instruction", "empty")),
        (["--checkpoint", "no/such/folder"], ("checkpoint", "no/such/folder", "adamoe train")),
        (["--episodes", "0"], ("--episodes", "1 or more")),
        (["--instruction", "make tea"], ("--instruction", "lift the yellow bar", "'make tea'")),
        (["--change-to", "push the red cube to the line"], ("--change-to", "--instruction")),
        (
            ["--task", "push_to_line", "--change-to", "lift the yellow bar with both arms"],
            ("--change-to", "push_to_line", "slide the {colour} cube"),
        ),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(
    arguments: list[str], words: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "adamoe_ros.cli.main", "demo", "--out", str(tmp_path / "o")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
    assert not (tmp_path / "o").exists()


def test_missing_checkpoint_files_are_all_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert cli.main(["demo", "--checkpoint", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(name in error for name in ("model.safetensors", "norm_stats.json", "manifest.json"))


def test_an_instruction_finds_its_scene_and_without_one_there_is_a_tour() -> None:
    def plans(trained: tuple[str, ...] = (), **given: object) -> list[tuple[Episode, object]]:
        asked = {"task": None, "instruction": None, "change_to": None, "change_after": 0.8}
        options = Namespace(**{**asked, "seed": 5, "episodes": 2, **given})
        return list(planned_episodes(options, trained))

    words = "Pick up the red cube with the left arm."
    assert plans(instruction=words) == [
        (Episode(0, 5, "pick_cube", words), None),
        (Episode(1, 6, "pick_cube", words), None),
    ]
    assert {episode.task for episode, _ in plans(task="handover")} == {"handover"}
    assert {episode.instruction for episode, _ in plans(task="handover")} == {""}  # the simulator's
    bar = "lift the yellow bar with both arms"
    assert [episode.task for episode, _ in plans((bar,))] == ["lift_bar"] * 2
    tour = plans()
    assert len({episode.task for episode, _ in tour}) == len(TOUR)
    assert [episode.index for episode, _ in tour] == list(range(2 * len(TOUR)))
    assert any(change for _, change in tour)
    for episode, change in tour:
        language = TASKS[episode.task].language
        assert language.meaning_of(episode.instruction) is not None
        if isinstance(change, Change):
            assert language.meaning_of(change.instruction) is not None and change.after_s == 0.8


def test_a_domain_with_a_later_participant_alone_is_not_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever came first may have ended, and left its port."""
    monkeypatch.setattr(node_processes, "_DOMAINS", range(97, 99))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 7410 + 250 * 97 + 2 * 3))
        assert {node_processes.free_domain() for _ in range(20)} == {98}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_end_in_order_and_twice(tmp_path: Path) -> None:
    with NodeProcesses(UNBUFFERED, tmp_path / "log") as nodes:
        node = nodes.start("server", "http.server", ["--bind", "127.0.0.1", "0"])
        wait_for(lambda: "Serving" in node.last_line)
        assert nodes.ended() is None
        assert nodes.memory()["server"] > 1_000_000
    assert node.process.poll() is not None
    nodes.stop()


def test_a_node_that_dies_is_noticed_with_its_last_line(tmp_path: Path) -> None:
    with NodeProcesses(os.environ, tmp_path) as nodes:
        node = nodes.start("broken", "adamoe_ros.no_such_module", [])
        wait_for(lambda: nodes.ended() is node)
        assert "no_such_module" in node.last_line


def test_nodes_do_not_outlive_a_killed_demo(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from adamoe_ros.ros.sim.node_processes import NodeProcesses\n"
        "nodes = NodeProcesses({**os.environ, 'PYTHONUNBUFFERED': '1'}, Path(sys.argv[1]))\n"
        "node = nodes.start('server', 'http.server', ['--bind', '127.0.0.1', '0'])\n"
        "print(node.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(lambda: "Serving" in (tmp_path / "server.log").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not alive(child))


def test_plain_view_prints_at_most_a_line_a_second() -> None:
    stream = io.StringIO()
    view = View(stream)
    for _ in range(100):
        view.update(NOW)
    assert stream.getvalue().count("\n") == 1
    assert "inference 120 ms" in stream.getvalue()
    assert dict(describe(NOW))["commands"] == "50.0 Hz"
