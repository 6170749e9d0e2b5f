# SPDX-License-Identifier: Apache-2.0
"""openpi's protocol on a real port: handshake, answers, errors, episodes of several clients."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_support import make_checkpoint
from rich.console import Console
from serving_support import PROMPT, aloha, ask, open_client, serving, wait_until
from websockets.exceptions import ConnectionClosed

from adamoe_ros.cli.serve import _view
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.infer_file import InferSettings, infer_file
from adamoe_ros.serving import wire
from adamoe_ros.serving.service import PolicyService, fingerprint

Served = tuple[PolicyService, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("served") / "checkpoint", rtc_max_delay=3)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder) as made:
        yield made


def test_the_metadata_come_first_and_hold_what_a_robot_checks(served: Served, folder: Path) -> None:
    with open_client(served[1], "/") as client:
        told = wire.unpack(client.recv(20))["adamoe"]
    assert CheckpointManifest.model_validate_json(told["manifest"]).camera_slots
    assert json.loads(told["norm_stats"])["norm_stats"]["state"]["mean"]
    assert told["fingerprint"] == fingerprint(read_checkpoint(folder))
    assert set(told["keys"]) >= {"rows", "weights", "noise_seed", "trace", "images"}


def test_every_byte_that_makes_the_policy_counts_for_its_fingerprint(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    checkpoint = read_checkpoint(folder)
    marks = [fingerprint(checkpoint)]
    weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
    with weights.open("r+b") as stream:
        stream.truncate(weights.stat().st_size + (2 << 20))  # beyond what one look reads
    for path, at in ((weights, -1), (weights, -(1 << 20)), (tokenizer, -2)):
        marks.append(fingerprint(checkpoint))
        with path.open("r+b") as stream:
            stream.seek(at, 2)
            stream.write(b"\x01")
    assert len({*marks, fingerprint(checkpoint)}) == 5


def test_actions_are_those_of_adamoe_infer(served: Served, folder: Path, tmp_path: Path) -> None:
    seen, noise = aloha(), served[0].actor.runtime.noise(3)[0].numpy()
    images = np.stack([image.transpose(1, 2, 0) for image in seen["images"].values()])
    arrays = {"images": images, "state": seen["state"], "prompt": PROMPT, "noise": noise}
    np.savez(tmp_path / "in.npz", **arrays)
    wanted = infer_file(folder, tmp_path / "in.npz", tmp_path / "out.npz", InferSettings())
    with open_client(served[1]) as client:
        client.recv(20)
        answer = ask(client, seen | {"adamoe": {"noise": noise}})
    np.testing.assert_allclose(answer["actions"], wanted["actions"], atol=1e-5)
    assert answer["server_timing"]["infer_ms"] > 0
    assert answer["policy_timing"]["infer_ms"] > 0
    assert "prev_total_ms" not in answer["server_timing"]


def test_pictures_in_both_orders_and_as_numbers_give_the_same(served: Served) -> None:
    seen, fixed = aloha(), {"adamoe": {"noise_seed": 3}}
    turned = {name: image.transpose(1, 2, 0) for name, image in seen["images"].items()}
    # openpi takes floats, too, and cuts them to whole levels
    floats = {name: (image + 0.25) / np.float64(255.25) for name, image in seen["images"].items()}
    levels = {name: (255 * image).astype(np.uint8) for name, image in floats.items()}
    with open_client(served[1]) as client:
        client.recv(20)
        rows = [
            ask(client, seen | fixed | {"images": images})["actions"]
            for images in (seen["images"], turned, floats, levels)
        ]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[2], rows[3])


def test_chunks_without_a_seed_differ_and_repeat_from_the_start(folder: Path) -> None:
    def two_chunks() -> list[Any]:
        with serving(folder) as (_, port), open_client(port) as client:
            client.recv(20)
            return [ask(client, aloha())["actions"] for _ in range(2)]

    first, again = two_chunks(), two_chunks()
    assert np.abs(first[0] - first[1]).max() > 1e-3
    np.testing.assert_allclose(first, again, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": np.zeros(13)}, "state: expected numbers of shape (14,), got (13,)"),
        ({"state": np.full(14, np.nan)}, "state: expected finite numbers"),
        ({"state": None}, "state: expected numbers of shape (14,), got NoneType"),
        ({"state": np.rad2deg(np.linspace(-1, 1, 14))}, "state: left_0: expected rad, got -57.3"),
        ({"prompt": 3}, "prompt: expected a sentence"),
        ({"prompt": " "}, "prompt: expected a sentence"),
        ({"prompt": "lift " * 300}, "tokens, got 300 tokens"),
        ({"images": {}}, "images.cam_high: expected a picture"),
        ({"images": {"cam_high": np.zeros((4, 8, 8), np.uint8)}}, "got (4, 8, 8)"),
        ({"images": {"cam_high": np.zeros((3, 8, 8), np.int64)}}, "got int64"),
        ({"images": {"cam_high": np.full((3, 8, 8), 200.0)}}, "got 200 ... 200"),
        ({"images": {"cam_high": b"no picture"}}, "images.cam_high: expected a JPEG or PNG"),
        ({"adamoe": {"wish": 1}}, "got unknown key 'wish'"),
        ({"adamoe": {"noise": np.zeros((2, 2))}}, "noise: expected numbers of shape"),
        ({"adamoe": {"noise_seed": -1}}, "noise_seed: expected a whole number"),
    ],
)
def test_what_does_not_fit_is_one_line_and_the_end(
    served: Served, changes: dict[str, Any], said: str
) -> None:
    with open_client(served[1]) as client:
        client.recv(20)
        line = ask(client, aloha() | changes)
        assert isinstance(line, str) and said in line and "\n" not in line
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011


def test_a_camera_that_comes_or_goes_is_named(served: Served) -> None:
    seen = aloha()
    one = seen | {"images": {"cam_high": seen["images"]["cam_high"]}}
    with open_client(served[1]) as client:
        client.recv(20)
        assert ask(client, one)["actions"].shape == (served[0].actor.horizon, 14)
        assert "cameras: expected cam_high as before" in ask(client, seen)


def test_a_request_that_cannot_be_inferred_fails_alone(served: Served) -> None:
    """It is in one batch with others: only its sender hears of it."""
    long = " ".join(
        ["bar"] * 2000
    )  # more tokens than the policy has room for, or cut: never others'
    answers: list[Any] = []
    lock = threading.Lock()

    def client_of(prompt: str) -> None:
        with open_client(served[1]) as client:
            client.recv(20)
            for _ in range(3):
                answer = ask(client, aloha(prompt=prompt))
                if isinstance(answer, str):
                    return
                with lock:
                    answers.append(answer["actions"])

    threads = [threading.Thread(target=client_of, args=(p,)) for p in (PROMPT, long, PROMPT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) >= 6
    assert all(np.isfinite(rows).all() for rows in answers)


def test_waiting_requests_share_a_batch_and_give_the_same_rows(served: Served) -> None:
    service, port = served
    alone = {}
    with open_client(port) as client:
        client.recv(20)
        for seed in range(4):
            fixed = aloha(seed) | {"adamoe": {"noise_seed": seed}}
            alone[seed] = ask(client, fixed)["actions"]
    service.metrics.batches.clear()
    barrier, together = threading.Barrier(4), {}

    def client_of(seed: int) -> None:
        with open_client(port) as client:
            client.recv(20)
            frame = wire.pack(aloha(seed) | {"adamoe": {"noise_seed": seed}})
            barrier.wait(20)
            for _ in range(10):
                client.send(frame)
                together[seed] = wire.unpack(client.recv(20))["actions"]

    most, service._batcher.most = service._batcher.most, 4
    threads = [threading.Thread(target=client_of, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    service._batcher.most = most
    assert max(service.metrics.batches) > 1
    for seed in range(4):
        np.testing.assert_allclose(together[seed], alone[seed], atol=1e-5)


def test_a_request_whose_client_has_gone_is_not_inferred(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, port = served
    infer, begun, go_on = service.actor.infer_batch, threading.Event(), threading.Event()
    sizes: list[int] = []

    def held_up(requesters: Any, *rest: Any, **options: Any) -> Any:
        sizes.append(len(requesters))
        begun.set()
        assert go_on.wait(60)
        return infer(requesters, *rest, **options)

    monkeypatch.setattr(service.actor, "infer_batch", held_up)
    frame = wire.pack(aloha())
    with open_client(port) as stays:
        stays.recv(20)
        stays.send(frame)
        assert begun.wait(60)
        try:
            for _ in range(3):
                with open_client(port) as goes:
                    goes.recv(20)
                    goes.send(frame)
                    wait_until(lambda: service.queued > 0)
            wait_until(lambda: len(service.metrics.clients) == 1)
        finally:
            go_on.set()
        for _ in range(2):
            assert isinstance(stays.recv(20), bytes)
            stays.send(frame)
        stays.recv(20)
    assert sizes == [1, 1, 1]


def test_pages(served: Served) -> None:
    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{served[1]}{path}", timeout=20) as answer:
            return answer.read().decode()

    with open_client(served[1]) as client:
        client.recv(20)
        ask(client, aloha())
        assert page("/healthz") == "OK\n"
        told = page("/metrics")
    assert 'adamoe_requests_total{outcome="ok",protocol="openpi"}' in told
    assert "adamoe_batch_size_bucket" in told
    assert "adamoe_queue" in told


def test_the_terminal_shows_a_line_for_each_client(served: Served) -> None:
    with open_client(served[1]) as client, open_client(served[1], "/vla-eval"):
        client.recv(20)
        ask(client, aloha())
        lines: list[str] = []

        def shows_the_answer() -> bool:
            console = Console(width=70, record=True, file=StringIO())
            console.print(_view(served[0]))
            lines[:] = console.export_text().splitlines()
            return any(line.split()[3:4] == ["1"] for line in lines if " openpi " in line)

        wait_until(shows_the_answer)
    assert lines[0].startswith("2 clients, 0 waiting")
    (openpi,) = (line.split() for line in lines if " openpi " in line)
    assert openpi[1].startswith("127.0.0.1:") and openpi[3] == "1" and len(openpi) == 6
    (other,) = (line.split() for line in lines if " vla-eval " in line)
    assert other[3:] == ["0"]  # no latency yet


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ("droid", "interface: state: expected 14 numbers"),
        (
            "elsewhere",
            "interface: expected aloha, droid, libero, vla_eval_libero, vla_eval_robotwin, xpolicylab, or a .yaml file, got 'elsewhere'",
        ),
    ],
)
def test_an_interface_that_does_not_fit_is_refused(folder: Path, interface: str, said: str) -> None:
    with pytest.raises(ContractError) as error, serving(folder, interface=(interface,)):
        pass
    assert said in str(error.value)


@pytest.mark.parametrize("prompt", ["lift " * 300, " "])
def test_a_prompt_that_no_request_could_use_is_refused_at_the_start(
    folder: Path, prompt: str
) -> None:
    with pytest.raises(ContractError, match="prompt") as error, serving(folder, prompt=prompt):
        pass
    assert len(error.value.problems) == 1


def test_an_interface_of_ones_own(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "description: mine\nstate: [{key: left, width: 7}, {key: right, width: 7}]\n"
        "cameras: [{key: top, slots: [cam_high]}]\nabsent: [cam_left_wrist, cam_right_wrist]\n"
        "action_columns: 7\n"
    )
    seen = {"left": np.zeros(7), "right": np.ones(7), "top": np.zeros((8, 8, 3), np.uint8)}
    with (
        serving(folder, interface=(str(path),), prompt=PROMPT) as (_, port),
        open_client(port) as client,
    ):
        client.recv(20)
        assert ask(client, seen)["actions"].shape[1] == 7
    path.write_text(path.read_text().replace("[cam_high]", "[cam_high], optional: true"))
    with (
        serving(folder, interface=(str(path),), prompt=PROMPT) as (_, port),
        open_client(port) as client,
    ):
        client.recv(20)
        seen.pop("top")
        assert "cameras: expected one of top, got none" in ask(client, seen)
    path.write_text("description: mine\nstate: []\ncamera: []\n")
    with pytest.raises(ContractError) as error, serving(folder, interface=(str(path),)):
        pass
    assert "did you mean 'cameras'?" in str(error.value)
