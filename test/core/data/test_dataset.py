# SPDX-License-Identifier: Apache-2.0
"""Bags to LeRobot datasets: round trip, both versions field by field, many bags, resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from bag_support import START, motion, pose, simulated_robot, write_mcap

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import known_profiles, load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics
from adamoe_ros.contract.workers import Workers
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, Outcome, convert_bags, staged_folder
from adamoe_ros.data.episode_info import EpisodeInfo
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import ACTION, STATE
from adamoe_ros.data.to_bag import episode_to_bag
from adamoe_ros.data.units import units_for

PROFILE = simulated_robot(type="compressed")


def bags(folder: Path, count: int = 2, seconds: float = 1.2) -> list[Path]:
    return [
        write_mcap(
            folder / f"episode_{i}", motion(PROFILE, seconds + 0.4 * i, instruction=f"task {i}")
        )
        for i in range(count)
    ]


def convert(paths: list[Path], out: Path, gripper: str = "driver", **how: Any) -> Outcome:
    version, workers = how.pop("version", "v3.0"), how.pop("workers", Workers())
    units = units_for(PROFILE, None, gripper)
    settings = ConvertSettings(**{"fps": 25, **how})
    job = ConversionJob(paths, out, PROFILE, units, settings, version, workers)
    return convert_bags(job, lambda bag, facts, lines: None)


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
@pytest.mark.parametrize("lossless", [True, False])
def test_round_trip(tmp_path: Path, version: str, lossless: bool) -> None:
    """Joint values, stamps and sentence exact; pictures exact, or within the stated loss."""
    from test_observations import observations

    paths = bags(tmp_path / "bags")
    outcome = convert(
        paths, tmp_path / "out", version=version, lossless=lossless, precision="float64"
    )
    assert outcome.totals is not None and outcome.totals.frames == 30 + 40
    dataset = Dataset(tmp_path / "out")
    for number, entry in enumerate(dataset.episodes):
        expected, _ = observations(paths[number], PROFILE)
        found = list(dataset.observations(entry))
        assert len(found) == len(expected)
        loss = dataset.ours["episodes"][number]["codec_loss"]
        for (observation, action), original in zip(found, expected, strict=True):
            assert np.array_equal(observation.state, original.state)
            assert observation.stamp_ns == original.stamp_ns
            assert observation.state_stamp_ns == original.state_stamp_ns
            assert observation.image_stamps_ns == original.image_stamps_ns
            assert observation.instruction == f"task {number}"
            time_s = (original.stamp_ns - START) / 1e9
            np.testing.assert_allclose(action, pose(PROFILE, time_s, 0.02), atol=1e-12)
            for slot, image in observation.images.items():
                off = np.abs(image.astype(int) - original.images[slot].astype(int)).mean()
                assert off == 0 if lossless else off <= 1.5 * loss[slot]["mean"] + 0.5


def test_float32_is_the_nearest_and_the_gripper_is_converted(tmp_path: Path) -> None:
    convert(bags(tmp_path / "bags", 1), tmp_path / "out", "1_open", lossless=True)
    dataset = Dataset(tmp_path / "out")
    state = dataset.column(dataset.episodes[0], STATE).astype(np.float32)
    raw = np.stack([pose(PROFILE, k / 25) for k in range(30)])
    assert np.array_equal(state[:, 0], raw[:, 0].astype(np.float32))
    gripper = (raw[:, 6] - 0.021) / (0.057 - 0.021)
    np.testing.assert_allclose(state[:, 6], gripper, atol=1e-6)
    assert dataset.ours["gripper"] == {"open": 1.0, "closed": 0.0}


def test_actions_can_be_the_next_state(tmp_path: Path) -> None:
    convert(bags(tmp_path / "bags", 1), tmp_path / "out", action="next_state", lossless=True)
    dataset = Dataset(tmp_path / "out")
    state, action = (dataset.column(dataset.episodes[0], key) for key in (STATE, ACTION))
    assert len(state) == 29  # nothing follows the last one
    np.testing.assert_array_equal(action[:-1], state[1:])


@pytest.mark.parametrize(("fps", "frames"), [(10, 12), (25, 30), (50, 59)])
def test_resampling(tmp_path: Path, fps: int, frames: int) -> None:
    outcome = convert(bags(tmp_path / "bags", 1), tmp_path / "out", fps=fps, lossless=True)
    assert outcome.totals is not None and outcome.totals.frames == pytest.approx(frames, abs=1)
    dataset = Dataset(tmp_path / "out")
    stamps = dataset.column(dataset.episodes[0], "stamps_ns")[:, 0] - START
    wanted = np.arange(len(stamps)) / fps * 1e9
    assert np.abs(stamps - wanted).max() <= 0.5 / 25 * 1e9  # the nearest picture
    action = dataset.column(dataset.episodes[0], ACTION)
    expected = [pose(PROFILE, k / 50, 0.02) for k in np.floor(wanted / 2e7 + 1e-6).astype(int)]
    np.testing.assert_allclose(action, np.array(expected), atol=1e-6)  # at the frame's time
    facts = next(iter(outcome.done.values()))
    assert (facts["repeated_frames"] > 20) == (fps == 50)


def test_version_3_field_by_field(tmp_path: Path) -> None:
    """As lerobot's own writer leaves them (dataset_writer.py, dataset_metadata.py, io_utils.py)."""
    convert(bags(tmp_path / "bags"), tmp_path / "out")
    out = tmp_path / "out"
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 70, 2)
    assert info["splits"] == {"train": "0:2"}
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == (
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    )
    features = info["features"]
    assert features["action"]["dtype"] == "float32" and features["action"]["shape"] == [14]
    assert features["observation.images.cam_high"]["shape"] == [48, 64, 3]
    assert features["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    tasks = pq.read_table(out / "meta/tasks.parquet")
    assert tasks.column("task_index").to_pylist() == [0, 1]
    pandas = json.loads(tasks.schema.metadata[b"pandas"])
    assert pandas["index_columns"] == ["task"]
    episodes = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    second = episodes[1]
    assert (second["dataset_from_index"], second["dataset_to_index"]) == (30, 70)
    assert (second["data/chunk_index"], second["data/file_index"]) == (0, 1)
    key = "videos/observation.images.cam_high"
    assert (second[f"{key}/from_timestamp"], second[f"{key}/to_timestamp"]) == (0.0, 40 / 25)
    assert second["tasks"] == ["task 1"] and second["length"] == 40
    assert second["stats/index/min"] == [30] and second["stats/action/count"] == [40]
    assert np.array(second["stats/observation.images.cam_high/mean"]).shape == (3, 1, 1)
    data = pq.read_table(out / "data/chunk-000/file-001.parquet")
    assert data.column("index").to_pylist() == list(range(30, 70))
    assert data.column("episode_index").to_pylist() == [1] * 40
    assert set(data.column("task_index").to_pylist()) == {1}
    assert data.column("timestamp").to_pylist()[5] == pytest.approx(0.2)
    assert str(data.schema.field("observation.state").type).startswith("fixed_size_list<")
    named = json.loads(data.schema.metadata[b"huggingface"])["info"]["features"]
    assert named["action"]["_type"] == "List" and named["action"]["length"] == 14
    stats = json.loads((out / "meta/stats.json").read_text())
    assert {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"} <= set(
        stats["action"]
    )


def test_version_2_1_field_by_field(tmp_path: Path) -> None:
    convert(bags(tmp_path / "bags"), tmp_path / "out", version="v2.1")
    out = tmp_path / "out"
    info = json.loads((out / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_videos"], info["total_chunks"]) == ("v2.1", 6, 1)
    lines = [json.loads(x) for x in (out / "meta/episodes.jsonl").read_text().splitlines()]
    assert lines[1] == {"episode_index": 1, "tasks": ["task 1"], "length": 40}
    tasks = [json.loads(x) for x in (out / "meta/tasks.jsonl").read_text().splitlines()]
    assert tasks == [{"task_index": 0, "task": "task 0"}, {"task_index": 1, "task": "task 1"}]
    stats = [json.loads(x) for x in (out / "meta/episodes_stats.jsonl").read_text().splitlines()]
    assert stats[1]["episode_index"] == 1
    assert set(stats[1]["stats"]["action"]) == {"min", "max", "mean", "std", "count"}
    assert (out / "data/chunk-000/episode_000001.parquet").is_file()
    assert (out / "videos/chunk-000/observation.images.cam_high/episode_000001.mp4").is_file()


def test_statistics_are_those_of_the_frames(tmp_path: Path) -> None:
    convert(bags(tmp_path / "bags"), tmp_path / "out")
    dataset = Dataset(tmp_path / "out")
    rows = np.concatenate([dataset.column(entry, ACTION) for entry in dataset.episodes])
    norm = json.loads((tmp_path / "out/norm_stats.json").read_text())["norm_stats"]["actions"]
    np.testing.assert_allclose(norm["mean"], rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(norm["std"], rows.std(0), atol=1e-6)
    errors = np.array(dataset.ours["quantile_error"][ACTION])
    for name, share in (("q01", 0.01), ("q99", 0.99)):
        low = np.quantile(rows, share, axis=0, method="lower")
        high = np.quantile(rows, share, axis=0, method="higher")
        assert (norm[name] >= low - errors - 1e-6).all()
        assert (norm[name] <= high + errors + 1e-6).all()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_statistics_of_an_episode_are_those_of_the_stored_rows(
    tmp_path: Path, precision: str
) -> None:
    """Not of the numbers before they were rounded: other tools compare them exactly."""
    convert(bags(tmp_path / "bags"), tmp_path / "out", precision=precision, lossless=True)
    dataset = Dataset(tmp_path / "out")
    listed = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for entry, line in zip(dataset.episodes, listed, strict=True):
        for key in (STATE, ACTION):
            rows = dataset.column(entry, key).astype(np.float64)
            assert line[f"stats/{key}/min"] == rows.min(axis=0).tolist()
            assert line[f"stats/{key}/max"] == rows.max(axis=0).tolist()


def test_rates_that_are_no_whole_numbers(tmp_path: Path) -> None:
    for fps in (12.5, 29.97):
        convert(bags(tmp_path / "bags", 1), tmp_path / f"{fps}", fps=fps)
        shutil.rmtree(tmp_path / "bags")
        dataset = Dataset(tmp_path / f"{fps}")
        assert dataset.fps == fps
        for entry in dataset.episodes:
            dataset.check(entry)
            assert len(list(dataset.observations(entry))) == entry.length
    info = json.loads((tmp_path / "12.5/meta/info.json").read_text())
    assert info["fps"] == 12.5


def test_sentences_that_change_survive_a_bag(tmp_path: Path) -> None:
    """A dataset's rows become a bag's instructions, and those the rows of a dataset again."""
    from adamoe_ros.data.to_bag import episode_to_bag

    records = list(motion(PROFILE, 1.2, instruction="lift the bar"))
    begin = records[0][0]
    _, topic, kind, message = next(r for r in records if r[1] == "/instruction")
    other = type(message)("push it")
    records.append((begin + 600_000_000, topic, kind, other))
    write_mcap(tmp_path / "bag", sorted(records, key=lambda record: record[0]))
    convert([tmp_path / "bag"], tmp_path / "out", lossless=True)
    dataset = Dataset(tmp_path / "out")
    said = dataset.sentences(dataset.episodes[0])
    assert set(said) == {"lift the bar", "push it"} and said[0] == "lift the bar"
    assert set(dataset.episodes[0].tasks) == set(said)
    plain = simulated_robot()
    units = units_for(plain, None, "driver")
    episode_to_bag(dataset, dataset.episodes[0], tmp_path / "back", plain, units)
    job = ConversionJob(
        [tmp_path / "back"],
        tmp_path / "again",
        plain,
        units,
        ConvertSettings(fps=25, lossless=True),
    )
    convert_bags(job, lambda *_: None)
    again = Dataset(tmp_path / "again")
    assert again.sentences(again.episodes[0]) == said


def test_norm_stats_load_as_a_checkpoints_statistics(tmp_path: Path) -> None:
    from adamoe_ros.policy.normalise import load_norm_stats

    convert(bags(tmp_path / "bags", 1), tmp_path / "out")
    stats = load_norm_stats(tmp_path / "out/norm_stats.json")
    assert len(stats.state.mean) == 14


def test_a_bad_bag_is_skipped_by_name_and_the_run_continues(tmp_path: Path) -> None:
    paths = bags(tmp_path / "bags", 3)
    (paths[1] / "episode_1.mcap").write_bytes(b"broken")
    outcome = convert(paths, tmp_path / "out", workers=Workers(2))
    assert list(outcome.failed) == ["episode_1"]
    assert list(outcome.done) == ["episode_0", "episode_2"]
    dataset = Dataset(tmp_path / "out")
    assert [entry.tasks for entry in dataset.episodes] == [("task 0",), ("task 2",)]
    assert list(dataset.ours["failed"]) == ["episode_1"]


def test_a_stopped_run_continues(tmp_path: Path) -> None:
    paths = bags(tmp_path / "bags", 3)
    units, settings = units_for(PROFILE, None, "driver"), ConvertSettings(fps=25)
    job = ConversionJob(paths, tmp_path / "out", PROFILE, units, settings)

    def stop(bag: Path, facts: object, lines: list[str]) -> None:
        if bag.name == "episode_1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_bags(job, stop)
    assert not (tmp_path / "out").exists()
    assert staged_folder(job, paths[0]).is_dir()
    times = staged_folder(job, paths[0]).stat().st_mtime_ns
    shutil.copytree(job.staging, tmp_path / "kept")
    outcome = convert_bags(job, lambda *_: None)
    assert outcome.reused == 2 and outcome.totals is not None and outcome.totals.episodes == 3
    assert not job.staging.exists()
    shutil.rmtree(tmp_path / "out")
    shutil.copytree(tmp_path / "kept", job.staging)
    other = ConversionJob(paths, tmp_path / "out", PROFILE, units, ConvertSettings(fps=10))
    assert convert_bags(other, lambda *_: None).reused == 0  # other settings: made anew
    assert times


def test_what_a_recorder_noted_is_used(tmp_path: Path) -> None:
    path = bags(tmp_path / "bags", 1)[0]
    EpisodeInfo(instruction="as noted", success=False).write(path)
    outcome = convert([path], tmp_path / "out")
    assert outcome.done["episode_0"]["success"] is False
    assert Dataset(tmp_path / "out").tasks == {0: "as noted"}


def test_a_sentence_that_was_heard_leaves_later_ones_as_they_are(tmp_path: Path) -> None:
    """Nothing was said in the first half second, another thing in the last."""
    from bag_support import STORE, STRING

    records = [r for r in motion(PROFILE, 2.0) if r[1] != "/instruction"]
    for seconds, words in ((0.5, "lift it"), (1.5, "put it down")):
        said = STORE.types[STRING](words)
        records.append((START + round(seconds * 1e9), "/instruction", STRING, said))
    path = write_mcap(tmp_path / "bag", sorted(records, key=lambda record: record[0]))
    EpisodeInfo(heard="lift it").write(path)
    convert([path], tmp_path / "out")
    dataset = Dataset(tmp_path / "out")
    sentences = dataset.sentences(dataset.episodes[0])
    assert sentences[0] == "lift it" and sentences[-1] == "put it down"
    changes = [k for k in range(1, len(sentences)) if sentences[k] != sentences[k - 1]]
    assert len(changes) == 1 and changes[0] == pytest.approx(1.5 * 25, abs=2)


def test_a_truncated_bag_gives_a_partial_episode(tmp_path: Path) -> None:
    path = bags(tmp_path / "bags", 1, seconds=3.0)[0]
    file = path / "episode_0.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    outcome = convert([path], tmp_path / "out")
    assert outcome.partial == ["episode_0"]
    assert 40 < outcome.done["episode_0"]["length"] < 75


def test_the_episode_ends_where_the_clock_goes_back(tmp_path: Path) -> None:
    records = [*motion(PROFILE, 1.0)]
    back = motion(PROFILE, 1.0, start_ns=START - 4 * 10**8)
    records += [(t + 14 * 10**8, *rest) for t, *rest in back]
    path = write_mcap(tmp_path / "bag", records)
    outcome = convert([path], tmp_path / "out")
    facts = outcome.done["bag"]
    assert facts["state"] == "partial"
    assert [entry.length for entry in Dataset(tmp_path / "out").episodes] == [25, 25]
    assert any("the clock went back" in line for line in facts["notes"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"records": lambda r: [x for x in r if "commands" not in x[1]]}, "--action next_state"),
        ({"records": lambda r: [x for x in r if x[1] != "/instruction"]}, "give --instruction"),
        ({"records": lambda r: [x for x in r if x[1] != "/cam_high/image_raw"]}, "/cam_high"),
        ({"records": lambda r: []}, "expected messages"),
        ({"gripper": ""}, "--gripper"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, change: Any, words: str) -> None:
    records = change.get("records", list)(list(motion(PROFILE, 0.5)))
    path = write_mcap(tmp_path / "bag", records)
    with pytest.raises(ContractError, match=words):
        convert([path], tmp_path / "out", change.get("gripper", "driver"))
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    robot = tmp_path / "robot.yaml"
    cameras = {slot: {"type": "compressed", "width": 64, "height": 48} for slot in PROFILE.cameras}
    robot.write_text(yaml.safe_dump({"extends": "aloha_sim", "cameras": cameras}))
    bags(tmp_path / "bags")
    out, back = str(tmp_path / "out"), str(tmp_path / "back")
    common = ["--robot", str(robot)]
    options = ["--out", out, "--gripper", "1_open", "--workers", "1"]
    assert main(["dataset", "convert", str(tmp_path / "bags"), *common, *options]) == 0
    assert "2 episodes, 70 frames" in capsys.readouterr().out
    assert main(["dataset", "validate", out, *common]) == 0
    assert "0 errors" in capsys.readouterr().out
    assert main(["dataset", "to-bag", out, *common, "--out", back, "--episode", "1"]) == 0
    assert main(["dataset", "info", back]) == 0
    assert "/follower_left/joint_states" in capsys.readouterr().out
    assert main(["dataset", "info", out]) == 0
    assert main(["dataset", "convert", str(tmp_path / "bags"), *common, *options]) == 2
    assert main(["dataset", "convert", str(tmp_path / "none"), *common, "--out", back]) == 2


def test_dataset_to_bag_and_back(tmp_path: Path) -> None:
    convert(bags(tmp_path / "bags", 1), tmp_path / "out", lossless=True, precision="float64")
    dataset = Dataset(tmp_path / "out")
    entry = dataset.episodes[0]
    plain = simulated_robot()
    units = units_for(plain, None, "driver")
    episode_to_bag(dataset, entry, tmp_path / "back", plain, units)
    settings = ConvertSettings(fps=25, lossless=True, precision="float64")
    job = ConversionJob([tmp_path / "back"], tmp_path / "again", plain, units, settings)
    convert_bags(job, lambda *_: None)
    again = Dataset(tmp_path / "again")
    for key in (STATE, ACTION, "stamps_ns"):
        assert np.array_equal(dataset.column(entry, key), again.column(again.episodes[0], key))


@pytest.mark.parametrize("names", [["observation", "cam_high"], ["state", "observation"], []])
def test_names_of_stamps_that_do_not_fit(tmp_path: Path, names: list[str]) -> None:
    convert(bags(tmp_path / "bags", 1), tmp_path / "out", lossless=True)
    path = tmp_path / "out" / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"]["stamps_ns"]["names"] = names
    path.write_text(json.dumps(info))
    dataset = Dataset(tmp_path / "out")
    with pytest.raises(ContractError, match=r"info.json: features: stamps_ns: names: expected obs"):
        next(dataset.observations(dataset.episodes[0]))


def small(robot: str) -> RobotProfile:
    """A shipped robot with small pictures at 25 Hz."""
    profile = load_profile(robots_dir() / f"{robot}.yaml")
    cameras = {
        slot: camera.model_copy(update={"width": 64, "height": 48, "rate": 25.0})
        for slot, camera in profile.cameras.items()
    }
    return profile.model_copy(update={"cameras": cameras})


def there_and_back(profile: RobotProfile, tmp_path: Path) -> tuple[Dataset, Dataset]:
    """States of a bag as actions, in a dataset; and the dataset of the bag that is made of it.

    A robot whose state is its last command has JointState commands in the first bag, too.
    """
    commanded = profile.state_source == "last_command"
    drop = set() if commanded else command_names(profile)
    records = [record for record in motion(profile, 0.6) if record[1] not in drop]
    units = units_for(profile, None, "driver")
    datasets = []
    for number, action in enumerate(("command" if commanded else "next_state", "command")):
        bag = tmp_path / f"bag_{number}"
        if datasets:
            episode_to_bag(datasets[0], datasets[0].episodes[0], bag, profile, units)
        else:
            write_mcap(bag, records)
        settings = ConvertSettings(25, action, lossless=True, precision="float64")  # type: ignore[arg-type]
        job = ConversionJob([bag], tmp_path / f"dataset_{number}", profile, units, settings)
        outcome = convert_bags(job, lambda *_: None)
        assert not outcome.failed and all(f["state"] == "whole" for f in outcome.done.values())
        datasets.append(Dataset(tmp_path / f"dataset_{number}"))
    return datasets[0], datasets[1]


def command_names(profile: RobotProfile) -> set[str]:
    return {f"/{topic.target.topic.lstrip('/')}" for topic in command_topics(profile)}


def assert_same(dataset: Dataset, again: Dataset) -> None:
    first, second = dataset.episodes[0], again.episodes[0]
    for key in (STATE, "stamps_ns"):
        assert np.array_equal(dataset.column(first, key), again.column(second, key))
    actions = dataset.column(first, ACTION), again.column(second, ACTION)
    np.testing.assert_allclose(*actions, atol=1e-6)  # some drivers take float32
    assert len(actions[0]) >= 13
    for (one, _), (other, _) in zip(
        dataset.observations(first), again.observations(second), strict=True
    ):
        assert all(np.array_equal(one.images[slot], other.images[slot]) for slot in one.images)


@pytest.mark.parametrize("robot", known_profiles(robots_dir()))
def test_to_bag_and_back_for_every_shipped_robot(robot: str, tmp_path: Path) -> None:
    """Also commands that are no JointState: trajectories, arrays, Interbotix' groups."""
    assert_same(*there_and_back(small(robot), tmp_path))


@pytest.mark.parametrize("camera", [{"encoding": "bgr8"}, {"type": "compressed"}])
def test_to_bag_and_back_with_other_pictures(camera: dict[str, str], tmp_path: Path) -> None:
    profile = small("franka_dual")
    cameras = {slot: item.model_copy(update=camera) for slot, item in profile.cameras.items()}
    made = there_and_back(small("franka_dual"), tmp_path)[0]
    units = units_for(profile, None, "driver")
    other = profile.model_copy(update={"cameras": cameras})
    episode_to_bag(made, made.episodes[0], tmp_path / "other", other, units)
    settings = ConvertSettings(25, lossless=True, precision="float64")
    convert_bags(
        ConversionJob([tmp_path / "other"], tmp_path / "again", other, units, settings),
        lambda *_: None,
    )
    assert_same(made, Dataset(tmp_path / "again"))


def test_to_bag_names_an_encoding_that_it_cannot_write(tmp_path: Path) -> None:
    made = there_and_back(small("aloha_sim"), tmp_path)[0]
    profile = simulated_robot(encoding="yuv422")
    units = units_for(profile, None, "driver")
    with pytest.raises(ContractError, match="cam_high yuv422"):
        episode_to_bag(made, made.episodes[0], tmp_path / "back", profile, units)
    assert not (tmp_path / "back").exists()


OWN_CODEC = """
import numpy as np
from adamoe_ros.streams.command_codecs import CommandCodec, JointCommand

class DegreesCodec(CommandCodec):
    type_name = "my_msgs/msg/Posture"
    definitions = {type_name: "string[] joints\\nfloat64[] degrees\\n"}

    def encode(self, command, make):
        degrees = np.degrees(command.positions[0])
        return make(self.type_name, joints=list(command.names), degrees=degrees)

    def decode(self, message, names):
        return JointCommand(tuple(message.joints), np.radians(message.degrees)[None])
"""


def test_a_command_message_of_the_users_own_goes_to_a_bag_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_degrees.py").write_text(OWN_CODEC, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    document = small("aloha_sim").model_dump(exclude_unset=True)
    for arm in document["arms"].values():
        arm["command"]["type"] = "my_degrees:DegreesCodec"
    assert_same(*there_and_back(RobotProfile.model_validate(document), tmp_path))


def test_stamps_of_another_clock_make_an_episode_partial(tmp_path: Path) -> None:
    late = [(t + 10**10, *rest) for t, *rest in motion(PROFILE, 0.2)]
    path = write_mcap(tmp_path / "bag", [*motion(PROFILE, 1.0), *late])
    facts = convert([path], tmp_path / "out").done["bag"]
    assert facts["state"] == "partial" and any("another clock" in line for line in facts["notes"])
