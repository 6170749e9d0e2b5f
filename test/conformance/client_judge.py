# SPDX-License-Identifier: Apache-2.0
"""Other people's policy clients, unmodified, each run in its own environment against our server.

    python client_judge.py openpi|vla-eval|xpolicylab ws://host:port IN.npz OUT.npz

IN has pictures (3, h, w, 3), state, prompt and noise; OUT receives ``actions`` (rows, 14), ``error``, the
line of a refused observation, and ``version`` of the client's package.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import numpy as np

VLA_ROWS = 3
LAB_KEYS = (
    *("left_arm_joint_state", "left_ee_joint_state"),
    *("right_arm_joint_state", "right_ee_joint_state"),
)
Given = dict[str, Any]
Found = tuple[Any, str]


def openpi(url: str, given: Given) -> Found:
    """openpi_client.websocket_client_policy: handshake, inference, reset, error."""
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    policy = WebsocketClientPolicy(url)
    assert policy.get_server_metadata()
    policy.reset()
    names = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    images = {n: i.transpose(2, 0, 1) for n, i in zip(names, given["images"], strict=True)}
    seen = {"state": given["state"], "images": images, "prompt": str(given["prompt"])}
    answer = policy.infer({**seen, "adamoe": {"noise": given["noise"]}})
    assert answer["server_timing"]["infer_ms"] > 0
    try:
        policy.infer({**seen, "state": given["state"][:3]})
    except RuntimeError as error:
        return answer["actions"], str(error)
    raise AssertionError("a state of three numbers was taken")


def vla_eval(url: str, given: Given) -> Found:
    """vla_eval.connection: hello, episode, actions one by one, error, end."""
    import anyio
    from vla_eval.connection import Connection

    names = ("head_camera", "left_camera", "right_camera")
    seen = {
        "images": dict(zip(names, given["images"], strict=True)),
        "joint_state": given["state"],
        "task_description": str(given["prompt"]),
        "adamoe": {"noise": given["noise"]},
    }

    async def run() -> Found:
        async with Connection(url) as connection:
            assert connection.server_info["protocol_version"] == 1
            await connection.start_episode({"task": "conformance"})
            rows = [(await connection.act(seen))["actions"] for _ in range(VLA_ROWS)]
            await connection.end_episode({"success": True})
            try:
                await connection.act({**seen, "joint_state": given["state"][:3]})
            except RuntimeError as error:
                return np.stack(rows), str(error)
        raise AssertionError("a state of three numbers was taken")

    return anyio.run(run)


def xpolicylab(url: str, given: Given) -> Found:
    """inspect_robots_xpolicylab's client: hello, reset, infer, error, trial_end, close."""
    from inspect_robots_xpolicylab._client import PolicyClient
    from inspect_robots_xpolicylab._protocol import WsError

    client = PolicyClient(url, "conformance", connect_attempts=1)
    client.connect()
    client.reset("trial")
    names = ("cam_head", "cam_left_wrist", "cam_right_wrist")
    state = dict(zip(LAB_KEYS, np.split(given["state"], [6, 7, 13]), strict=True))
    seen = {
        "vision": {n: {"color": i} for n, i in zip(names, given["images"], strict=True)},
        "state": state,
        "instruction": str(given["prompt"]),
        "adamoe": {"noise": given["noise"]},
    }
    actions = client.infer(seen, trial_id="trial", step=0).payload["actions"]
    rows = [np.concatenate([row[key] for key in LAB_KEYS]) for row in actions]
    try:
        client.infer({**seen, "state": {}}, trial_id="trial", step=1)
    except WsError as error:
        client.trial_end("trial")
        client.close()
        return np.stack(rows), str(error)
    raise AssertionError("an empty state was taken")


CLIENTS = {
    "openpi": (openpi, "openpi-client"),
    "vla-eval": (vla_eval, "vla-eval"),
    "xpolicylab": (xpolicylab, "inspect-robots-xpolicylab"),
}


def main(name: str, url: str, source: str, target: str) -> None:
    """One client's run."""
    run, package = CLIENTS[name]
    with np.load(source) as found:
        actions, error = run(url, dict(found))
    np.savez(target, actions=actions, error=error, version=version(package))


if __name__ == "__main__":
    main(*sys.argv[1:])
