#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo with its policy on another computer: success, latency, and what a cut link does to the arms.

Two network namespaces stand for the computers (root is needed; see ``bench_two_machines.py``): in one the
simulator, ``policy_node`` and ``control_node``, in the other ``adamoe serve`` with token and certificate. The
same scenes run with the checkpoint in ``policy_node``, with the server, with delay, with less bandwidth,
pictures as they are and as JPEG. Then the cable is pulled, and the server killed, while the arms move.
Last, without a network: how far JPEG moves the actions.

    source tools/env.sh; python benchmarks/bench_remote.py [--only NAME ...]

Each case is written as it ends, the others of the file stay; one that was stopped goes on where it was: scenes and
the nodes' logs are in out/bench_remote. On a computer that is busy with other things give ``--answer-timeout``:
there a late answer is no lost link.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_two_machines import ADDRESSES, DESK, ROBOT, Case, link
from common import RESULTS, ROOT, machine, table, with_block, write

CHECKPOINT = ROOT / "checkpoints" / "demo"
PAGE = ROOT / "doc" / "serving.md"
TASKS = ("lift_bar", "pick_cube", "push_to_line", "pick_two")
FIRST_SEED = 1000
LIMIT = 20.0  # s of the robot's clock, as adamoe demo has it
QUALITY = 90
DOWN_S = 2.0
ANSWER_S = 1.0  # answer_timeout where the link is cut: its default
LATE_S = 5.0  # elsewhere
PATIENCE_S = 120.0  # link_patience: a server that was killed takes its time to start here
QUALITIES = (95, 90, 75, 50)


@dataclass(frozen=True)
class Setup:
    """One way to run the scenes.

    Attributes:
        remote: whether the policy is in the server.
        scenes: 0: as many as are asked for.
        fault: what happens in each scene while the arms move; see ``Fault``.
    """

    name: str
    remote: bool = True
    jpeg_quality: int = 0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    mbit: int = 0
    scenes: int = 0
    fault: str = ""

    @property
    def link(self) -> Case:
        """As ``bench_two_machines`` makes it."""
        return Case(self.name, mbit=self.mbit, delay_ms=self.delay_ms, jitter_ms=self.jitter_ms)


SETUPS = (
    Setup("local", remote=False),
    Setup("remote"),
    Setup("remote_delay_20", delay_ms=20.0, jitter_ms=5.0),
    Setup("cable_of_the_robot", scenes=3, fault="robot"),
    Setup("cable_of_the_server", scenes=3, fault="desk"),
    Setup("server_killed", scenes=3, fault="kill"),
    Setup("remote_jpeg", jpeg_quality=QUALITY, scenes=8),
    Setup("remote_delay_20_jpeg", delay_ms=20.0, jitter_ms=5.0, jpeg_quality=QUALITY, scenes=8),
    Setup("remote_100", mbit=100, scenes=4),
    Setup("remote_100_jpeg", mbit=100, jpeg_quality=QUALITY, scenes=4),
)


# --- the server, on the desk ------------------------------------------------------------------------


