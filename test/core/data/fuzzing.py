# SPDX-License-Identifier: Apache-2.0
"""Damaged variants of everything that commands read, and the commands that read them.

An example is made from its number alone: a target, one of its files, a sort of damage. It fails if the
command shows a traceback (exit code 70, or an exception), takes too long, or succeeds without a word
while the data that it read differ from those of the undamaged input.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from bag_support import motion, write_rosbags
from mcap_forms import Form, write_form
from policy_support import make_checkpoint, tiny_config
from training_sizes import SMALL_CHANGES

from adamoe_ros.cli.main import main
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir

_WEIGHTS = {  # slow ones are tried less often
    "train": 0.03,
    "doctor": 0.1,
    "convert an MCAP bag": 0.7,
    "convert an SQLite bag": 0.7,
    "replay": 0.5,
}
LONGEST_S = 60.0  # of CPU time: a busy machine makes nothing wrong
_STUCK = 10  # times as long by the wall clock: it waits for what never comes
_WRONG = (None, "", "text", -1, 0, 1e308, float("nan"), True, [], {}, [[]], {"a": 1}, "9" * 400)
_KINDS = {
    "empty": b"",
    "text": b"not what was expected\n",
    "json": b"[1, 2]",
    "null": b"null",
    "zeros": bytes(4096),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"
    + b" " * 56
    + b"\n"
    + bytes(8),
    "zip": b"PK\x05\x06" + bytes(18),
    "utf16": "\ufeffname: x\n".encode("utf-16"),
}


def small_robot() -> RobotProfile:
    """The simulated robot with one camera of 32 x 24."""
    robot = load_profile(robots_dir() / "aloha_sim.yaml")
    cameras = {}
    for slot, item in robot.cameras.items():
        gone = {"topic": None, "absent": True} if cameras else {"width": 32, "height": 24}
        cameras[slot] = item.model_copy(update=gone)
    return robot.model_copy(update={"cameras": cameras})


@dataclass(frozen=True)
class Target:
    """A command and what it reads.

    Attributes:
        make: writes the inputs into a folder.
        files: patterns of those that are damaged.
        command: arguments, given the folder.
        made: what the command made of them, given the folder; None: not compared.
        checked: whether damage to any byte of a file is found by its format's checksum.
    """

    make: Callable[[Path], None]
    files: tuple[str, ...]
    command: Callable[[Path], list[str]]
    made: Callable[[Path], str] | None = None
    checked: tuple[str, ...] = ()


@dataclass
class Example:
    """What became of one example."""

    number: int
    target: str
    file: str
    damage: str
    code: int = -1
    seconds: float = 0.0
    fault: str = ""
    lines: list[str] = field(default_factory=list)


# --- inputs -------------------------------------------------------------------------------------


def _profile(folder: Path) -> None:
    text = yaml.safe_dump(small_robot().model_dump(mode="json"))
    (folder / "robot.yaml").write_text(text, encoding="utf-8")


def _bag(folder: Path, storage: str) -> None:
    _profile(folder)
    records = list(motion(small_robot(), seconds=0.3))
    bag = write_rosbags(folder / "bag", records, storage=storage)
    if storage == "MCAP":
        form = Form(compression="zstd", chunk_bytes=8000)
        write_form(bag / "bag.mcap", records, form)
    info = {"format": "adamoe_ros/episode/1", "instruction": "lift the bar", "success": True}
    (bag / "episode.json").write_text(json.dumps(info), encoding="utf-8")


@lru_cache(maxsize=1)
def _dataset_source() -> TemporaryDirectory[str]:
    """Two small datasets, made once."""
    kept = TemporaryDirectory(prefix="adamoe_fuzz_")
    folder = Path(kept.name)
    _bag(folder, "MCAP")
    for name, options in (("png", ["--images", "png"]), ("video", ["--format", "v2.1"])):
        code = _quiet([*_convert(folder), "--out", str(folder / name), *options])[0]
        assert code == 0
    return kept


def _dataset(folder: Path, name: str) -> None:
    source = Path(_dataset_source().name)
    shutil.copytree(source / name, folder / "set")
    shutil.copy(source / "robot.yaml", folder)


def _checkpoint(folder: Path) -> None:
    _profile(folder)
    make_checkpoint(folder / "checkpoint")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "in.npz",
        images=rng.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8),
        state=np.zeros(14),
        prompt=np.array("lift the bar"),
    )


def _dense(folder: Path, **changes: Any) -> None:
    config = tiny_config(**{"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0})
    make_checkpoint(folder / "checkpoint", config, **changes)


def _foreign(folder: Path) -> None:
    _dense(folder, prompt_style="lerobot")
    code, said = _quiet(
        ["convert", "--to", "lerobot", str(folder / "checkpoint"), str(folder / "pi0")]
    )
    assert code == 0, said
    shutil.copy(folder / "checkpoint/norm_stats.json", folder)


def _training(folder: Path) -> None:
    _dataset(folder, "png")
    changes = {**SMALL_CHANGES, "num_views": 1, "state_dim": 14, "action_dim": 14}
    settings = {
        "name": "short",
        "steps": 1,
        "batch_size": 2,
        "threads": 1,
        "tensorboard": False,
        "model": {"changes": {**changes, "aux_positions": 0}},
        "data": {"dataset": "set", "cache": "cache"},
    }
    (folder / "short.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def _convert(folder: Path) -> list[str]:
    return [
        *("dataset", "convert", str(folder / "bag"), "--robot", str(folder / "robot.yaml")),
        *("--gripper", "1_open", "--workers", "1"),
    ]


def _rows(folder: Path) -> str:
    """Digest of the numbers and pictures of a dataset."""
    digest = hashlib.sha256()
    for path in sorted((folder / "out").glob("data/**/*.parquet")):
        table = pq.read_table(path).drop_columns(["stamps_ns"])
        digest.update(repr(table.to_pydict()).encode())
    return digest.hexdigest()


def _actions(folder: Path) -> str:
    with np.load(folder / "out.npz") as archive:
        return hashlib.sha256(archive["actions"].tobytes()).hexdigest()


def _bag_messages(folder: Path) -> str:
    from adamoe_ros.data.bag.reader import Bag

    with Bag(folder / "out") as bag:
        return hashlib.sha256(repr(list(bag.raw(bag.topics))).encode()).hexdigest()


_BAG_FILES = ("bag/*.mcap", "bag/*.db3", "bag/metadata.yaml", "bag/episode.json", "robot.yaml")
_SET_FILES = ("set/meta/**/*", "set/data/**/*.parquet", "set/videos/**/*.mp4")
_CHECKPOINT_FILES = ("checkpoint/*", "in.npz")


def _out(folder: Path) -> str:
    return str(folder / "out")


TARGETS: dict[str, Target] = {
    "convert an MCAP bag": Target(
        lambda folder: _bag(folder, "MCAP"),
        _BAG_FILES,
        lambda folder: [*_convert(folder), "--images", "png", "--out", _out(folder)],
        _rows,
        ("bag/bag.mcap",),
    ),
    "convert an SQLite bag": Target(
        lambda folder: _bag(folder, "SQLITE3"),
        _BAG_FILES,
        lambda folder: [*_convert(folder), "--images", "png", "--out", _out(folder)],
        _rows,
    ),
    "info of a bag": Target(
        lambda folder: _bag(folder, "MCAP"),
        _BAG_FILES[:4],
        lambda folder: ["dataset", "info", str(folder / "bag")],
    ),
    "info of an SQLite bag": Target(
        lambda folder: _bag(folder, "SQLITE3"),
        _BAG_FILES[:4],
        lambda folder: ["dataset", "info", str(folder / "bag")],
    ),
    "replay": Target(
        lambda folder: _bag(folder, "MCAP"),
        _BAG_FILES,
        lambda folder: [
            *("replay", str(folder / "bag"), "--robot", str(folder / "robot.yaml")),
            *("--no-video", "--out", _out(folder)),
        ],
    ),
    "info of a dataset": Target(
        lambda folder: _dataset(folder, "png"),
        _SET_FILES,
        lambda folder: ["dataset", "info", str(folder / "set")],
    ),
    "validate": Target(
        lambda folder: _dataset(folder, "png"),
        _SET_FILES,
        lambda folder: [
            *("dataset", "validate", str(folder / "set"), "--robot", str(folder / "robot.yaml"))
        ],
    ),
    "validate with video": Target(
        lambda folder: _dataset(folder, "video"),
        _SET_FILES,
        lambda folder: ["dataset", "validate", str(folder / "set")],
    ),
    "dataset to a bag": Target(
        lambda folder: _dataset(folder, "png"),
        (*_SET_FILES, "robot.yaml"),
        lambda folder: [
            *("dataset", "to-bag", str(folder / "set"), "--robot", str(folder / "robot.yaml")),
            *("--out", _out(folder)),
        ],
        _bag_messages,
    ),
    "video dataset to a bag": Target(
        lambda folder: _dataset(folder, "video"),
        (*_SET_FILES, "robot.yaml"),
        lambda folder: [
            *("dataset", "to-bag", str(folder / "set"), "--robot", str(folder / "robot.yaml")),
            *("--out", _out(folder)),
        ],
    ),
    "infer": Target(
        _checkpoint,
        _CHECKPOINT_FILES,
        lambda folder: [
            *("infer", "--checkpoint", str(folder / "checkpoint")),
            *("--inputs", str(folder / "in.npz"), "--out", str(folder / "out.npz")),
        ],
        _actions,
        ("in.npz",),
    ),
    "export a checkpoint": Target(
        _dense,
        _CHECKPOINT_FILES[:1],
        lambda folder: [
            "convert",
            "--to",
            "openpi-torch",
            str(folder / "checkpoint"),
            _out(folder),
        ],
    ),
    "import a checkpoint": Target(
        _foreign,
        ("pi0/*", "norm_stats.json"),
        lambda folder: [
            *("convert", "--from", "lerobot", str(folder / "pi0"), _out(folder)),
            *("--statistics", str(folder / "norm_stats.json"), "--gripper-open", "1"),
            *("--joints", "left*6,left_gripper,right*6,right_gripper", "--gripper-closed", "0"),
            *("--control-rate", "50", "--embodiment", "vx300s_dual"),
            *("--state-source", "measured"),
        ],
    ),
    "upcycle": Target(
        _dense,
        _CHECKPOINT_FILES[:1],
        lambda folder: ["upcycle", str(folder / "checkpoint"), _out(folder)],
    ),
    "settings of training": Target(
        _training,
        ("short.yaml",),
        lambda folder: ["train", "--config", str(folder / "short.yaml"), "--print-config"],
    ),
    "train": Target(
        _training,
        ("short.yaml", *_SET_FILES),
        lambda folder: [
            *("train", "--config", str(folder / "short.yaml"), "--out", _out(folder)),
            *("--set", f"data.dataset={folder / 'set'}", "--set", f"data.cache={folder / 'cache'}"),
            *("--set", "steps=1"),
        ],
    ),
    "doctor": Target(
        _checkpoint,
        ("checkpoint/*", "robot.yaml"),
        lambda folder: [
            *("doctor", "--robot", str(folder / "robot.yaml")),
            *("--checkpoint", str(folder / "checkpoint")),
        ],
    ),
    "evaluate": Target(
        _checkpoint,
        ("checkpoint/*.json",),
        lambda folder: [
            *("evaluate", str(folder / "checkpoint"), "--tasks", "no_such_task"),
            *("--out", _out(folder)),
        ],
    ),
}


# --- damage -------------------------------------------------------------------------------------


def _cut(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    size = rng.randrange(len(data) + 1)
    path.write_bytes(data[:size])
    return f"cut at {size} of {len(data)}"


def _flip(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    places = [rng.randrange(8 * len(data)) for _ in range(rng.choice((1, 1, 2, 8)))] if data else []
    for place in places:
        data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    return f"bits {places} flipped"


def _blank(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 16, 512, 4096)))
    filling = rng.choice((0, 255, None))
    data[start:end] = (
        bytes(filling or 0 for _ in range(end - start))
        if filling
        else bytes(rng.randrange(256) if filling is None else 0 for _ in range(end - start))
    )
    path.write_bytes(data)
    return f"bytes {start} to {end} overwritten with {filling}"


def _other_kind(path: Path, rng: random.Random) -> str:
    kind = rng.choice([*_KINDS, "folder", "nothing", "twice"])
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "twice":
        path.write_bytes(data + data)
    elif kind != "nothing":
        path.write_bytes(_KINDS[kind])
    return f"is {kind}"


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in items:
        found.append((*at, key))
        if isinstance(item, dict | list):
            found += _places(item, (*at, key))
    return found


def _change(document: Any, rng: random.Random) -> str:
    """Delete a key, or put a value of another type there."""
    places = _places(document) if isinstance(document, dict | list) else []
    if not places:
        return "unchanged"
    place = rng.choice(places)
    owner = document
    for key in place[:-1]:
        owner = owner[key]
    if rng.random() < 0.4:
        del owner[place[-1]]
        return f"{place} deleted"
    owner[place[-1]] = value = rng.choice(_WRONG)
    return f"{place} is {str(value)[:20]!r}"


def _keys(path: Path, rng: random.Random) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        document = yaml.safe_load(text)
        said = _change(document, rng)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return said
    if path.suffix == ".jsonl":
        lines = text.splitlines()
        place = rng.randrange(len(lines))
        document = json.loads(lines[place])
        said = _change(document, rng)
        lines[place] = json.dumps(document)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"line {place}: {said}"
    document = json.loads(text)
    said = _change(document, rng)
    path.write_text(json.dumps(document), encoding="utf-8")
    return said


def _columns(path: Path, rng: random.Random) -> str:
    """A column of a parquet file lost, of another type, or with nulls; rows lost or doubled."""
    table = pq.read_table(path)
    name = rng.choice(table.column_names)
    what = rng.choice(("lost", "text", "null", "nulls", "short", "twice", "other"))
    count = table.num_rows
    if what == "lost":
        table = table.drop_columns([name])
    elif what in ("short", "twice"):
        table = table.slice(0, count // 2) if what == "short" else pa.concat_tables([table, table])
    else:
        values = {
            "text": lambda: pa.array(["x"] * count),
            "null": lambda: pa.nulls(count),
            "nulls": lambda: pa.array([None, *table.column(name).to_pylist()[1:]]),
            "other": lambda: pa.array(np.arange(count) * 1e9),
        }[what]()
        table = table.set_column(table.column_names.index(name), name, values)
        name = f"{name} is"
    pq.write_table(table, path)
    return f"{name} {what}"


def damage(path: Path, rng: random.Random) -> tuple[str, bool]:
    """Damage a file; what was done, and whether the file's bytes as such were."""
    ways: list[Callable[[Path, random.Random], str]] = [_cut, _flip, _flip, _blank, _other_kind]
    structured = []
    if path.suffix in (".json", ".jsonl", ".yaml"):
        structured = [_keys] * 6
    elif path.suffix == ".parquet":
        structured = [_columns] * 4
    way = rng.choice([*ways, *structured])
    return way(path, rng), way in (_flip, _blank)


