# SPDX-License-Identifier: Apache-2.0
"""Condition of cameras and joint states as one diagnostic: level, words with what to do, figures."""

from __future__ import annotations

from dataclasses import replace

from adamoe_ros.ros.diagnostics import Level
from adamoe_ros.ros.policy.input_diagnostics import inputs_diagnostic
from adamoe_ros.streams.buffer import StreamHealth

GOOD = StreamHealth(
    name="cam_high",
    rate_hz=29.7,
    age_s=0.02,
    longest_gap_s=0.04,
    delay_s=0.015,
    received=100,
    duplicates=1,
    out_of_order=2,
    other_clock=3,
    jumps=1,
    unused=60,
    skew_s=0.001,
    stamps_at_receipt=False,
    clock_offset_s=0.0,
    clock_difference="",
)
DECLARED = {"cam_high": 30.0}


def test_live_inputs_are_ok_and_have_their_figures() -> None:
    diagnostic = inputs_diagnostic([], [GOOD], DECLARED)
    assert (diagnostic.level, diagnostic.message) == (Level.OK, "all live")
    assert diagnostic.values["cam_high rate (Hz)"] == 29.7
    assert diagnostic.values["cam_high age (s)"] == 0.02
    assert diagnostic.values["cam_high refused for their stamp"] == 6
    assert diagnostic.values["cam_high clock jumps"] == 1


def test_missing_inputs_are_an_error_and_say_what_to_do() -> None:
    diagnostic = inputs_diagnostic(
        ["cam_high (silent for 2.0 s)"], [replace(GOOD, age_s=2.0)], DECLARED
    )
    assert diagnostic.level is Level.ERROR
    assert diagnostic.message.startswith("missing: cam_high (silent for 2.0 s); start its driver")


def test_a_slow_camera_is_a_warning() -> None:
    diagnostic = inputs_diagnostic([], [replace(GOOD, rate_hz=14.6)], DECLARED)
    assert diagnostic.level is Level.WARN
    assert diagnostic.message.startswith("slow: cam_high 15 Hz of 30; look at the driver's rate")


def test_streams_without_a_promise_and_without_a_rate_yet_are_not_slow() -> None:
    states = replace(GOOD, name="joint_states", rate_hz=5.0)
    new = replace(GOOD, rate_hz=0.0)
    assert inputs_diagnostic([], [new, states], DECLARED).level is Level.OK


def test_stamps_set_on_receipt_are_told() -> None:
    diagnostic = inputs_diagnostic([], [replace(GOOD, stamps_at_receipt=True)], DECLARED)
    assert diagnostic.level is Level.OK
    assert "delays are hidden: cam_high" in diagnostic.message


def test_a_clock_that_differs_is_a_warning() -> None:
    line = "the clock of the driver of cam_high is 0.21 s ahead of this computer's: synchronise"
    diagnostic = inputs_diagnostic([], [replace(GOOD, clock_difference=line)], DECLARED)
    assert (diagnostic.level, diagnostic.message) == (Level.WARN, line)
