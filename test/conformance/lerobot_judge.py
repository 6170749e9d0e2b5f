# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own reader and writer, run by .venv-lerobot's Python; a command line of two words.

read DATASET OUT.npz    every row as LeRobot gives it, and one batch of its DataLoader
write DATASET video|png a dataset of two episodes by LeRobot's own writer
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
if torch.version.cuda is None:
    # torchvision's wheel registers these operators in a library that needs torch for CUDA; beside
    # torch for the CPU its Python code only asks for their schemas
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset

CAMERA, SIZE, LENGTHS, FPS = "observation.images.cam_high", (48, 64), (12, 17), 25


def read(folder: Path, out: Path) -> None:
    """Rows, sentences and pictures of the whole dataset."""
    dataset = LeRobotDataset("local/judged", root=folder, video_backend="pyav")
    rows = [dataset[number] for number in range(len(dataset))]
    found = {
        name: np.stack([row[name].numpy() for row in rows])
        for name in ("observation.state", "action", "timestamp", "episode_index", "frame_index")
    }
    for key in dataset.meta.camera_keys:
        pictures = [row[key].permute(1, 2, 0).numpy() for row in rows]
        found[key] = np.stack([(picture * 255).round().astype(np.uint8) for picture in pictures])
    found["sentences"] = np.array([row["task"] for row in rows])
    later = {"action": [0.0, 1 / dataset.meta.fps]}
    chunked = LeRobotDataset(
        "local/judged", root=folder, video_backend="pyav", delta_timestamps=later
    )
    batch = next(iter(torch.utils.data.DataLoader(chunked, batch_size=4)))
    found["chunks"] = batch["action"].numpy()
    np.savez_compressed(out, **found)


def write(folder: Path, how: str) -> None:
    """Row f of episode e: state e + f / 100 in every column, action 0.5 more, a grey that says f."""
    names = [f"left_{joint}" for joint in (0, 1, "gripper")]
    vector = {"dtype": "float32", "shape": (3,), "names": names}
    camera = {"dtype": "video" if how == "video" else "image", "shape": (*SIZE, 3)}
    dataset = LeRobotDataset.create(
        "local/judged",
        FPS,
        {
            "observation.state": vector,
            "action": vector,
            CAMERA: camera | {"names": ["height", "width", "channels"]},
        },
        root=folder,
        robot_type="judge",
        use_videos=how == "video",
    )
    for episode, length in enumerate(LENGTHS):
        for row in range(length):
            state = np.full(3, episode + row / 100, np.float32)
            dataset.add_frame(
                {
                    "observation.state": state,
                    "action": state + np.float32(0.5),
                    CAMERA: np.full((*SIZE, 3), 10 + 8 * row + 90 * episode, np.uint8),
                    "task": "lift the bar" if row < 9 else "push it",
                }
            )
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        write(Path(sys.argv[2]), sys.argv[3])