# --- examples -----------------------------------------------------------------------------------


def _quiet(arguments: list[str]) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(arguments)
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
    return code, said.getvalue()


@cache
def _undamaged(name: str) -> tuple[TemporaryDirectory[str], str, int, int]:
    """Input of a target, what is made of it, number of lines, exit code."""
    target = TARGETS[name]
    kept = TemporaryDirectory(prefix="adamoe_fuzz_")
    folder = Path(kept.name) / "input"
    folder.mkdir()
    target.make(folder)
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        shutil.copytree(folder, copy)
        code, said = _quiet(target.command(copy))
        made = target.made(copy) if target.made is not None and code == 0 else ""
    return kept, made, said.count("\n"), code


def _too_long(*_: object) -> None:
    # not an Exception: a command's last line of defence must not take it for a bug in reading
    raise KeyboardInterrupt(f"it went on for {LONGEST_S:.0f} s")


def try_example(number: int) -> Example:
    """Make one example and run its command."""
    rng = random.Random(number)
    name = rng.choices(list(TARGETS), [_WEIGHTS.get(name, 1.0) for name in TARGETS])[0]
    target = TARGETS[name]
    source, expected, usual, _ = _undamaged(name)
    with TemporaryDirectory(prefix="adamoe_fuzz_") as scratch:
        folder = Path(scratch) / "copy"
        shutil.copytree(Path(source.name) / "input", folder)
        found = sorted(
            {item for pattern in target.files for item in folder.glob(pattern) if item.is_file()}
        )
        path = rng.choice(found)
        place = str(path.relative_to(folder))
        said, in_bytes = damage(path, rng)
        example = Example(number, name, place, said)
        begun = time.perf_counter()
        for number_of_signal in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number_of_signal, _too_long)
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        signal.alarm(int(_STUCK * LONGEST_S))
        try:
            example.code, text = _quiet(target.command(folder))
        except BaseException as error:
            example.fault = f"{type(error).__name__}: {error}"
            return example
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
        example.seconds = time.perf_counter() - begun
        example.lines = text.splitlines()
        if example.code == 70 or "Traceback" in text:
            example.fault = next((line for line in example.lines if "unforeseen" in line), text)
        elif example.code not in (0, 1, 2, 3):
            example.fault = f"exit code {example.code}"
        elif example.code and not text.strip():
            example.fault = f"exit code {example.code} without a word"
        elif example.code == 0 and target.made is not None and place.startswith(("bag/", "in")):
            comparable = not in_bytes or place in target.checked
            if comparable and target.made(folder) != expected and len(example.lines) <= usual:
                example.fault = "other data than of the undamaged input, without a word"
    return example
