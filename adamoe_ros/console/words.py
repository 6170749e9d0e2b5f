# SPDX-License-Identifier: Apache-2.0
"""Causes and results in words: what has happened, and what a person does about it."""

from __future__ import annotations

# hold_cause -> (what it means, what to do); reasons of MotionCommand appear in snake case, too
_CAUSES: dict[str, tuple[str, str]] = {
    "not_started": ("No goal since the start", "Write an instruction and start it"),
    "no_goal": ("The policy waits for a goal", "Write an instruction and start it"),
    "reset": ("The stop was reset", "Start the next goal when the cell is clear"),
    "emergency_stop": (
        "The emergency stop is latched; nothing is commanded",
        "Make the cell safe, let every stop button out, then reset",
    ),
    "cancelled": ("The goal was cancelled", "Start the next goal"),
    "preempted": ("Another goal took over", "Wait for it, or cancel it"),
    "succeeded": ("The task was done", "Start the next goal"),
    "duration_reached": ("The goal's time is over", "Start the goal again, or give it more time"),
    "deactivated": ("A node was deactivated", "Activate it, then start the goal again"),
    "conflict": ("Another node has a hand in these arms", "Stop the other node, then start again"),
    "state_stale": ("The joint states have stopped", "Look at the driver and its cable"),
    "policy_lost": ("The policy is silent", "Wait for policy_node to come back, then start again"),
    "tracking_error": ("The arms do not follow their commands", "Look for a collision or a brake"),
    "no_chunk": ("Waits for the first chunk", "Nothing: it goes on by itself"),
    "clock_jump": ("The clock went back", "Nothing: it goes on with the next chunk"),
    "chunk_exhausted": ("The policy is late with its next chunk", "Look at the latency below"),
    "chunk_lost": ("No new chunk comes", "Look at policy_node in the diagnostics"),
    "rejected_chunks": (
        "Control refuses the policy's chunks",
        "Read the last events for the reason",
    ),
    "input_lost": ("A camera or joint state is lost", "Look at the inputs, then start again"),
    "inputs_late": ("Cameras or joint states are late", "Nothing: it goes on when they are back"),
    "policy_failed": ("The policy failed", "Read the last events, then start again"),
    "link_lost": ("The policy's server does not answer", "Look at network and server"),
    "leader_stale": ("The leader arm is silent", "Look at its driver; it goes on when it is back"),
    "leader_far": ("The leader arm is far from the robot", "Move the leader to the robot's pose"),
    "takeover": ("Back to the policy", "Nothing: it goes on with the policy's next chunk"),
    "takeover_released": ("Your takeover has ended", "Give the arms back, or start a goal"),
    "deadman_lost": ("The dead-man switch is silent", "Look at it, then give the arms back"),
}
# ExecuteInstruction.Result.code -> words
RESULTS: dict[int, str] = {
    0: "done: the task was judged a success",
    1: "the time was over",
    100: "not started: a node is not active",
    101: "not started: the instruction does not fit",
    102: "not started: another goal runs",
    103: "not started: a camera or joint state is missing",
    200: "ended: a camera or joint state was lost",
    201: "ended: the policy failed",
    202: "ended: control does not follow the policy",
    203: "ended: a node was deactivated",
    204: "ended: two policies work for one robot",
    300: "cancelled",
    301: "another goal took over",
    302: "ended by the stop",
}
PHASES: dict[str, str] = {
    "waiting_inputs": "waits for cameras and joint states",
    "idle": "ready for a goal",
    "executing": "works on the goal",
    "holding": "has a goal and holds",
    "taken_over": "a person leads the arms; the goal waits",
}


def cause_words(cause: str, advice: str = "") -> tuple[str, str]:
    """What a hold cause means and what to do.

    Args:
        cause: of ``ControlStatus``; one that is not known is shown as it is.
        advice: what the node itself says one should do; empty: nothing.
    """
    meaning, do = _CAUSES.get(cause, (cause.replace("_", " ").capitalize(), ""))
    if cause in _CAUSES or not advice:
        return meaning, do or "Start the next goal"
    return meaning, advice


def result_words(code: int, message: str) -> str:
    """How a goal ended, in one line."""
    words = RESULTS.get(code, f"result {code}")
    return f"{words} ({message})" if message and message.lower() not in words else words


def duration(seconds: float) -> str:
    """``1:05`` or ``12.3 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
