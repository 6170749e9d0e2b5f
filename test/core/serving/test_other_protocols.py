# SPDX-License-Identifier: Apache-2.0
"""vla-eval's and XPolicyLab's protocols on the same port, told by path or by the first frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
from policy_support import make_checkpoint
from serving_support import PROMPT, aloha, ask, open_client, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from adamoe_ros.serving.service import PolicyService

Served = tuple[PolicyService, int]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = make_checkpoint(tmp_path_factory.mktemp("protocols") / "checkpoint")
    names = ("aloha", "vla_eval_robotwin", "xpolicylab")
    with serving(folder, interface=names, execution_horizon=2) as made:
        yield made


def pictures() -> list[np.ndarray]:
    return [image.transpose(1, 2, 0) for image in aloha()["images"].values()]


class VlaEval:
    """The wire of vla-eval 0.8.0."""

    def __init__(self, client: ClientConnection) -> None:
        self._client, self._number = client, 0

    def send(self, kind: str, payload: dict[str, Any]) -> int:
        self._number += 1
        message = {"type": kind, "payload": payload, "seq": self._number, "timestamp": time.time()}
        self._client.send(msgpack.packb(message, default=self._encode))
        return self._number

    def ask(self, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        number = self.send(kind, payload)
        answer = msgpack.unpackb(self._client.recv(20))
        assert answer["seq"] == number
        return answer

    @staticmethod
    def _encode(value: Any) -> dict[str, Any]:
        if value.dtype == np.uint8 and value.ndim == 3:
            data = bytes(cv2.imencode(".png", value[..., ::-1])[1])
            return {"__image__": True, "format": "png", "data": data, "shape": list(value.shape)}
        shape = list(value.shape)
        return {
            "__ndarray__": True,
            "data": value.tobytes(),
            "dtype": value.dtype.str,
            "shape": shape,
        }


def robotwin(**changes: Any) -> dict[str, Any]:
    names = ("head_camera", "left_camera", "right_camera")
    images = dict(zip(names, pictures(), strict=True))
    return {"images": images, "joint_state": aloha()["state"], "task_description": PROMPT} | changes


@pytest.mark.parametrize("path", ["/", "/vla-eval"])
def test_vla_eval_gets_a_row_for_every_observation(served: Served, path: str) -> None:
    with open_client(served[1], path) as client:
        wire = VlaEval(client)
        hello = wire.ask("hello", {"harness_version": "0.8.0", "protocol_version": 1})
        assert hello["payload"]["protocol_version"] == 1
        wire.send("episode_start", {"task": "x"})
        rows = []
        for _ in range(3):
            answer = wire.ask("observation", robotwin())
            assert answer["type"] == "action"
            rows.append(np.frombuffer(answer["payload"]["actions"]["data"]))
        assert [row.shape for row in rows] == [(14,)] * 3
        refused = wire.ask("observation", {"task_description": PROMPT})
        assert refused["type"] == "action"  # the second row of the second chunk needs no pictures
        refused = wire.ask("observation", {"task_description": PROMPT})
        assert refused["type"] == "error"
        assert "images.head_camera: expected a picture" in refused["payload"]["error"]
        wire.send("episode_end", {})
        assert wire.ask("observation", robotwin())["type"] == "action"  # an error ends nothing


def test_vla_evals_rows_are_openpis_chunk(served: Served) -> None:
    """Pictures as PNG are the pictures."""
    with open_client(served[1], "/vla-eval") as client:
        wire = VlaEval(client)
        fixed = robotwin(adamoe={"noise_seed": 7})
        rows = [wire.ask("observation", fixed)["payload"]["actions"]["data"] for _ in range(2)]
    with open_client(served[1], "/") as client:
        client.recv(20)
        chunk = ask(client, aloha() | {"adamoe": {"noise_seed": 7}})["actions"]
    np.testing.assert_allclose([np.frombuffer(row) for row in rows], chunk[:2], atol=1e-6)


def test_pictures_that_nobody_asked_for_are_never_decoded(served: Served) -> None:
    """A frame of small files could hold any number of large pictures."""
    with open_client(served[1], "/vla-eval") as client:
        wire = VlaEval(client)
        damaged = {"__image__": True, "format": "png", "data": b"\x89PNG\r\n\x1a\n"}
        more = [{**damaged, "shape": [4096, 4096, 3]}] * 1000
        assert wire.ask("observation", robotwin(more=more))["type"] == "action"
        wire.send("episode_start", {})
        images = robotwin()["images"] | {"head_camera": damaged}
        refused = wire.ask("observation", robotwin(images=images))["payload"]["error"]
    assert "images.head_camera: expected a JPEG or PNG of at most 4096 px a side" in refused


def lab(client: ClientConnection, kind: str, payload: dict[str, Any], number: str = "1") -> Any:
    """XPolicyLab's frame and its answer."""

    def encode(value: Any) -> dict[bytes, Any]:
        data, shape = value.tobytes(), value.shape
        return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": shape, b"data": data}

    message = {"message_type": kind, "message_id": number, "evaluation_id": "e", "trial_id": "t"}
    client.send(msgpack.packb(message | {"step": 0, "payload": payload}, default=encode))
    answer = msgpack.unpackb(client.recv(20))
    assert answer["message_id"] == number and answer["evaluation_id"] == "e"
    return answer


def lab_observation() -> dict[str, Any]:
    names, state = ("cam_head", "cam_left_wrist", "cam_right_wrist"), aloha()["state"]
    vision = {name: {"color": image} for name, image in zip(names, pictures(), strict=True)}
    keys = ("left_arm_joint_state", "left_ee_joint_state")
    keys += ("right_arm_joint_state", "right_ee_joint_state")
    parts = dict(zip(keys, np.split(state, [6, 7, 13]), strict=True))
    return {"instruction": PROMPT, "vision": vision, "state": parts}


@pytest.mark.parametrize("path", ["/", "/xpolicylab"])
def test_xpolicylab_gets_a_dict_for_every_row(served: Served, path: str) -> None:
    with open_client(served[1], path) as client:
        assert lab(client, "hello", {})["message_type"] == "hello_ack"
        assert lab(client, "prepare_case", {})["message_type"] == "prepare_case_ack"
        assert lab(client, "reset", {"trial_id": "t"})["message_type"] == "reset_result"
        made = lab(client, "infer", {"observation": lab_observation()}, "2")["payload"]
        assert len(made["actions"]) == 2 and made["latency_ms"] > 0
        widths = {key: part[b"shape"] for key, part in made["actions"][0].items()}
        assert list(widths.values()) == [[6], [1], [6], [1]]
        refused = lab(client, "infer", {"observation": {}}, "3")
        assert refused["message_type"] == "error"
        assert "vision.cam_head.color: expected a picture" in refused["payload"]["message"]
        assert lab(client, "heartbeat", {}, "4")["message_type"] == "heartbeat_ack"
        assert lab(client, "trial_end", {}, "5")["message_type"] == "trial_end_ack"
        client.send(msgpack.packb({"message_type": "close", "message_id": "6"}))
        with pytest.raises(ConnectionClosed):
            client.recv(20)


def test_a_protocol_without_an_interface_is_told_so(tmp_path: Path) -> None:
    with (
        serving(make_checkpoint(tmp_path / "c")) as (_, port),
        open_client(port, "/vla-eval") as client,
    ):
        answer = VlaEval(client).ask("observation", robotwin())
        assert answer["type"] == "error"
        assert "--interface of this protocol" in answer["payload"]["error"]