class Server:
    """``adamoe serve`` in its namespace.

    Args:
        folder: for token, certificate and log.
    """

    def __init__(self, folder: Path) -> None:
        import trustme

        self.url = f"wss://{ADDRESSES[DESK]}:8000"
        self.authority, self.token = folder / "authority.pem", folder / "token"
        self._log, authority = folder / "server.log", trustme.CA()
        made = authority.issue_cert(ADDRESSES[DESK])
        authority.cert_pem.write_to_path(self.authority)
        made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        made.private_key_pem.write_to_path(folder / "key.pem")
        self.token.touch(0o600)
        self.token.write_text("0123456789abcdef" * 2)
        words = ["--checkpoint", CHECKPOINT, "--host", ADDRESSES[DESK], "--interface", "none"]
        words += ["--token-file", self.token, "--certificate", folder / "cert.pem"]
        words += ["--key", folder / "key.pem", "--device", "cpu", "--plain"]
        command = ["ip", "netns", "exec", DESK, sys.executable, "-m", "adamoe_ros.cli.main"]
        self._command = [*command, "serve", *map(str, words)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Do not wait for it."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
            )

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + 400.0
        while "serving" not in self._log.read_text():
            if self._child is None or self._child.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"bench_remote: no server: {self._log.read_text()[-2000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """At once, without a farewell; may be called twice."""
        if self._child is not None:
            self._child.kill()  # "ip netns exec" has become the server itself
            self._child.wait()


# --- what happens meanwhile -------------------------------------------------------------------------


@dataclass
class Fault:
    """Cuts the link a second after the arms began to move, mends it, and notes what control reports.

    Args:
        cut, mend: what to do.
        down_s: between both; 0: mended a second after the arms hold.
        control: the newest status.

    Attributes:
        events: (monotonic s, mode, cause) of each change. held: commands of the hold, once the arms have braked
            (0.5 s of the robot's clock). silent_s: longest time without a status of control.
    """

    cut: Callable[[], None]
    mend: Callable[[], None]
    down_s: float
    control: Callable[[], Any]
    events: list[tuple[float, int, str]] = field(default_factory=list)
    held: list[list[float]] = field(default_factory=list)
    braking: float | None = None
    moving: float | None = None
    cut_at: float | None = None
    mended_at: float | None = None
    silent_s: float = 0.0
    heard: tuple[float, Any] = (math.inf, None)

    def turn(self) -> None:
        """Between messages."""
        now, status = time.monotonic(), self.control()
        mode, cause = int(status.mode), str(status.hold_cause)
        self.silent_s = max(self.silent_s, now - self.heard[0])
        if status is not self.heard[1]:
            self.heard = now, status
        if not self.events or self.events[-1][1:] != (mode, cause):
            self.events.append((now, mode, cause))
        if self.cut_at is None:
            self.moving = (self.moving or now) if mode == status.RUNNING else None
            if self.moving is not None and now - self.moving >= 1.0:
                self.cut()
                self.cut_at = time.monotonic()
        elif self.mended_at is None and self._due(now):
            self.mend()
            self.mended_at = time.monotonic()
        holding = self.held_since()
        if holding is None or mode != status.HOLD or self.running_since(holding):
            return
        stamp = status.header.stamp.sec + 1e-9 * status.header.stamp.nanosec
        self.braking = stamp if self.braking is None else self.braking
        if stamp - self.braking > 0.5:
            self.held.append(list(status.commanded))

    def held_since(self) -> float | None:
        """Of the first hold after the cut."""
        if self.cut_at is None:
            return None
        return next((at for at, mode, _ in self.events if at > self.cut_at and mode == 1), None)

    def running_since(self, since: float) -> float | None:
        """When the arms first ran after a moment."""
        return next((at for at, mode, _ in self.events if at > since and mode == 2), None)

    def _due(self, now: float) -> bool:
        assert self.cut_at is not None
        if self.down_s:
            return now - self.cut_at >= self.down_s
        holding = self.held_since()
        return holding is not None and now - holding > 1.0

    def record(self) -> dict[str, Any]:
        """For JSON."""
        if self.cut_at is None or self.mended_at is None:
            return {"cut": "the scene was over before"}
        held = self.held_since()
        again = None if held is None else self.running_since(max(held, self.mended_at))
        resumed = None if again is None else round(again - self.mended_at, 2)
        until = math.inf if again is None else again
        moved = float(np.ptp(np.array(self.held), axis=0).max()) if self.held else None
        return {
            "down_s": round(self.mended_at - self.cut_at, 2),
            "held_after_s": None if held is None else round(held - self.cut_at, 2),
            "causes": [c for at, m, c in self.events if self.cut_at < at < until and m == 1],
            "commands_moved_while_held": None if moved is None else float(f"{moved:.2g}"),
            "resumed_after_s": resumed,
            "longest_without_status_s": round(self.silent_s, 2),
        }


def make_fault(setup: Setup, server: Server, control: Callable[[], Any]) -> Fault | None:
    """Of one scene."""
    if not setup.fault:
        return None
    if setup.fault == "kill":
        return Fault(server.kill, server.start, 0.0, control)

    def set_cable(state: str) -> None:
        name = {"robot": ROBOT, "desk": DESK}[setup.fault]
        words = ["ip", "netns", "exec", name, "ip", "link", "set", "link0", state]
        subprocess.run(words, check=True)

    return Fault(lambda: set_cable("down"), lambda: set_cable("up"), DOWN_S, control)


# --- the scenes, on the robot -----------------------------------------------------------------------


def inside(setup: Setup, count: int, domain: int, out: Path, answer_s: float) -> None:
    """Runs in the robot's namespace; a line of JSON for each scene."""
    from adamoe_ros.contract.profile_io import load_profile, profile_path
    from adamoe_ros.contract.resources import robots_dir
    from adamoe_ros.ros.sim.node_processes import prepare_environment

    environment = prepare_environment(domain)
    from adamoe_ros.ros.sim.session import sim_session

    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    faults: list[Fault] = []

    def turn() -> None:
        for fault in faults:
            fault.turn()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(folder)
        stack.callback(server.kill)
        if setup.remote:
            server.start()
            server.wait()
        rows = _parameters(setup, server, answer_s)
        session = stack.enter_context(
            sim_session(profile, environment, out.with_suffix(""), *rows, turn)
        )
        session.director.wait_for_camera()
        session.director.configure()
        with out.open("a") as log:
            for number in range(len(_lines(out)), count):
                found = _scene(session, setup, server, number, faults)
                log.write(json.dumps(found) + "\n")
                log.flush()
                print(setup.name, found["task"], found["seed"], found["message"], flush=True)


def _parameters(
    setup: Setup, server: Server, answer_s: float
) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
    """Of simulator, policy and control."""
    common: dict[str, object] = {"robot": "aloha_sim", "strategy": "rtc"}
    policy: dict[str, object] = {**common, "checkpoint": str(CHECKPOINT), "device": "cpu"}
    if setup.remote:
        policy = {
            **common,
            "policy": server.url,
            "policy_token": str(server.token),
            "policy_authority": str(server.authority),
            "jpeg_quality": setup.jpeg_quality,
            "answer_timeout": answer_s if setup.fault else max(answer_s, LATE_S),
            "link_patience": PATIENCE_S,
        }
    return {"task": TASKS[0], "seed": FIRST_SEED}, policy, common


def _scene(
    session: Any, setup: Setup, server: Server, number: int, faults: list[Fault]
) -> dict[str, Any]:
    from adamoe_ros.data.recording import Episode

    task, seed = scene(number)
    episode = Episode(number, seed, task, "")
    session.begin_episode(episode)
    fault = make_fault(setup, server, lambda: session.live.control)
    faults[:] = [fault] if fault else []
    session.finish_episode(episode, episode.instruction, LIMIT + (PATIENCE_S if fault else 0.0))
    faults.clear()
    stages = {
        name: [one.latency[column] for one in episode.inferences]
        for column, name in enumerate(episode.stages)
    }
    return {
        "task": task,
        "seed": seed,
        "success": bool(episode.success),
        "seconds": round(episode.elapsed, 2),
        "wall": round(episode.wall, 2),
        "message": episode.result_message,
        "holds": int(episode.counters.get("holds", 0)),
        "late_chunks": int(episode.counters.get("late_chunks", 0)),
        "stages": {name: [round(v, 4) for v in values] for name, values in stages.items()},
        **({"fault": fault.record()} if fault else {}),
    }


# --- how far JPEG moves the actions -----------------------------------------------------------------


def jpeg_deviation(scenes: int) -> dict[str, Any]:
    """Chunks of the same observations, noise and network, with pictures before and after JPEG."""
    from adamoe_ros.contract.profile_io import load_profile, profile_path
    from adamoe_ros.contract.resources import robots_dir
    from adamoe_ros.control.policy_settings import PolicySettings
    from adamoe_ros.control.scheduling import InferenceRequest, free_plan
    from adamoe_ros.policy.actor import PolicyActor
    from adamoe_ros.policy.checkpoint import read_checkpoint
    from adamoe_ros.serving.pictures import decode_picture, encode_jpeg

    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    settings = PolicySettings(strategy="rtc", device="cpu")
    actor = PolicyActor(profile, read_checkpoint(CHECKPOINT), settings)

    def chunk(seen: Any, seed: int) -> np.ndarray:
        request = InferenceRequest(seen, free_plan(seen.stamp_ns, actor.horizon))
        return actor.infer_batch([actor.session(seed)], [request]).inferences[0].positions

    count, raw, others = 0, [], []
    differences: dict[int, list[np.ndarray]] = {quality: [] for quality in QUALITIES}
    sizes: dict[int, list[int]] = {quality: [] for quality in QUALITIES}
    for count, seen in enumerate(observations(actor, scenes), 1):
        plain = chunk(seen, count)
        raw.append(sum(image.nbytes for image in seen.images.values()))
        others.append(chunk(seen, count + 1_000_000) - plain)
        for quality in QUALITIES:
            coded = {slot: encode_jpeg(image, quality) for slot, image in seen.images.items()}
            images = {slot: decode_picture(data, slot) for slot, data in coded.items()}
            differences[quality].append(chunk(replace(seen, images=images), count) - plain)
            sizes[quality].append(sum(map(len, coded.values())))
    return {
        "what": "absolute difference of the joint targets (rad, grippers m), all rows of the chunks",
        "observations": count,
        "kB of the pictures as they are": round(float(np.mean(raw)) / 1e3, 1),
        "quality": {
            str(quality): {"kB": round(float(np.mean(sizes[quality])) / 1e3, 1), **_spread(rows)}
            for quality, rows in differences.items()
        },
        "other noise instead": _spread(others),
    }


def _spread(differences: list[np.ndarray]) -> dict[str, float]:
    values = np.abs(np.stack(differences))
    found = {"mean": values.mean(), "p99": np.quantile(values, 0.99), "max": values.max()}
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def observations(actor: Any, scenes: int) -> Iterator[Any]:
    """What the policy sees in the scenes, run in this process and in simulated time."""
    from adamoe_ros.evaluation.closed_loop import ClosedLoop, LoopSettings, run_together
    from adamoe_ros.evaluation.scenes import SceneStore, SimulatedArms

    store = SceneStore()
    for task, seed in map(scene, range(scenes)):
        sim, session = store.sims(task, 1)[0], actor.session(seed)
        seen: list[Any] = []
        sim.reset(seed)
        arms = SimulatedArms(sim, store.camera(task))
        settings = LoopSettings(strategy="rtc", delay_s=0.05)
        to_model = actor.joint_map.model_from_state
        loop = ClosedLoop(actor.profile, arms, session, sim.instruction, settings, to_model)

        def infer(_asking: Any, requests: Any, session: Any = session, seen: Any = seen) -> Any:
            seen.extend(request.observation for request in requests)
            return actor.infer_batch([session], requests).inferences

        run_together([loop], [sim.success], infer, LIMIT)
        yield from seen


def scene(number: int) -> tuple[str, int]:
    """Task and seed."""
    return TASKS[number % len(TASKS)], FIRST_SEED + number // len(TASKS)


# --- all of it --------------------------------------------------------------------------------------


def summary(setup: Setup, scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one way."""
    stages: dict[str, list[float]] = {}
    for scene in scenes:
        for name, values in scene.pop("stages").items():
            stages.setdefault(name, []).extend(values)
    shown = ("stamp_to_chunk", "total", "network", "queue", "encode")
    return {
        "setup": {k: v for k, v in asdict(setup).items() if v},
        "successes": sum(scene["success"] for scene in scenes),
        "scenes": len(scenes),
        "simulated seconds per second": round(
            sum(s["seconds"] for s in scenes) / sum(s["wall"] for s in scenes), 2
        ),
        "latency_ms": {
            name: {
                "p50": round(1e3 * float(np.quantile(stages[name], 0.5)), 1),
                "p95": round(1e3 * float(np.quantile(stages[name], 0.95)), 1),
                "count": len(stages[name]),
            }
            for name in shown
            if stages.get(name)
        },
        "each": scenes,
    }


def run(setup: Setup, count: int, answer_s: float) -> dict[str, Any]:
    """One way, in fresh namespaces."""
    from adamoe_ros.ros.sim.node_processes import free_domain

    about, out = machine(), ROOT / "out" / "bench_remote" / f"{setup.name}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    with link(setup.link):
        words = [sys.executable, __file__, "--inside", setup.name, "--out", str(out)]
        # shared memory is common to both namespaces and this computer: a domain that nobody uses
        words += ["--scenes", str(count), "--domain", str(free_domain())]
        words += ["--answer-timeout", str(answer_s)]
        command = ["ip", "netns", "exec", ROBOT, *words]
        code = subprocess.run(command, check=False).returncode
    lines = _lines(out)
    if code or len(lines) < count:
        raise SystemExit(f"bench_remote: {setup.name} ended with {code}; start again to go on")
    out.unlink()
    return {
        **summary(setup, [json.loads(line) for line in lines]),
        **({"answer_timeout": answer_s} if setup.fault else {}),
        "load_average": [about["load_average_before"], round(os.getloadavg()[0], 2)],
        "date": about["date"],
        "commit": about["commit"],
    }


def page_block(found: dict[str, Any]) -> str:
    """The tables of doc/serving.md."""
    ways: dict[str, dict[str, Any]] = found["ways"]
    rows, cuts = [], []
    for name, way in ways.items():
        times, each = way["latency_ms"], [one.get("fault", {}) for one in way["each"]]
        shown = [times.get(stage) for stage in ("stamp_to_chunk", "total", "network")]
        cells = [f"{one['p50']:.0f} / {one['p95']:.0f}" if one else "" for one in shown]
        share = f"{way['successes']} of {way['scenes']}"
        rows.append([name, share, *cells])
        if any(each):
            causes = {cause for one in each for cause in one.get("causes", [])[:1]}
            figures = [
                ", ".join(str(one.get(key, "?")) for one in each)
                for key in ("held_after_s", "resumed_after_s", "commands_moved_while_held")
            ]
            cuts.append([name, figures[0], ", ".join(sorted(causes)), *figures[1:], share])
    head = "scenes | successes | stamp → chunk, ms | inference with network, ms | network, ms"
    blocks = [table(head + " (p50 / p95 each)", rows)]
    if cuts:
        head = "in each scene | arms hold after, s | cause | go on after its end, s | commands moved, rad | successes"
        blocks.append(table(head, cuts))
    if "jpeg" in found:
        jpeg = found["jpeg"]
        rows = [[f"JPEG {name}", *one.values()] for name, one in jpeg["quality"].items()]
        rows.append(["other noise", "", *jpeg["other noise instead"].values()])
        head = f"actions against pictures of {jpeg['kB of the pictures as they are']} kB | kB | mean, rad | p99 | largest"
        blocks.append(table(head, rows))
    return "\n\n".join(blocks)


def keep(found: dict[str, Any], out: Path) -> None:
    """Write the figures; those of the repository stand in its documentation as well."""
    write(out, found)
    if out == RESULTS / "remote.json":
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_block(page, "benchmarks/bench_remote.py", page_block(found)))


def _lines(path: Path) -> list[str]:
    """Scenes of a run that is not complete."""
    return path.read_text().splitlines() if path.is_file() else []


def main() -> int:
    """Every way, then JPEG."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--answer-timeout", type=float, default=ANSWER_S, help="s, of the faults")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=RESULTS / "remote.json")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--domain", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        setup = next(one for one in SETUPS if one.name == options.inside)
        inside(setup, options.scenes, options.domain, options.out, options.answer_timeout)
        return 0
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise SystemExit("bench_remote: expected root and iproute2 for network namespaces")
    found: dict[str, Any] = {"machine": machine(), "ways": {}}
    if options.out.is_file():
        found |= {k: v for k, v in json.loads(options.out.read_text()).items() if k != "machine"}
    for setup in SETUPS:
        if not options.only or setup.name in options.only:
            count = min(setup.scenes or options.scenes, options.scenes)
            found["ways"][setup.name] = run(setup, count, options.answer_timeout)
            keep(found, options.out)
    if not options.only or "jpeg" in options.only:
        found["jpeg"] = jpeg_deviation(min(8, options.scenes))
        keep(found, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
