# SPDX-License-Identifier: Apache-2.0
"""What is known of one robot, and the snapshot of it that the page draws.

Messages are read duck-typed. Fed by ROS threads, read by the server's: one lock.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamoe_ros.console.page_leader import PageLeader
from adamoe_ros.console.words import PHASES, cause_words, duration, result_words
from adamoe_ros.contract.profile import RobotProfile

EVENTS = 100
SENTENCES = 20
_SILENT_S = 2.0  # s without a status until a node counts as lost
_CLIPS = ("position", "velocity", "acceleration", "step")
_MODES = ("inactive", "hold", "running", "estop")
_SOURCES = ("none", "policy", "human")
_LEVELS = ("ok", "warn", "error", "stale")
_FORGOTTEN_S = 10.0
_CLIP_PAUSE_S = 10.0  # s between two events about the same limit of the same joint


@dataclass(frozen=True)
class PageEvent:
    """One line of the log.

    Attributes:
        number: counts up from 1.
        time: s since the epoch.
        level: info, warn, error or person.
    """

    number: int
    time: float
    level: str
    text: str


class RobotView:
    """One robot as the page shows it.

    Args:
        namespace: of its nodes; empty for none.
        profile: of the robot.
        advice: hold cause -> what to do, as the nodes say it.
        sentences: that the policy was trained on; offered to people.
        tasks: of the simulator, where there is one.
        clock: monotonic s.

    Attributes:
        leader: of the page, where the profile lets it lead.
    """

    def __init__(
        self,
        namespace: str,
        profile: RobotProfile,
        advice: Callable[[str], str] = lambda cause: "",
        sentences: Sequence[str] = (),
        tasks: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.namespace, self.profile = namespace, profile
        self._advice, self._clock = advice, clock
        self._sentences, self._tasks = tuple(sentences), tuple(tasks)
        self.model_pictures = False
        leads = profile.teleop is not None and profile.teleop.console
        self.leader = PageLeader(profile, clock) if leads else None
        self._lock = threading.RLock()
        self._numbers = 0
        self._events: deque[PageEvent] = deque(maxlen=EVENTS)
        self._history: deque[str] = deque(maxlen=SENTENCES)
        self._heard: dict[str, float] = {}
        self._lost: set[str] = set()
        self._control: Any = None
        self._policy: Any = None
        self._task: Any = None
        self._clips: dict[tuple[str, str], tuple[int, float]] = {}
        self._goal: dict[str, Any] = {"running": False}
        self._diagnostics: dict[str, dict[str, Any]] = {}
        self._speed_scale: float | None = None
        self._buttons: set[str] = set()
        self._limits = [limit.position for _, arm in profile.ordered_arms for limit in arm.limits]
        self._picture_rates: dict[str, float] = {}

    # --- from the nodes -------------------------------------------------------------------------

    def on_control(self, message: Any) -> None:
        """``ControlStatus``."""
        with self._lock:
            before, self._control = self._control, message
            if self.leader is not None:
                self.leader.arms(message.commanded, getattr(message, "deadman_age", -1.0))
            self._note_heard("control_node")
            if before is None or (before.mode, before.hold_cause) != (
                message.mode,
                message.hold_cause,
            ):
                self._note_mode(message)
            self._note_source(before, message)
            self._note_clips(message)
            if before is not None and message.rejected_chunks > before.rejected_chunks:
                self.note("warn", f"control refused a chunk ({message.rejected_chunks} so far)")

    def on_policy(self, message: Any) -> None:
        """``PolicyStatus``."""
        with self._lock:
            before, self._policy = self._policy, message
            self._note_heard("policy_node")
            phase = None if before is None else before.phase
            if message.phase != phase:
                self.note("info", f"policy: {PHASES.get(message.phase, message.phase)}")
            sentence = message.instruction
            if sentence and (before is None or sentence != before.instruction):
                self._remember(sentence)
            self._follow_goal(message)

    def on_task(self, message: Any) -> None:
        """``TaskStatus``."""
        with self._lock:
            if message.success and not (self._task is not None and self._task.success):
                self.note("info", f"success: {message.instruction}")
            self._task = message

    def on_diagnostic(self, name: str, level: int, message: str, values: Mapping[str, str]) -> None:
        """One status of ``/diagnostics``, its name without the namespace."""
        word = _LEVELS[level if 0 <= level < len(_LEVELS) else 2]
        with self._lock:
            self._diagnostics[name] = {
                "name": name,
                "level": word,
                "message": message,
                "values": dict(values),
                "at": self._clock(),
            }

    def on_log(self, node: str, level: str, text: str) -> None:
        """A line of a node's log that is worse than information."""
        with self._lock:
            self.note(level, f"{node}: {' '.join(text.split())}")

    def on_button(self, who: str, pressed: bool) -> None:
        """A message on ``emergency_stop``.

        Args:
            who: its publisher; the page's own is named by ``ours`` in the snapshot's ``buttons``.
        """
        with self._lock:
            if pressed == (who in self._buttons):
                return
            (self._buttons.add if pressed else self._buttons.discard)(who)
            self.note(
                "error" if pressed else "info", f"stop button {'in' if pressed else 'out'}: {who}"
            )

    def on_speed_scale(self, value: float) -> None:
        """``max_speed_scale`` of control_node."""
        with self._lock:
            if self._speed_scale is not None and value != self._speed_scale:
                self.note("info", f"speed scale {value:.0%}")
            self._speed_scale = value

    def on_picture_rates(self, rates: Mapping[str, float]) -> None:
        """Hz of what is shown, by camera."""
        with self._lock:
            self._picture_rates = dict(rates)

    # --- from people ----------------------------------------------------------------------------

    def note(self, level: str, text: str) -> None:
        """A line for the log."""
        with self._lock:
            self._numbers += 1
            self._events.append(PageEvent(self._numbers, time.time(), level, text))

    def goal_sent(self, sentence: str, limit: float, who: str) -> None:
        """A goal of this page was accepted."""
        with self._lock:
            self._remember(sentence)
            self.note("person", f"{who} started: {sentence}")
            self._begin_goal(sentence, limit)

    def goal_ended(self, code: int, message: str, elapsed: float, chunks: int) -> None:
        """Its result."""
        with self._lock:
            words = result_words(code, message)
            self._goal |= {"running": False, "elapsed": elapsed, "chunks": chunks}
            self._goal |= {"result": words, "code": code}
            level = "info" if code < 100 or code >= 300 else "error"
            self.note(level, f"goal {words}, {duration(elapsed)}, {chunks} chunks")

    def goal_refused(self, sentence: str, why: str) -> None:
        """A goal of this page was not accepted."""
        with self._lock:
            self._goal = {"running": False, "instruction": sentence, "result": why, "code": 100}
            self.note("error", f"goal refused: {why}")

    @property
    def goal_running(self) -> bool:
        """Whether the policy works on a goal, whoever sent it."""
        with self._lock:
            return bool(self._goal["running"])

    @property
    def speed_scale(self) -> float | None:
        """Of control_node; None: not known."""
        with self._lock:
            return self._speed_scale

    @property
    def instruction(self) -> str:
        """The sentence of the running goal; empty: none."""
        with self._lock:
            return str(self._goal.get("instruction", "")) if self._goal["running"] else ""

    # --- for the page ---------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Everything but the events, as JSON can hold it."""
        with self._lock:
            self._notice_silence()
            return {
                "namespace": self.namespace,
                "robot": self.profile.name,
                "description": self.profile.description,
                "control": self._control_part(),
                "policy": self._policy_part(),
                "goal": self._goal_part(),
                "takeover": self._takeover_part(),
                "task": self._task_part(),
                "inputs": self._inputs(),
                "recording": self._recording(),
                "diagnostics": self._diagnostic_rows(),
                "cameras": self._cameras(),
                "history": list(self._history),
                "sentences": list(self._sentences),
                "tasks": list(self._tasks),
                "model_pictures": self.model_pictures,
                "buttons": sorted(self._buttons),
            }

    def events_since(self, number: int) -> list[dict[str, Any]]:
        """Events after a number, oldest first."""
        with self._lock:
            return [vars(event) for event in self._events if event.number > number]

    # --- inside ---------------------------------------------------------------------------------

    def _note_heard(self, node: str) -> None:
        self._heard[node] = self._clock()
        if node in self._lost:
            self._lost.discard(node)
            self.note("info", f"{node} is back")

    def _notice_silence(self) -> None:
        for node in ("control_node", "policy_node"):
            if node not in self._lost and self._age(node) > _SILENT_S and node in self._heard:
                self._lost.add(node)
                self.note("error", f"{node} is silent")

    def _age(self, node: str) -> float:
        """s since a node was heard; infinite: never."""
        return self._clock() - self._heard.get(node, -math.inf)

    def _note_mode(self, message: Any) -> None:
        mode, cause = _MODES[message.mode], message.hold_cause
        if mode == "running" or not cause:
            self.note("info", f"control: {mode}")
            return
        meaning, do = cause_words(cause, self._advice(cause))
        detail = f" ({message.hold_detail})" if message.hold_detail else ""
        level = "error" if mode == "estop" else "warn" if self._advice(cause) else "info"
        self.note(level, f"{'stop' if mode == 'estop' else 'hold'}: {meaning}{detail}. {do}")

    def _note_source(self, before: Any, message: Any) -> None:
        source = getattr(message, "source", 0)
        known = source if before is None else getattr(before, "source", 0)
        if source != known and 2 in (source, known):
            self.note("person", "a person leads the arms" if source == 2 else "a person let go")

    def _note_clips(self, message: Any) -> None:
        now = self._clock()
        for kind in _CLIPS:
            counts = getattr(message, f"{kind}_clips")
            for joint, count in zip(message.joint_names, counts, strict=False):
                known, said = self._clips.get((joint, kind), (0, -_CLIP_PAUSE_S))
                # accelerations are bounded in every motion: that is no news
                news = kind != "acceleration" and now - said >= _CLIP_PAUSE_S
                if count > known and news:
                    self.note("warn", f"{joint}: {kind} limited")
                    said = now
                self._clips[joint, kind] = (int(count), said)

    def _remember(self, sentence: str) -> None:
        if sentence in self._history:
            self._history.remove(sentence)
        self._history.appendleft(sentence)

    def _begin_goal(self, sentence: str, limit: float) -> None:
        chunks = 0 if self._policy is None else int(self._policy.chunks)
        self._goal = {
            "running": True,
            "instruction": sentence,
            "begun": self._clock(),
            "first": chunks,
            "limit": limit,
            "seen": False,
        }

    def _follow_goal(self, message: Any) -> None:
        """Goals of others are told by the phase."""
        busy = message.phase in ("executing", "holding", "taken_over")
        if busy and not self._goal["running"]:
            self._begin_goal(message.instruction, 0.0)
        if not self._goal["running"]:
            return
        if busy:
            self._goal |= {"seen": True, "chunks": int(message.chunks) - self._goal["first"]}
            if message.instruction:
                self._goal["instruction"] = message.instruction
        elif self._goal["seen"]:  # its result, where it was ours, comes on its own way
            elapsed = self._clock() - self._goal["begun"]
            self._goal |= {"running": False, "elapsed": elapsed}

    def _control_part(self) -> dict[str, Any]:
        age = self._age("control_node")
        message = self._control
        if message is None:
            return {"heard": False, "mode": "unknown"}
        meaning, do = ("", "")
        if message.hold_cause:
            meaning, do = cause_words(message.hold_cause, self._advice(message.hold_cause))
        return {
            "heard": age <= _SILENT_S,
            "age": _number(age),
            "mode": _MODES[message.mode],
            "shadow": bool(message.shadow),
            "speed_scale": self._speed_scale,
            "cause": message.hold_cause,
            "meaning": meaning,
            "do": do,
            "detail": message.hold_detail,
            "source": _SOURCES[getattr(message, "source", 0)],
            "takeover": bool(getattr(message, "takeover", False)),
            "ages": self._control_ages(message),
            "rate": _number(message.rate),
            "period": 1.0 / self.profile.command_rate,
            "jitter_p99": _number(message.jitter_p99),
            "missed": int(message.missed_ticks),
            "holds": int(message.holds),
            "hold_share": _number(message.hold_share),
            "accepted": int(message.accepted_chunks),
            "rejected": int(message.rejected_chunks),
            "late": int(message.late_chunks),
            "workspace_clips": int(message.workspace_clips),
            "joints": self._joints(message),
        }

    @staticmethod
    def _control_ages(message: Any) -> dict[str, float | None]:
        names = ("state", "chunk", "policy", "command", "leader", "deadman")
        ages = {name: getattr(message, f"{name}_age", -1.0) for name in names}
        return {name: _number(age) for name, age in ages.items() if age >= 0}

    def _joints(self, message: Any) -> list[dict[str, Any]]:
        rows = []
        for index, name in enumerate(message.joint_names):
            low, high = self._limits[index] if index < len(self._limits) else (None, None)
            counts = {kind: getattr(message, f"{kind}_clips") for kind in _CLIPS}
            rows.append(
                {
                    "name": name,
                    "commanded": _at(message.commanded, index),
                    "measured": _at(message.measured, index),
                    "low": low,
                    "high": high,
                    "clips": {k: int(v[index]) for k, v in counts.items() if index < len(v)},
                }
            )
        return rows

    def _policy_part(self) -> dict[str, Any]:
        message = self._policy
        if message is None:
            return {"heard": False, "phase": "unknown", "words": "not heard yet"}
        stages = zip(
            message.stages,
            message.latency_last,
            message.latency_p50,
            message.latency_p95,
            message.latency_p99,
            strict=False,
        )
        return {
            "heard": self._age("policy_node") <= _SILENT_S,
            "age": _number(self._age("policy_node")),
            "state": message.state,
            "phase": message.phase,
            "words": PHASES.get(message.phase, message.phase),
            "instruction": message.instruction,
            "chunks": int(message.chunks),
            "missing": message.missing,
            "observation_age": _number(message.observation_age),
            "device": message.device,
            "memory": _number(message.peak_memory),
            "stages": [[name, *map(_number, figures)] for name, *figures in stages],
            "experts": [
                {"layer": int(load.layer), "selected": [_number(v) for v in load.selected]}
                for load in message.experts
            ],
        }

    def _goal_part(self) -> dict[str, Any]:
        goal = {k: v for k, v in self._goal.items() if k not in ("begun", "first", "seen")}
        if goal["running"]:
            goal["elapsed"] = self._clock() - self._goal["begun"]
        return goal

    def _takeover_part(self) -> dict[str, Any] | None:
        """Who may lead by hand; None: nobody, by the profile."""
        if self.profile.teleop is None:
            return None
        leader = self.leader
        page = {"joints": leader.joints, "by": leader.by, "held": leader.held} if leader else None
        return {"arms": list(self.profile.teleop.arms), "page": page}

    def _task_part(self) -> dict[str, Any] | None:
        message = self._task
        if message is None:
            return None
        names = ("task", "instruction", "success", "ever_success", "elapsed")
        return {name: getattr(message, name) for name in names} | {"seed": int(message.seed)}

    def _inputs(self) -> list[dict[str, Any]]:
        """Streams of policy_node's diagnostics: rate, age, delay."""
        part = self._diagnostics.get("policy_node: inputs")
        if part is None:
            return []
        since = self._clock() - part["at"]
        rows: dict[str, dict[str, Any]] = {}
        for key, value in part["values"].items():
            for word, name in (
                (" rate (Hz)", "rate"),
                (" age (s)", "age"),
                (" delay (s)", "delay"),
            ):
                if key.endswith(word):
                    row = rows.setdefault(key.removesuffix(word), {"name": key.removesuffix(word)})
                    row[name] = _number(_as_float(value))
        return [row | {"since": since} for row in rows.values()]

    def _recording(self) -> dict[str, Any]:
        part = self._diagnostics.get("recorder_node: recording")
        if part is None or self._clock() - part["at"] > 2 * _SILENT_S:
            return {"there": False}
        return {"there": True, "level": part["level"], "message": part["message"], **part["values"]}

    def _diagnostic_rows(self) -> list[dict[str, Any]]:
        now, rows = self._clock(), []
        for part in self._diagnostics.values():
            if now - part["at"] > _FORGOTTEN_S:  # a part that a node no longer speaks of
                continue
            row = {name: part[name] for name in ("name", "level", "message")}
            rows.append(row | {"age": round(now - part["at"], 1)})
        return rows

    def _cameras(self) -> list[dict[str, Any]]:
        return [
            {
                "slot": slot,
                "width": c.width,
                "height": c.height,
                "rate": self._picture_rates.get(slot),
            }
            for slot, c in self.profile.present_cameras.items()
        ]


def _number(value: Any) -> float | None:
    """As JSON can hold it, with five digits."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _at(values: Sequence[float], index: int) -> float | None:
    return _number(values[index]) if index < len(values) else None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
