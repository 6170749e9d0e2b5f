# SPDX-License-Identifier: Apache-2.0
"""The same units of work in one process, in two, and on a Ray cluster: not a byte of difference.

Of the two a process is killed half-way, of the cluster a whole node.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dying_units
import many_bags
import psutil
import pytest
import ray
import yaml
from dying_units import doubled
from ray.cluster_utils import Cluster
from scale_support import ADAMOE, AGAIN, ROOT, digests, kill_one, run

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.workers import ATTEMPTS, UnitWork, Workers

START = 60.0  # s until a node that was added works
MEMORY = 100 * 2**20  # bytes of a node's store; the least that Ray takes is 75 MB


class Nodes:
    """A head and one node more, of one core each."""

    def __init__(self) -> None:
        common = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=common)
        self.address = self._cluster.address
        self._other: Any = None

    def complete(self) -> None:
        """Replace the node that was killed."""
        if self._other is None:
            self._other = self._cluster.add_node(num_cpus=1, object_store_memory=MEMORY)

    def kill(self, pid: int) -> None:
        """The second node while it works on a unit, without a word to anyone."""
        raylet = psutil.Process(self._other.all_processes["raylet"][0].process.pid)
        ends = time.monotonic() + START
        while not any(child.name().startswith("ray::_unit") for child in raylet.children()):
            assert time.monotonic() < ends, "the second node was given no unit"
            time.sleep(0.01)
        for process in (raylet, *raylet.children()):  # a worker alone would end its unit
            process.kill()
        self._cluster.remove_node(self._other, allow_graceful=False)
        self._other = None

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def one_cluster() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:  # what the tests call on its workers is found there
        patch.setenv("PYTHONPATH", str(Path(dying_units.__file__).parent), prepend=os.pathsep)
        nodes = Nodes()
        yield nodes
        nodes.close()


@pytest.fixture
def nodes(one_cluster: Nodes) -> Nodes:
    one_cluster.complete()
    return one_cluster


def after(count: int, pattern: str) -> Callable[[str], bool]:
    """True from the so manieth line with a pattern on."""
    seen = []

    def on(line: str) -> bool:
        seen.extend(re.findall(pattern, line))
        return len(seen) >= count

    return on


def three_ways(
    command: Callable[[str], list[object]],
    nodes: Nodes,
    on: tuple[int, str],
    report: dict[str, Any],
    name: str,
    workers: str = "--workers",
) -> dict[str, str]:
    """Run a command three ways; what it outputs by way.

    Args:
        command: of a way's name. on: the line at which something is killed, see ``after``.
    """
    outputs = {"one": run([*command("one"), workers, 1])}
    outputs["two"] = run(
        [*command("two"), workers, 2], after(*on), kill_one("multiprocessing.spawn")
    )
    outputs["ray"] = run([*command("ray"), "--ray", nodes.address], after(*on), nodes.kill)
    again = {way: text.count(AGAIN) for way, text in outputs.items()}
    assert again["one"] == 0 and again["two"] == 1 and again["ray"] >= 1, outputs
    assert "ray: 2 nodes, 2 cores; " in outputs["ray"]
    data = re.findall("2 cores; (.*)", outputs["ray"])[0]
    report[name] = {
        "ray": ray.__version__,
        "units_run_again": again,
        "data": re.sub(",[^,]* in /.*", "", data),
    }
    return outputs


def test_processes_of_the_cluster_die(
    nodes: Nodes, report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the node, the worker on it; one that dies every time is an error of its own unit alone."""
    deaths = [0, 2, 0, 9, 1]
    units = [(number, count, tmp_path) for number, count in enumerate(deaths)]
    ended = dict(Workers(0, nodes.address).run(UnitWork(doubled, units, list("abcde"))))
    with pytest.raises(ContractError, match=f"d: .* {ATTEMPTS} that died"):
        ended.pop(3).result()
    assert {number: done.result() for number, done in ended.items()} == {0: 0, 1: 2, 2: 4, 4: 8}
    tries = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert tries == {"0": 1, "1": 3, "2": 1, "3": ATTEMPTS, "4": 2}
    again = capsys.readouterr().err.count("runs again")
    report["ray, workers that die"] = {"deaths": 6, "units_run_again": again, "given_up": 1}


