# SPDX-License-Identifier: Apache-2.0
"""LIBERO by openpi's protocol: a client of a policy server, judged by LIBERO itself.

As ``examples/libero/main.py`` of openpi: idle steps, pictures turned by 180 degrees and padded to 224 px, the
same step budgets, the same initial states in their order. Different: every episode seeds the simulator anew, so
that it does not depend on those before it, and pictures are taken only where they are looked at.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.workers import UnitWork, Workers
from adamoe_ros.evaluation.blocks import Blocks, failed
from adamoe_ros.evaluation.cases import Case
from adamoe_ros.evaluation.evaluation_settings import LiberoSettings
from adamoe_ros.evaluation.evaluator import BlockResult, EpisodeRecord
from adamoe_ros.evaluation.results import VIDEOS
from adamoe_ros.policy.actor_base import noise_seed
from adamoe_ros.serving import wire
from adamoe_ros.serving.door import read_token
from adamoe_ros.serving.pictures import numbers
from adamoe_ros.sim.libero import BUDGETS, RATE_HZ
from adamoe_ros.sim.libero.process import SimulatorProcess, own_simulator

_START_S, _CHUNK_S = 600.0, 600.0
_PX = 224

Pictures = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Benchmark:
    """Where the parts of a benchmark are.

    Attributes:
        python: of LIBERO's environment. folder: of the results.
        url: of the policy server. token: file with what it asks for.
        sentences: task -> what it asks for; a task is ``suite/number``.
    """

    python: Path
    folder: Path
    url: str
    sentences: Mapping[str, str]
    token: Path | None = None


class OpenpiClient:
    """A connection to any server that speaks openpi's protocol.

    Raises:
        ContractError: there is none at the address.
    """

    def __init__(self, url: str, token: Path | None = None) -> None:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        headers = {} if token is None else {"Authorization": f"Api-Key {read_token(token)}"}
        self._open = ExitStack()
        self._where, self._broken = f"policy {url}", (WebSocketException, OSError, TimeoutError)
        try:
            self._connection = self._open.enter_context(
                connect(
                    url,
                    compression=None,
                    max_size=None,
                    additional_headers=headers,
                    ping_interval=None,
                )
            )
            self.metadata = wire.unpack(self._connection.recv(_CHUNK_S))
        except (*self._broken, ValueError) as error:
            do = "is a server of openpi's protocol running there?"
            raise ContractError(problem(self._where, "a connection", error, do)) from error

    def infer(self, observation: Mapping[str, Any]) -> NDArray[np.float64]:
        """(H, 7) rows.

        Raises:
            ContractError: no answer, or none that LIBERO can execute.
        """
        try:
            self._connection.send(wire.pack(observation))
            answer = self._connection.recv(_CHUNK_S)
        except self._broken as error:
            raise ContractError(problem(self._where, "an answer", error, "see its log")) from error
        if isinstance(answer, str):
            raise ContractError(f"{self._where}: {' '.join(answer.split())[:500]}")
        rows = wire.unpack(answer).get("actions")
        shape = (len(rows) if isinstance(rows, np.ndarray) and rows.ndim else 0, 7)
        return numbers(rows, shape, f"{self._where}: actions", "serve a LIBERO policy")

    def close(self) -> None:
        """End it."""
        self._open.close()


@contextmanager
def served(checkpoint: Path, device: str = "auto") -> Iterator[str]:
    """``adamoe serve`` for a checkpoint, in a process of its own; its address.

    Raises:
        ContractError: it does not start; its last line.
    """
    words = ["serve", "--checkpoint", str(checkpoint), "--interface", "libero", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "adamoe_ros.cli.main", *words, "--plain", "--device", device],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    timer = threading.Timer(_START_S, process.kill)
    timer.start()
    try:
        line = last = ""
        for line in process.stdout:
            if line.startswith("serving "):
                break
            last = line.strip() or last
        else:
            do = "try 'adamoe serve' by itself"
            raise ContractError(problem("adamoe serve", "it to start", last[:300], do))
        timer.cancel()
        output = process.stdout
        threading.Thread(target=lambda: [None for _ in output], daemon=True).start()
        yield next(word for word in line.split() if word.startswith("ws://"))
    finally:
        timer.cancel()
        process.terminate()
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_benchmark(
    blocks: Blocks,
    benchmark: Benchmark,
    workers: Workers,
    report: Callable[[Sequence[EpisodeRecord]], None],
) -> None:
    """Run the blocks that are missing; each process has a simulator and a connection.

    Raises:
        ContractError: simulator, server or policy do not fit.
    """
    todo, settings = blocks.missing(), blocks.job.settings
    (benchmark.folder / VIDEOS).mkdir(parents=True, exist_ok=True)
    work = UnitWork(
        _run_block,
        [(benchmark, settings, block.cases, blocks.job.videos) for block in todo],
        [f"{b.cases[0].control} {b.cases[0].task}, from {b.cases[0].seed}" for b in todo],
    )
    for number, done in workers.run(work):
        result = done.result()
        blocks.keep(todo[number], result)
        report(result.episodes)


def videos_of(blocks: Blocks) -> list[tuple[str, str]]:
    """(file name, caption) of every failure that has a video."""
    found = []
    for episode in blocks.episodes():
        name = _video_name(episode)
        if (blocks.folder / VIDEOS / name).is_file():
            caption = f"{episode.task}, {episode.control}, initial state {episode.seed}"
            found.append((name, f"{caption}: “{episode.instruction}”"))
    return found


def _video_name(case: Case | EpisodeRecord) -> str:
    return f"{case.control}-{case.task.replace('/', '-')}-{case.seed}.mp4"


def _run_block(
    benchmark: Benchmark, settings: LiberoSettings, cases: Sequence[Case], videos: int
) -> BlockResult:
    simulator = own_simulator(benchmark.python)
    suite, _, task = cases[0].task.partition("/")
    simulator.ask("open", suite=f"libero_{suite}", task=int(task))
    client = OpenpiClient(benchmark.url, benchmark.token)
    episodes, seconds = [], list[float]()
    try:
        for case in cases:
            run = _Episode(simulator, client, benchmark, settings, case)
            episode = run.play()
            seconds += run.seconds
            episodes.append(episode)
            kept = len(list((benchmark.folder / VIDEOS).glob(f"{case.control}-{suite}-{task}-*")))
            if failed(episode) and kept < videos:
                run.write_video(benchmark.folder / VIDEOS / _video_name(case))
    finally:
        client.close()
    return BlockResult(episodes, [None] * len(episodes), None, seconds)


class _Episode:
    """One episode.

    Attributes:
        seconds: wall clock of each inference.
    """

    def __init__(
        self,
        simulator: SimulatorProcess,
        client: OpenpiClient,
        benchmark: Benchmark,
        settings: LiberoSettings,
        case: Case,
    ) -> None:
        self._simulator, self._client = simulator, client
        self._settings, self._case = settings, case
        self._scene = benchmark.sentences[case.task]
        self._sentence = self._scene
        if case.control == "wrong-sentence":
            suite = case.task.partition("/")[0]
            others = [
                text
                for task, text in benchmark.sentences.items()
                if task.partition("/")[0] == suite and text != self._scene
            ]
            self._sentence = others[case.seed % len(others)]
        self._budget = BUDGETS[case.task.partition("/")[0]]
        self._shown: list[Pictures] = []
        self.seconds: list[float] = []

    def play(self) -> EpisodeRecord:
        """Run it to success or to the end of the budget."""
        settings, case, ask = self._settings, self._case, self._simulator.ask
        seen = ask("begin", seed=settings.seed, initial=case.seed, idle=settings.idle_steps)
        done = False
        while seen["steps"] < self._budget and not done:
            self._shown.append(seen["pictures"])
            begin = monotonic()
            rows = self._client.infer(self._observation(seen))
            self.seconds.append(monotonic() - begin)
            if len(rows) < settings.replan:
                expected, do = f"at least {settings.replan} rows", "choose a smaller --replan"
                raise ContractError(problem("chunk", expected, len(rows), do))
            count = min(settings.replan, self._budget - seen["steps"])
            seen = ask("step", actions=rows[:count])
            done = bool(seen["done"])
        return EpisodeRecord(
            **dataclasses.asdict(case),
            scene=self._scene,
            instruction=self._sentence,
            success=done,
            followed=None if case.control == "wrong-sentence" else done,
            seconds=seen["steps"] / RATE_HZ,
            inferences=len(self.seconds),
            details={"steps": seen["steps"]},
        )

    def _observation(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        pictures = {name: _fitted(pixels) for name, pixels in seen["pictures"].items()}
        if self._case.control == "blind":
            pictures = {name: np.zeros_like(pixels) for name, pixels in pictures.items()}
        frame: dict[str, Any] = {f"observation/{name}": pixels for name, pixels in pictures.items()}
        frame |= {"observation/state": seen["state"], "prompt": self._sentence}
        if wire.EXTRA in self._client.metadata:  # a server of ours: the same noise in every run
            stamp = 1_000_000 * self._case.seed + int(seen["steps"])
            frame[wire.EXTRA] = {"noise_seed": noise_seed(self._settings.seed, stamp)}
        return frame

    def write_video(self, path: Path) -> None:
        """What the cameras saw at every inference, in the time of the simulator."""
        from adamoe_ros.evaluation.report.video import write_mp4

        frames = [np.concatenate(list(one.values()), axis=1) for one in self._shown]
        write_mp4(path, frames, RATE_HZ / self._settings.replan)


def _fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(224, 224, 3), as openpi's client sends it: PIL's bilinear filter, black beside the picture."""
    from PIL import Image, ImageOps

    image = Image.fromarray(pixels)
    return np.asarray(ImageOps.pad(image, (_PX, _PX), Image.Resampling.BILINEAR))
