# SPDX-License-Identifier: Apache-2.0
"""Time alignment: newest consistent set, interpolation, clocks, and what is said when it fails."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from streams_support import MS, SECOND, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.streams.align import Aligner, AlignSettings
from adamoe_ros.streams.buffer import Verdict

T0 = 100 * SECOND
CAMS = ("cam_high", "cam_left_wrist")


def picture(value: int) -> np.ndarray:
    return np.full((6, 8, 3), value, np.uint8)


def state(aligner: Aligner, at_ms: float, value: float, delay_ms: float = 1.0) -> None:
    """All state topics at once: every joint has this value."""
    stamp = T0 + round(at_ms * MS)
    arrival = stamp + round(delay_ms * MS)
    for topic, width in (("left/joint_states", 2), ("left/hand", 1), ("right/joint_states", 3)):
        aligner.push_state(topic, stamp, np.full(width, value), arrival)


def frame(
    aligner: Aligner, slot: str, at_ms: float, value: int = 0, delay_ms: float = 8
) -> Verdict:
    stamp = T0 + round(at_ms * MS)
    return aligner.push_image(slot, stamp, picture(value), stamp + round(delay_ms * MS))


def filled() -> Aligner:
    """States every 10 ms with value = ms, both cameras every 40 ms."""
    aligner = Aligner(robot())
    for at in range(0, 210, 10):
        state(aligner, at, float(at))
    for at in range(0, 200, 40):
        for slot in CAMS:
            frame(aligner, slot, at, at)
    return aligner


def test_newest_set_of_equal_stamps() -> None:
    observation = filled().observation("lift")
    assert observation is not None
    assert observation.stamp_ns == T0 + 160 * MS
    assert list(observation.images) == list(CAMS)  # the absent slot has no entry
    assert all(image[0, 0, 0] == 160 for image in observation.images.values())
    np.testing.assert_array_equal(observation.state, np.full(6, 160.0))
    assert observation.skew_s == 0 and observation.instruction == "lift"


def test_a_set_waits_for_the_camera_that_is_behind() -> None:
    """One camera has its next frame, the other not yet: images of one moment belong together."""
    aligner = filled()
    frame(aligner, "cam_high", 200, 200)
    observation = aligner.observation()
    assert observation is not None and observation.stamp_ns == T0 + 160 * MS
    assert observation.images["cam_high"][0, 0, 0] == 160
    frame(aligner, "cam_left_wrist", 200, 200)
    observation = aligner.observation()
    assert observation is not None and observation.stamp_ns == T0 + 200 * MS


def test_unsynchronised_cameras_take_the_nearest_within_tolerance() -> None:
    aligner = Aligner(robot())
    for at in range(0, 300, 10):
        state(aligner, at, at)
    for at in range(0, 200, 40):
        frame(aligner, "cam_high", at, at)
        frame(aligner, "cam_left_wrist", at + 15, at)
    observation = aligner.observation()
    assert observation is not None
    assert observation.stamp_ns == T0 + 160 * MS
    assert observation.image_stamps_ns["cam_left_wrist"] == T0 + 175 * MS
    assert observation.skew_s == pytest.approx(0.015)


def test_a_camera_beyond_its_tolerance_is_missing() -> None:
    aligner = Aligner(robot())
    state(aligner, 0, 0.0)
    frame(aligner, "cam_high", 0)
    frame(aligner, "cam_left_wrist", 31)  # tolerance 30 ms
    assert aligner.observation() is None
    assert aligner.missing(T0 + 40 * MS) == ["cam_high (behind the others by 0.03 s)"]
    other = Aligner(robot(), slots=(*CAMS,))
    state(other, 0, 0.0)
    frame(other, "cam_left_wrist", 0)
    frame(other, "cam_high", 31)
    assert other.missing(T0 + 40 * MS) == ["cam_left_wrist (behind the others by 0.03 s)"]


def test_state_is_interpolated_to_the_image_by_each_topics_stamps() -> None:
    aligner = Aligner(robot())
    for at, value in ((0, 0.0), (20, 2.0), (40, 4.0)):
        arrival = T0 + 50 * MS
        aligner.push_state("left/joint_states", T0 + at * MS, np.full(2, value), arrival)
        aligner.push_state("left/hand", T0 + (at + 5) * MS, np.full(1, value), arrival)
        aligner.push_state("right/joint_states", T0 + at * MS, np.full(3, -value), arrival)
    for slot in CAMS:
        frame(aligner, slot, 30)
    observation = aligner.observation()
    assert observation is not None
    np.testing.assert_allclose(observation.state, [3, 3, 2.5, -3, -3, -3])
    assert observation.state_stamp_ns == T0 + 45 * MS


def test_states_behind_the_image_serve_only_within_the_tolerance() -> None:
    for behind, served in ((40, True), (60, False)):
        aligner = Aligner(robot())
        state(aligner, 0, 7.0)
        for slot in CAMS:
            frame(aligner, slot, behind)
        observation = aligner.observation()
        assert (observation is not None) == served
        if observation:
            np.testing.assert_array_equal(observation.state, np.full(6, 7.0))
        else:
            assert "no joint state at the image's time" in aligner.missing(T0 + behind * MS)[0]


def test_a_hole_in_the_states_is_not_bridged() -> None:
    aligner = Aligner(robot())
    state(aligner, 0, 0.0)
    state(aligner, 600, 6.0)
    for slot in CAMS:
        frame(aligner, slot, 300)
    assert aligner.observation() is None


def test_conversion_to_the_model_happens_here_once() -> None:
    aligner = Aligner(robot(), to_model=lambda vector: vector * 2 + 1)
    state(aligner, 0, 3.0)
    for slot in CAMS:
        frame(aligner, slot, 0)
    observation = aligner.observation()
    assert observation is not None
    np.testing.assert_array_equal(observation.state, np.full(6, 7.0))


def test_slots_come_in_the_checkpoints_order() -> None:
    slots = ("cam_right_wrist", "cam_left_wrist", "cam_high")
    assert Aligner(robot(), slots).slots == ("cam_left_wrist", "cam_high")


def test_slots_unknown_to_the_profile_are_all_named() -> None:
    with pytest.raises(ContractError) as caught:
        Aligner(robot(), ("cam_high", "cam_low", "cam_back"))
    assert len(caught.value.problems) == 2
    with pytest.raises(ContractError, match="at least one"):
        Aligner(robot(), ("cam_right_wrist",))


def test_nothing_yet_names_every_input() -> None:
    aligner = Aligner(robot())
    assert aligner.observation() is None
    assert aligner.missing(T0) == [*CAMS, "left/joint_states", "left/hand", "right/joint_states"]


def test_silent_inputs_are_named_with_their_age() -> None:
    aligner = filled()
    assert aligner.missing(T0 + 210 * MS) == []
    lines = aligner.missing(T0 + 480 * MS)
    assert (
        "cam_high (silent for 0.3 s)" in lines and "right/joint_states (silent for 0.3 s)" in lines
    )
    assert not any(line.startswith("left/hand") for line in lines)  # its time-out is 0.5 s


def test_duplicates_and_late_frames_are_counted_and_not_used() -> None:
    aligner = filled()
    assert frame(aligner, "cam_high", 160, 99) is Verdict.DUPLICATE
    assert frame(aligner, "cam_high", 100, 99) is Verdict.OUT_OF_ORDER
    observation = aligner.observation()
    assert observation is not None and observation.images["cam_high"][0, 0, 0] == 160
    health = aligner.health(T0 + 200 * MS)[0]
    assert (health.received, health.duplicates, health.out_of_order) == (7, 1, 1)


def test_bag_loop_clears_everything_and_says_so() -> None:
    """Stamps and the clock both go back: what was before cannot be mixed with what comes."""
    aligner = filled()
    back = -50 * SECOND // MS
    frame(aligner, "cam_high", back, 1)
    assert aligner.observation() is None
    (event,) = aligner.take_events()
    assert "went back by" in event and aligner.take_events() == []
    state(aligner, back, 5.0)
    frame(aligner, "cam_left_wrist", back, 1)
    observation = aligner.observation()
    assert observation is not None and observation.stamp_ns == T0 - 50 * SECOND


def test_one_driver_whose_clock_goes_back_clears_the_others() -> None:
    aligner = filled()
    stamp = T0 - 400 * MS
    verdict = aligner.push_image("cam_high", stamp, picture(1), T0 + 200 * MS)
    assert verdict is Verdict.JUMPED_BACK
    assert len(aligner.take_events()) == 1 and aligner.observation() is None


def test_stamps_of_another_clock_are_refused_and_explained() -> None:
    aligner = filled()
    stamp = T0 + 37 * SECOND
    assert aligner.push_image("cam_high", stamp, picture(1), T0 + 210 * MS) is Verdict.OTHER_CLOCK
    (line,) = aligner.missing(T0 + 210 * MS)
    assert (
        line.startswith("cam_high (stamps are 36.8 s ahead of their arrival")
        and "use_sim_time" in line
    )
    assert frame(aligner, "cam_high", 205, 1, delay_ms=6) is Verdict.KEPT
    assert aligner.missing(T0 + 211 * MS) == []


def test_empty_stamps_are_the_arrival() -> None:
    aligner = Aligner(robot())
    state(aligner, 0, 1.0)
    for slot in CAMS:
        aligner.push_image(slot, 0, picture(1), T0 + 5 * MS)
    observation = aligner.observation()
    assert observation is not None and observation.stamp_ns == T0 + 5 * MS


def test_sensors_that_stamp_at_receipt_are_found_out() -> None:
    aligner = Aligner(robot())
    for at in range(0, 4000, 40):
        frame(aligner, "cam_high", at, delay_ms=0.3)
        frame(aligner, "cam_left_wrist", at, delay_ms=9)
    high, left = aligner.health(T0 + 4 * SECOND)[:2]
    assert high.stamps_at_receipt and not left.stamps_at_receipt
    assert left.delay_s == pytest.approx(0.009)


def test_health_measures_rate_age_gap_and_skew() -> None:
    aligner = filled()
    frame(aligner, "cam_high", 400)
    frame(aligner, "cam_left_wrist", 410)
    state(aligner, 400, 0.0)
    aligner.observation()
    high, left = aligner.health(T0 + 450 * MS)[:2]
    assert high.rate_hz == pytest.approx(25) and high.age_s == pytest.approx(0.05)
    assert high.longest_gap_s == pytest.approx(0.24)
    assert left.skew_s == pytest.approx(0.01)


def test_buffers_are_bounded_and_unused_frames_counted() -> None:
    aligner = Aligner(robot())
    for at in range(0, 4000, 40):
        state(aligner, at, 0.0)
        for slot in CAMS:
            frame(aligner, slot, at)
        if at % 400 == 0:
            assert aligner.observation() is not None
    assert all(len(buffer.items) <= 8 for buffer in aligner._cameras.values())
    health = aligner.health(T0 + 4 * SECOND)
    assert health[0].unused == 100 - 10 - 8  # all but the used ones and those still kept
    assert aligner.unused_frames == 2 * health[0].unused


def test_the_same_recording_gives_the_same_observations_whatever_the_arrival_order() -> None:
    """Arrival order within a few ms must not change what is seen at the end."""
    results = []
    for seed in range(5):
        aligner = Aligner(robot())
        for at in range(0, 110, 10):
            state(aligner, at, at)
        rng = np.random.default_rng(seed)
        for at in (0, 40, 80):
            for slot in rng.permutation(CAMS):
                frame(aligner, str(slot), at, at)
        observation = aligner.observation()
        assert observation is not None
        results.append((observation.stamp_ns, observation.state.tolist()))
    assert all(result == results[0] for result in results)


# --- live: pictures that overtake their joint states ---------------------------------------------


def overtaken(states_until: float, frames_until: float) -> Aligner:
    """States every 10 ms, frames of both cameras every 40 ms, each until its own time."""
    aligner = Aligner(robot())
    for at in np.arange(0, states_until + 1, 10):
        state(aligner, float(at), float(at))
    for at in np.arange(0, frames_until + 1, 40):
        for slot in CAMS:
            frame(aligner, slot, float(at), int(at))
    return aligner


def ready_ms(aligner: Aligner) -> float | None:
    return None if aligner.ready_ns is None else (aligner.ready_ns - T0) / MS


def test_a_picture_waits_for_the_joint_state_of_its_moment() -> None:
    aligner = overtaken(150, 160)
    assert not aligner.state_complete
    assert ready_ms(aligner) == 120
    observation = aligner.observation("", aligner.ready_ns)
    assert observation is not None
    assert observation.image_stamps_ns == dict.fromkeys(CAMS, T0 + 120 * MS)
    np.testing.assert_array_equal(observation.state, np.full(6, 120.0))
    state(aligner, 160, 160.0)
    assert ready_ms(aligner) == 160


def test_what_is_ready_does_not_change_any_more() -> None:
    """The same set as the bag gives, where the joint states came in time."""
    early, late = overtaken(150, 160), overtaken(150, 120)
    for aligner in (early, late):
        frame(aligner, CAMS[0], 165, 7)
    one = early.observation("", early.ready_ns)
    other = late.observation()
    assert one is not None and other is not None
    assert one.image_stamps_ns == other.image_stamps_ns
    np.testing.assert_array_equal(one.state, other.state)


def test_the_wait_for_joint_states_is_bounded() -> None:
    aligner = overtaken(110, 120)
    assert ready_ms(aligner) == 80
    for at in (160, 200):  # states that come 40 ms late, always
        state(aligner, at - 40, 0.0)
        for slot in CAMS:
            frame(aligner, slot, at)
    assert ready_ms(aligner) == 160
    slow = AlignSettings(state_wait_s=0.03)
    aligner = Aligner(robot(), settings=slow)
    state(aligner, 0, 0.0)
    for slot in CAMS:
        frame(aligner, slot, 0)
    assert ready_ms(aligner) == 0
    for slot in CAMS:
        frame(aligner, slot, 40)
    assert ready_ms(aligner) == 40  # the state of 0 ms is within the tolerance
    assert aligner.observation("", aligner.ready_ns) is not None
    for slot in CAMS:
        frame(aligner, slot, 80)
    assert ready_ms(aligner) == 40  # and that of 80 ms is not: the last given one stays


def test_nothing_is_ready_while_the_first_joint_state_is_on_its_way() -> None:
    aligner = Aligner(robot())
    for slot in CAMS:
        frame(aligner, slot, 15)
    assert aligner.ready_ns is None
    state(aligner, 10, 1.0)
    assert aligner.ready_ns is None
    assert aligner.missing(T0 + 20 * MS) == []  # it will come
    state(aligner, 20, 2.0)
    assert ready_ms(aligner) == 15


def test_observations_never_go_back_in_time() -> None:
    aligner = overtaken(150, 160)
    assert aligner.observation() is not None  # the newest, whatever is missing
    assert ready_ms(aligner) == 160


def test_a_broken_picture_takes_its_set_with_it() -> None:
    aligner = overtaken(200, 160)
    assert ready_ms(aligner) == 160
    aligner.drop_image(CAMS[0], T0 + 160 * MS)
    assert ready_ms(aligner) == 120
    observation = aligner.observation("", aligner.ready_ns)
    assert observation is not None
    assert observation.image_stamps_ns == dict.fromkeys(CAMS, T0 + 120 * MS)


def test_a_jump_of_the_clock_forgets_what_was_ready() -> None:
    aligner = overtaken(200, 160)
    assert aligner.observation("", aligner.ready_ns) is not None
    for slot in CAMS:
        frame(aligner, slot, -5000)
    assert aligner.ready_ns is None
    for at in (-5010, -5000, -4990):
        state(aligner, at, 3.0)
    assert ready_ms(aligner) == -5000


def test_the_camera_that_stopped_is_named_and_not_those_that_go_on() -> None:
    aligner = overtaken(190, 160)
    for at in range(200, 700, 40):
        state(aligner, at, 0.0)
        frame(aligner, CAMS[1], at)
    (line,) = aligner.missing(T0 + 700 * MS)
    assert line.startswith("cam_high (")
    (line,) = aligner._inconsistent(T0 + 160 * MS)
    assert line.startswith("cam_high (behind the others by 0.")


def test_pictures_are_freed_with_the_aligner_that_had_them() -> None:
    """Not when the garbage collector comes: a cycle would keep 20 MB a bag until then."""
    gc.disable()
    try:
        aligner, image = Aligner(robot()), picture(1)
        held = weakref.ref(image)
        aligner.push_image(CAMS[0], T0, image, T0)
        del aligner, image
        assert held() is None
    finally:
        gc.enable()