def test_generate(nodes: Nodes, report: dict[str, Any], tmp_path: Path) -> None:
    def command(way: str) -> list[object]:
        words = "dataset generate --tasks lift_bar pick_cube --episodes 10 --fps 5 --images video"
        size = ["--width", 32, "--height", 24, "--out", tmp_path / way / "made"]
        return [*ADAMOE, *words.split(), *size]

    three_ways(command, nodes, (1, "more"), report, "dataset generate")
    files = digests(tmp_path / "one")
    assert files == digests(tmp_path / "two") == digests(tmp_path / "ray")
    assert sum(name.endswith(".mp4") for name in files) >= 3
    report["dataset generate"] |= {"files_equal": len(files)}


def test_convert(nodes: Nodes, report: dict[str, Any], tmp_path: Path) -> None:
    """A bad bag is named by every way; it is in the dataset's own record, too."""
    cameras = {slot: {"width": 32, "height": 24} for slot in many_bags.PROFILE.cameras}
    (tmp_path / "robot.yaml").write_text(
        yaml.safe_dump({"extends": "aloha_sim", "cameras": cameras})
    )
    many_bags.make_bags(tmp_path / "bags", 24)

    def command(way: str) -> list[object]:
        words = ["dataset", "convert", tmp_path / "bags", "--robot", tmp_path / "robot.yaml"]
        return [*ADAMOE, *words, "--gripper", "driver", "--out", tmp_path / way / "made"]

    outputs = three_ways(command, nodes, (4, " frames"), report, "dataset convert")
    assert all("1 bags skipped: b0007" in text for text in outputs.values())
    files = digests(tmp_path / "one")
    assert files == digests(tmp_path / "two") == digests(tmp_path / "ray")
    report["dataset convert"] |= {"files_equal": len(files)}


def blocks(folder: Path) -> dict[int, Any]:
    """Number -> episodes, without the wall clock."""
    rows = (folder / "episodes.jsonl").read_text().splitlines()[1:]
    return {row["block"]: row["episodes"] for row in map(json.loads, rows)}


def test_evaluate(nodes: Nodes, report: dict[str, Any], tmp_path: Path) -> None:
    def command(way: str) -> list[object]:
        words = "evaluate --tasks lift_bar --episodes 12 --parallel 2 --max-time 3 --videos 0"
        return [*ADAMOE, *words.split(), "--device", "cpu", "--out", tmp_path / way]

    outputs = three_ways(command, nodes, (1, "lift_bar: "), report, "evaluate", "--processes")
    made = {way: blocks(tmp_path / way) for way in outputs}
    assert made["one"] == made["two"] == made["ray"] and sorted(made["one"]) == list(range(6))
    routing = {way: digests(tmp_path / way / "routing") for way in outputs}
    assert routing["one"] == routing["two"] == routing["ray"] and len(routing["one"]) == 6
    report["evaluate"] |= {"blocks_equal": 6, "routing_files_equal": 6}


def figures(folder: Path) -> dict[str, Any]:
    """Run -> what it came to without its clock and the tree's commit, and the hash of its weights."""
    found = {}
    for path in sorted(folder.rglob("result.json")):
        result = json.loads(path.read_text())
        weights = digests(path.parent / "checkpoint")["model.safetensors"]
        apart = ("trained_s", "wall_s", "commit")
        found[path.parent.name] = weights, {n: v for n, v in result.items() if n not in apart}
    return found


def test_compare_mixtures(nodes: Nodes, report: dict[str, Any], tmp_path: Path) -> None:
    """Training runs: one that is killed goes on from its last state."""
    made = "data.generate=[{task: lift_bar, episodes: 12, every: 25}]"
    changes = [made, f"data.folder={tmp_path / 'data'}", "data.episodes=4", "steps=12"]
    changes += ["save_every=2", "batch_size=4"]

    def command(way: str) -> list[object]:
        words = ["--size", "cpu-smoke", "--arms", "dense", "adamoe_e4k1", "--seeds", 0, 1]
        out = ["--episodes", 0, "--folder", tmp_path / way, "--out", tmp_path / f"{way}.json"]
        script = ROOT / "benchmarks" / "compare_mixtures.py"
        return [sys.executable, script, *words, *out, *(w for c in changes for w in ("--set", c))]

    run([*command("one"), "--minutes", 0])  # what the runs have in common
    for way in ("two", "ray"):
        shutil.copytree(tmp_path / "one", tmp_path / way)
    three_ways(command, nodes, (1, r"^\d/4 "), report, "compare_mixtures")
    found = {way: figures(tmp_path / way) for way in ("one", "two", "ray")}
    assert found["one"] == found["two"] == found["ray"] and len(found["one"]) == 4
    report["compare_mixtures"] |= {"runs_equal": 4}
