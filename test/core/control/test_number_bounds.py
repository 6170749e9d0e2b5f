# SPDX-License-Identifier: Apache-2.0
"""Whatever numbers come in, the core stays active, tells why it refuses, and its status is sane."""

from __future__ import annotations

from typing import Any

import numpy as np
from control_support import HOME, PERIOD, SECOND, START, Driven, J, chunk, examples, ramp
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.control.status import Mode
from adamoe_ros.control.strategies import STRATEGIES

INT64 = 2**63
ANY_FLOAT = st.one_of(
    st.floats(width=64),
    st.sampled_from(
        [1e300, -1e300, 1e-300, 5e-324, float("nan"), float("inf"), -float("inf"), 0.0]
    ),
)
PLAUSIBLE_DT = st.sampled_from([0.001, 0.02, 0.1, 10.0])
STAMPS = st.one_of(  # what builtin_interfaces/Time can say, ns
    st.integers(-(2**31) * SECOND, (2**31 - 1) * SECOND + 2**32 - 1),
    st.integers(START - SECOND, START + SECOND),
)
UINT64 = st.one_of(st.integers(0, 2**64 - 1), st.integers(1, 9))
UINT32 = st.integers(0, 2**32 - 1)


@st.composite
def chunks(draw: Any) -> ActionChunk:
    """Of the generation that may run: positions plausible or not, every other number any."""
    rows = draw(st.integers(0, 12))
    positions = ramp(rows, 0.1)
    if rows and draw(st.booleans()):
        positions[draw(st.integers(0, rows - 1)), draw(st.integers(0, J - 1))] = draw(ANY_FLOAT)
    made = chunk(positions, draw(STAMPS), draw(UINT64), dt_s=draw(ANY_FLOAT | PLAUSIBLE_DT))
    text = draw(st.sampled_from(["", "lift", "x" * 100_000]))
    return ActionChunk(
        made.stamp_ns,
        made.chunk_id,
        made.generation,
        made.joint_names,
        made.dt_s,
        made.positions,
        committed_rows=draw(UINT32 | st.just(0)),
        instruction=text,
    )


def assert_sane(driven: Driven) -> None:
    """The status fits its message, and nothing in it is a leftover of an absurd number."""
    status = driven.core.status(driven.now)
    for name in ("ticks", "holds", "accepted_chunks", "rejected_chunks", "late_chunks", "chunk_id"):
        assert 0 <= getattr(status, name) < INT64, name
    for name in ("seams", "repeated_rows", "skipped_rows", "workspace_clips"):
        assert 0 <= getattr(status, name) < INT64, name
    assert -1 <= status.row < 1000
    assert -1.0 <= status.command_age <= 130.0
    for name in ("state_age", "chunk_age", "policy_age", "hold_share"):
        assert -1.0 <= getattr(status, name) < 1e4, name
    for name in ("commanded", "measured", "seam_position_jump", "seam_velocity_jump", "seam_jerk"):
        assert np.isfinite(getattr(status, name)).all(), name
    assert len(status.hold_cause) <= 80


@examples(quick=300, full=20_000)
@given(
    strategy=st.sampled_from(sorted(STRATEGIES)),
    smoothing=st.sampled_from([0.0, 0.2]),
    given_chunks=st.lists(chunks(), min_size=1, max_size=6),
)
def test_chunks_of_any_numbers(
    strategy: str, smoothing: float, given_chunks: list[ActionChunk]
) -> None:
    driven = Driven(strategy=strategy, smoothing=smoothing)
    driven.ticks(2)
    for number, made in enumerate(given_chunks):
        driven.core.on_run(number)
        driven.core.on_run(1)
        verdict = driven.core.on_chunk(made, driven.now)
        assert verdict.accepted or verdict.reason
        assert len(verdict.reason) < 600
        assert "\n" not in verdict.reason
        assert driven.ticks(3)[-1].mode is not Mode.INACTIVE
        assert_sane(driven)


@examples(quick=200, full=20_000)
@given(
    stamp=STAMPS,
    values=st.lists(ANY_FLOAT, min_size=J, max_size=J),
    until=st.none() | STAMPS,
    generation=UINT32,
    reason=st.text(max_size=300),
)
def test_states_and_motion_commands_of_any_numbers(
    stamp: int, values: list[float], until: int | None, generation: int, reason: str
) -> None:
    driven = Driven()
    driven.ticks(2)
    refused = driven.core.on_state(stamp, np.array(values), until)
    if not np.isfinite(values).all():
        assert refused
    assert len(refused) < 600
    driven.core.on_run(generation)
    driven.core.on_chunk(chunk(ramp(9, 0.1), driven.now, 1, generation), driven.now)
    driven.now += PERIOD
    assert driven.core.tick(driven.now).mode is not Mode.INACTIVE
    driven.core.on_hold(reason)
    driven.now += PERIOD
    assert driven.core.tick(driven.now).mode is Mode.HOLD
    assert_sane(driven)
    driven.core.on_state(driven.now, HOME)
