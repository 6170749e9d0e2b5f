#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A human corrects a policy on a robot that is off, and the policy learns from the corrections.

The disturbance: two joints of each arm go somewhere else than they are commanded to, as after a careless
assembly. A scripted human (the task's expert, who sees where the hands are) takes over on the way, through
the control core's own takeover, and finishes. The policy is trained on these episodes, corrections
weighted; success of both policies on unseen seeds of the disturbed robot, in simulated time.

    python benchmarks/bench_takeover.py                     # 20 corrected episodes; about 20 CPU minutes
    python benchmarks/bench_takeover.py --episodes 2 --trials 2 --steps 5   # shows that it runs
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, machine, write
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import InferenceRequest
from adamoe_ros.control.status import Source, TickResult
from adamoe_ros.evaluation.closed_loop import ClosedLoop, LoopSettings, run_together
from adamoe_ros.evaluation.scenes import SharedCamera, SimulatedArms
from adamoe_ros.evaluation.success import counts
from adamoe_ros.policy.actor import ActorSession, PolicyActor
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.resizing import resize_picture
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.demonstrations import rejoined
from adamoe_ros.training.demonstration_set import Demonstration
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.generate_demonstrations import robot_layout
from adamoe_ros.training.training_config import load_config
from adamoe_ros.training.training_run import train

Vector = NDArray[np.float64]
ROBOT, CHECKPOINT = "aloha_sim", ROOT / "checkpoints" / "demo"
CORRECTED_SEED, TRIAL_SEED = 700_000, 1_000  # apart from demonstrations and from each other
EVERY = 10  # ticks between kept frames, as in the demonstrations
TAKEOVER_S = (0.2, 1.6)  # when the human presses: before the hands are down
LOOP = LoopSettings(strategy="rtc", delay_s=0.15, execution_horizon=25, smoothing_s=0.3)
SETTLE_S, LONGEST_S = 0.5, 10.0


class DisturbedArms(SimulatedArms):
    """Arms of which some joints go elsewhere than commanded.

    Args:
        off: (14,) rad that is added to every command.
    """

    def __init__(self, sim: BimanualSim, camera: SharedCamera, off: Vector) -> None:
        super().__init__(sim, camera)
        self._off = off

    def follow(self, command: Vector) -> None:
        """One control period."""
        super().follow(command + self._off)


class ScriptedHuman:
    """Leads the arms to what the expert wants, by eye: what joints are off by is allowed for."""

    def __init__(self, sim: BimanualSim, off: Vector) -> None:
        self._path = rejoined(sim.plan(), sim.targets) - off
        self._tick = 0

    def lead(self) -> Vector:
        """(14,) where the leader arms are in this control period."""
        row = self._path[min(self._tick, len(self._path) - 1)]
        self._tick += 1
        return np.asarray(row)


class Correction:
    """One episode that the policy begins and the human ends.

    Attributes:
        success: of the human.
    """

    def __init__(self, actor: PolicyActor, camera: SharedCamera, sim: BimanualSim, off: Vector):
        self._actor, self._camera, self._sim = actor, camera, sim
        self._size = actor.runtime.checkpoint.config.vision.image_size
        self._ticks: list[TickResult] = []
        self._kept: list[tuple[int, dict[str, Any], Vector, Vector]] = []
        arms = DisturbedArms(sim, camera, off)
        loop = begin(actor, arms, actor.session(sim.seed))
        for _ in range(round(self._takeover_s() / loop.core.period_s)):
            self._keep()
            loop.core.on_deadman(False, loop.now_ns)
            self._ticks.append(loop.step())
        self.success = self._led(loop, arms, ScriptedHuman(sim, off))

    def _takeover_s(self) -> float:
        return float(np.random.default_rng((self._sim.seed, 11)).uniform(*TAKEOVER_S))

    def _led(self, loop: ClosedLoop, arms: DisturbedArms, human: ScriptedHuman) -> bool:
        """The human's part; True: the task was done."""
        core, held = loop.core, 0
        period, now = round(core.period_s * 1e9), loop.now_ns
        for _ in range(round(LONGEST_S / core.period_s)):
            self._keep()
            now += period
            core.on_state(now, arms.measured())
            core.on_deadman(True, now)
            core.on_leader(now, human.lead(), now + 10 * period, now)
            result = core.tick(now)
            assert result.command is not None
            arms.follow(result.command)
            self._ticks.append(result)
            held = held + 1 if self._sim.success() else 0
            if held * core.period_s >= SETTLE_S:
                return True
        return False

    def _keep(self) -> None:
        """A frame now and then."""
        if len(self._ticks) % EVERY == 0:
            seen = self._camera.pictures(self._sim, self._sim.state())
            small = {slot: resize_picture(picture, self._size) for slot, picture in seen.items()}
            measured, goals = self._sim.measured()[0], self._sim.goal_points()
            self._kept.append((len(self._ticks), small, measured, goals))

    @property
    def led(self) -> NDArray[np.bool_]:
        """(T,) control ticks that the human commanded."""
        return np.array([tick.source is Source.HUMAN for tick in self._ticks])

    def demonstration(self) -> Demonstration:
        """What was kept, in the policy's units; its actions are the commands as they were sent."""
        joints, slots = self._actor.joint_map, self._actor.camera_slots
        steps, pictures, states, goals = zip(*self._kept, strict=True)
        commands = np.stack([np.asarray(tick.command) for tick in self._ticks])
        return Demonstration(
            images=np.stack([np.stack([seen[slot] for slot in slots]) for seen in pictures]),
            steps=np.array(steps),
            state=joints.model_from_state(np.stack(states)).astype(np.float32),
            actions=joints.command_to_model.apply(commands).astype(np.float32),
            objects=np.stack(goals).astype(np.float32),
            instructions=(self._sim.instruction,) * len(steps),
            tasks=(self._sim.task.name,) * len(steps),
            seed=self._sim.seed,
            led=self.led[list(steps)],
        )


def begin(actor: PolicyActor, arms: SimulatedArms, session: ActorSession) -> ClosedLoop:
    """The policy's loop in a scene that is set up."""
    assert actor.profile is not None
    to_model = actor.joint_map.model_from_state
    return ClosedLoop(actor.profile, arms, session, arms.sim.instruction, LOOP, to_model)


def load(folder: Path, batch: int, threads: int) -> PolicyActor:
    """A policy for the simulated robot."""
    profile = load_profile(profile_path(ROBOT, robots_dir()))
    settings = PolicySettings(strategy=LOOP.strategy, device="cpu", threads=threads)
    return PolicyActor(profile, read_checkpoint(folder), settings, batch=batch)


def tried(
    folder: Path, off: Vector, camera: SharedCamera, options: argparse.Namespace
) -> dict[str, Any]:
    """Success of a checkpoint alone on the unseen seeds of the disturbed robot."""
    actor, outcomes = load(folder, options.parallel, options.threads), []
    sims = [BimanualSim(options.task) for _ in range(min(options.parallel, options.trials))]
    for first in range(0, options.trials, len(sims)):
        some = sims[: options.trials - first]
        for number, sim in enumerate(some):
            sim.reset(TRIAL_SEED + first + number)
        sessions = [actor.session(sim.seed) for sim in some]
        arms = [DisturbedArms(sim, camera, off) for sim in some]
        loops = [begin(actor, *pair) for pair in zip(arms, sessions, strict=True)]

        def infer(
            asking: Sequence[int],
            asked: Sequence[InferenceRequest],
            own: Sequence[ActorSession] = sessions,
        ) -> list[Inference]:
            return actor.infer_batch([own[number] for number in asking], asked).inferences

        judges = [sim.success for sim in some]
        outcomes += run_together(loops, judges, infer, LONGEST_S, SETTLE_S)
    actor.close()
    return counts([outcome.success for outcome in outcomes])


def corrected(
    folder: Path, off: Vector, camera: SharedCamera, options: argparse.Namespace
) -> dict[str, Any]:
    """Let a human correct episodes; those that succeeded become a training folder."""
    actor, sim = load(CHECKPOINT, 1, options.threads), BimanualSim(options.task)
    kept, led, ticks = [], 0, 0
    for number in range(options.episodes):
        sim.reset(CORRECTED_SEED + number)
        episode = Correction(actor, camera, sim, off)
        led, ticks = led + int(episode.led.sum()), ticks + len(episode.led)
        if episode.success:
            kept.append(episode.demonstration())
    actor.close()
    write_demonstrations(folder, kept, robot_layout(ROBOT)[0])
    frames = [int(item.led.sum()) for item in kept if item.led is not None]
    return {
        "episodes": options.episodes,
        "human_succeeded": len(kept),
        "frames": sum(len(item.steps) for item in kept),
        "frames_led_by_the_human": sum(frames),
        "share_of_ticks_led": round(led / ticks, 4),
    }


def trained(data: Path, run: Path, options: argparse.Namespace) -> Path:
    """The policy after training on the corrected episodes; its checkpoint's folder."""
    group = "{peak_lr: 2.0e-4, final_lr: 2.0e-5, warmup_steps: 20, weight_decay: 1.0e-4}"
    words = [
        f"model.checkpoint={CHECKPOINT}",
        f"data.dataset={data}",
        f"data.correction_weight={options.weight}",
        f"steps={options.steps}",
        "batch_size=32",
        "flow_draws=2",
        f"threads={options.threads}",
        "ema_decay=0.98",
        "tensorboard=false",
        *(f"optimiser.{name}={group}" for name in ("base", "experts", "router")),
    ]
    return train(load_config(None, words), run)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="lift_bar")
    parser.add_argument("--episodes", type=int, default=20, help="that the human corrects")
    parser.add_argument("--trials", type=int, default=20, help="of each policy by itself")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--weight", type=float, default=4.0, help="data.correction_weight")
    parser.add_argument("--off", type=float, default=0.1, help="rad, of waist and elbow")
    parser.add_argument("--parallel", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench_takeover")
    parser.add_argument("--out", type=Path, default=RESULTS / "takeover.json")
    options = parser.parse_args()
    about, begun = machine(), time.process_time()
    shutil.rmtree(options.work, ignore_errors=True)
    off, camera = np.zeros(14), SharedCamera(options.task)
    off[[0, 2, 7, 9]] = options.off * np.array([1.0, 1.0, -1.0, 1.0])
    document: dict[str, Any] = {"what": "takeover and corrections", "machine": about}
    document["settings"] = {
        name: value for name, value in vars(options).items() if name not in ("work", "out")
    }
    document["corrections"] = corrected(options.work / "data", off, camera, options)
    print(document["corrections"], flush=True)
    document["before"] = tried(CHECKPOINT, off, camera, options)
    print("before", document["before"], flush=True)
    checkpoint = trained(options.work / "data", options.work / "run", options)
    document["after"] = tried(checkpoint, off, camera, options)
    print("after", document["after"], flush=True)
    document["cpu_minutes"] = round((time.process_time() - begun) / 60, 1)
    camera.close()
    write(options.out, document)


if __name__ == "__main__":
    main()
