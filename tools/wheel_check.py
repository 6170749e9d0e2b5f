# SPDX-License-Identifier: Apache-2.0
"""``make wheel-check``: the wheel of the ROS-free part, from an empty environment, without the checkout.

What git would carry is copied and built (``python -m build``: a source distribution, and the wheel from
it). In an environment with nothing but that wheel every command that lacks a part must name the extra to
install in one line; the line is then carried out as it stands, and ``doctor``, ``convert``, ``infer``,
``replay``, ``train`` and ``serve`` do real work on a bag and a foreign checkpoint, without ROS.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-wheel"
RESULT = ROOT / "benchmarks" / "results" / "wheel.json"
BUILD = "build==1.6.1"
PINS = ROOT / "requirements" / "pins.txt"
_SUPPORT = ("training", "data", "policy", "model")
_LINE = re.compile(
    r"^adamoe \w+: \w+: expected it installed, .*; (pip install 'adamoe_ros\[[\w,]+\]')$"
)


class Failed(SystemExit):
    """Something is not as it should be; the text says what."""


def run(command: list[str | Path], folder: Path, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that knows nothing of this checkout or of ROS."""
    clean = ("PYTHON", "AMENT", "ROS", "VIRTUAL_ENV", "COLCON", "LD_LIBRARY_PATH", "FAST", "_ROS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
    environment |= {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
    )
    if done.returncode != code:
        end = (done.stdout + done.stderr)[-2000:]
        raise Failed(f"wheel-check: expected exit {code}, got {done.returncode} of {words}\n{end}")
    return done.stdout, done.stderr


def build(out: Path) -> Path:
    """The wheel, built from a copy of what git carries."""
    tool = FOLDER / "build"
    _venv(tool)
    run([tool / "bin/python", "-m", "pip", "install", "-q", BUILD], FOLDER)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, copy / name)
        run([tool / "bin/python", "-m", "build", "--outdir", out, "."], copy)
    return next(out.glob("*.whl"))


def _venv(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)


def make_inputs(folder: Path) -> None:
    """A bag with its robot profile, a foreign checkpoint and an input of ``infer``, by the test suite's means."""
    sys.path[:0] = [str(ROOT / "test" / "core" / name) for name in _SUPPORT]
    import dataset_support
    import foreign
    import numpy as np
    import official

    dataset_support.write_profile(folder / "robot.yaml")
    dataset_support.write_bag(folder / "bags" / "one", 2.0)
    weights, data = foreign.official("official_dense")
    foreign.write_npz(folder / "theirs.npz", weights)
    pictures = np.stack([data[f"image/{slot}"][0] for slot in official.SLOTS])
    vectors = {name: data[name][0] for name in ("state", "token_ids", "token_mask")}
    np.savez(folder / "in.npz", images=pictures, noise=data["noise_sample"][0], **vectors)
    sizes = {"model.changes": dataset_support.NETWORK, "steps": 2, "batch_size": 4, "threads": 1}
    words = [f"--set={key}={json.dumps(value)}" for key, value in sizes.items()]
    (folder / "train.txt").write_text("\n".join(words), encoding="utf-8")


def jobs(folder: Path, share: Path) -> dict[str, list[str]]:
    """Command lines that do real work, in an order in which they find what they need."""
    demo, dense = share / "checkpoints" / "demo", share / "checkpoints" / "demo_dense"
    bag = [str(folder / "bags" / "one"), "--robot", "robot.yaml"]
    converted = [
        "theirs.npz",
        "ours",
        "--from",
        "openpi-jax",
        "--horizon",
        "6",
        "--prompt-length",
        "10",
    ]
    train = (folder / "train.txt").read_text(encoding="utf-8").splitlines()
    return {
        "convert": ["convert", *converted],
        "infer": [
            "infer",
            "--checkpoint",
            "ours",
            "--inputs",
            "in.npz",
            "--out",
            "out.npz",
            "--raw",
        ],
        "upcycle": ["upcycle", str(dense), "up", "--experts", "2", "--top-k", "1"],
        "replay": ["replay", *bag, "--checkpoint", str(demo), "--out", "replay", "--no-video"],
        "dataset": ["dataset", "convert", *bag, "--out", "set", "--gripper", "1_open"],
        "train": ["train", "--out", "run", '--set=data.dataset="set"', *train],
        "evaluate": ["evaluate", str(demo), "--tasks", "lift_bar", "--out", "evaluation"],
    }


def missing_lines(adamoe: Path, folder: Path, share: Path) -> dict[str, str]:
    """What each command says where nothing but the wheel is installed: one line with what to install."""
    found = {}
    for name, words in jobs(folder, share).items():
        _, error = run([adamoe, *words], folder, code=2)
        if not (line := _LINE.match(error.strip())):
            raise Failed(f"wheel-check: {name}: expected one line with an extra, got {error!r}")
        found[name] = line[1]
    return found


def main() -> int:
    """Build, install, lack, install what the lines say, work; 0 when everything did."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        wheel = build(folder / "dist")
        print(f"wheel-check: {wheel.name}, {wheel.stat().st_size / 2**20:.1f} MiB", flush=True)
        empty = FOLDER / "empty"
        _venv(empty)
        pip: list[str | Path] = [empty / "bin/python", "-m", "pip", "install", "-q", "-c", PINS]
        run([*pip, wheel], folder)
        adamoe, share = empty / "bin" / "adamoe", empty / "share" / "adamoe_ros"
        make_inputs(folder)
        version, _ = run([adamoe, "--version"], folder)
        doctor, _ = run([adamoe, "doctor"], folder)
        lines = missing_lines(adamoe, folder, share)
        for line in sorted(set(lines.values())):
            print(f"wheel-check: {line}", flush=True)
            run([*pip, *shlex.split(line)[2:]], folder)
        done = {}
        work = jobs(folder, share)
        del work["evaluate"]  # its arms' meshes are installed apart (requirements/no-deps.txt)
        for job in work:
            start = time.monotonic()
            run([adamoe, *work[job]], folder)
            done[job] = round(time.monotonic() - start, 1)
            print(f"wheel-check: adamoe {job}: {done[job]} s", flush=True)
        report, _ = run([adamoe, "doctor", "--robot", "robot.yaml"], folder)
        document = {
            "version": version.strip(),
            "wheel": {"name": wheel.name, "bytes": wheel.stat().st_size},
            "python": sys.version.split()[0],
            "seconds": round(time.monotonic() - begin),
            "doctor with the wheel alone": doctor.splitlines(),
            "lines of commands that lack a part": lines,
            "seconds by command, without ROS": done,
            "doctor in the end": report.splitlines()[-1],
        }
        RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wheel-check: the wheel works without ROS; {RESULT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
