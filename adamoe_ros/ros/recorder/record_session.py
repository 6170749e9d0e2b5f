# SPDX-License-Identifier: Apache-2.0
"""``adamoe record``: the recorder in this process, led by keys or by lines.

In a terminal single keys: s start, space start or end, e end, y success, n failed, d discard,
i instruction, q quit, and a line that says how the episode grows. Without a terminal the same words as
lines on the standard input, e.g. ``start lift the bar``.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.episode_recorder import summary

KEYS = {
    "s": "start",
    " ": "toggle",
    "e": "end",
    "y": "success",
    "n": "failed",
    "d": "discard",
    "i": "instruction",
    "q": "quit",
}
HELP = "s start · e end · y success · n failed · d discard · i instruction · q quit"
_TURN = 0.5  # s between two looks while no key is pressed


class RecordSession:
    """Turns words into what the recorder does.

    Args:
        node: the recorder.
        instruction: sentence of the next episodes; empty: what is heard.
    """

    def __init__(self, node: Any, instruction: str) -> None:
        self._node, self._instruction = node, instruction
        self._episode: Any = None
        self.finished = False

    @property
    def recording(self) -> bool:
        """Whether an episode runs; a full disk may have ended it."""
        return self._node.episode is not None and bool(self._node.episode.running)

    def status(self) -> str:
        """How the running episode grows, in one line; empty: none runs."""
        episode = self._node.episode
        if episode is None or not self.recording:
            return ""
        text = f"{episode.elapsed:7.1f} s  {sum(episode.counts.values())} messages"
        lost = f"  {episode.dropped} DROPPED" if episode.dropped else ""
        return f"{text}  {episode.written / 1e6:.1f} MB{lost}"

    def do(self, line: str) -> list[str]:
        """Carry out one line; lines to show."""
        word, _, rest = line.strip().partition(" ")
        try:
            return self._do(word, rest.strip())
        except ContractError as error:
            return list(error.problems)

    def _do(self, word: str, rest: str) -> list[str]:
        if word == "toggle":
            word = "end" if self.recording else "start"
        if word == "start":
            folder = self._node.start(rest or self._instruction)
            self._episode = self._node.episode
            return [f"recording {folder}"]
        if word in ("end", "success", "failed"):
            return self._end({"success": True, "failed": False}.get(word), rest)
        if word == "discard":
            return [f"discarded {self._node.discard()}"]
        if word == "instruction":
            self._instruction = rest
            return [f"instruction of the next episodes: {rest!r}"]
        if word == "quit":
            self.finished = True
            return self._end(None, "") if self.recording else []
        words = ", ".join(KEYS.values())
        raise ContractError(problem("command", f"one of {words}", repr(word), "try again"))

    def _end(self, success: bool | None, notes: str) -> list[str]:
        episode = self._episode
        if not self.recording and success is None and not notes and episode is not None:
            ended = f"{episode.folder}: ended already ({episode.ended_by})"
            return [ended, *summary(episode.info, episode.elapsed)]
        if not self.recording:
            return [f"noted for {self._node.label(success, notes)}"]
        folder, lines = self._node.stop("stopped", success, notes)
        return [str(folder), *lines]


def record(parameters: dict[str, Any], instruction: str, duration: float, namespace: str) -> int:
    """Run the recorder until it is told to quit.

    Args:
        parameters: of the recorder node.
        duration: s; record one episode of that length and end; 0: led by keys or lines.

    Returns:
        Exit code: 0, or 1 when the only episode of ``duration`` could not be recorded whole.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from adamoe_ros.ros.recorder.recorder_node import RecorderNode
    from adamoe_ros.ros.runner import ros_arguments, starting_ros

    handlers = rclpy.signals.SignalHandlerOptions.NO  # its own would end ROS before the episode
    with starting_ros():
        rclpy.init(args=ros_arguments(parameters, namespace), signal_handler_options=handlers)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    node = None
    executor, ending = SingleThreadedExecutor(), threading.Event()
    spinner = threading.Thread(target=_spin, args=(executor, ending), daemon=True)
    try:
        with starting_ros():
            node = RecorderNode()
        # what it does is shown here; its own lines would say it twice
        rclpy.logging.set_logger_level(node.get_logger().name, rclpy.logging.LoggingSeverity.WARN)
        for each in (node, *node.companions):
            executor.add_node(each)
        spinner.start()
        session = RecordSession(node, instruction)
        return _timed(node, session, duration) if duration > 0 else _led(session)
    finally:
        if node is not None:
            node.halt()
        ending.set()
        if spinner.is_alive():
            spinner.join(5.0)
        executor.shutdown(timeout_sec=5.0)
        if node is not None:
            node.close()
        rclpy.try_shutdown()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: whoever ends the recorder or closes its terminal gets a whole bag."""
    raise KeyboardInterrupt


def _spin(executor: Any, ending: threading.Event) -> None:
    """Until it is told to end: nothing of ROS may go away under a spinning thread."""
    while not ending.is_set():
        executor.spin_once(timeout_sec=0.1)


def _timed(node: Any, session: RecordSession, duration: float) -> int:
    deadline = time.monotonic() + 10.0
    while node.topics.silent() and time.monotonic() < deadline:
        time.sleep(0.1)  # publishers are found one by one
    for line in session.do("start"):
        print(line, flush=True)
    episode = node.episode
    if episode is None:
        return 1
    while episode.running and episode.elapsed < duration:
        time.sleep(0.05)
    whole = episode.running
    for line in session.do("end"):
        print(line, flush=True)
    return 0 if whole else 1


def _led(session: RecordSession) -> int:
    terminal = sys.stdin.isatty()
    words = "start [sentence] | end | success | failed | discard | quit"
    with _single_keys() if terminal else _nothing():
        print(HELP if terminal else words, flush=True)
        while not session.finished:
            line = _key(session) if terminal else _line()
            if line is None:
                break
            for shown in session.do(line) if line else []:
                print(shown, flush=True)
    for shown in session.do("quit"):
        print(shown, flush=True)
    return 0


def _line() -> str | None:
    text = sys.stdin.readline()
    return text.strip() if text else None


def _key(session: RecordSession) -> str | None:
    """Word of the next key; empty: none was pressed or it has no meaning; None: no terminal any more.

    Keys are read one by one from the system: what Python's own buffer holds, ``select`` does not see.
    """
    ready, _, _ = select.select([sys.stdin], [], [], _TURN)
    status = session.status()
    if status and sys.stdout.isatty():
        print(f"\r{status}\033[K", end="\n" if ready else "", flush=True)
    if not ready:
        return ""
    try:
        key = os.read(sys.stdin.fileno(), 1)
    except OSError:  # the terminal has hung up
        return None
    if not key:
        return None
    word = KEYS.get(key.decode("ascii", errors="ignore"), "")
    if word == "instruction":
        return f"instruction {_ask('instruction: ')}"
    return word


def _ask(question: str) -> str:
    import termios

    number = sys.stdin.fileno()
    raw = termios.tcgetattr(number)
    plain = termios.tcgetattr(number)
    plain[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(number, termios.TCSADRAIN, plain)
    try:
        return input(question)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, raw)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys without Return, as long as it lasts; Ctrl-C still interrupts."""
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number, termios.TCSADRAIN)  # what was typed already counts
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
