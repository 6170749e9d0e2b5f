# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, led over a pipe by its DevTools protocol: no port, no driver to install."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ANSWER = 120.0  # s for an answer, on a machine that may be busy
_FLAGS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe"


class Browser:
    """One page; ends with the ``with`` block.

    Args:
        folder: of its user data.
        url: to open.
    """

    def __init__(self, folder: Path, url: str) -> None:
        assert CHROMIUM is not None
        asked, self._ask = os.pipe()
        self._hear, told = os.pipe()

        def put_pipes_where_chromium_looks() -> None:
            reading, writing = os.dup(asked), os.dup(told)  # neither may lie on 3 or 4 yet
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={folder}", "about:blank"],
            close_fds=False,
            start_new_session=True,
            preexec_fn=put_pipes_where_chromium_looks,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(asked)
        os.close(told)
        self._buffer, self._number, self._session = b"", 0, ""
        target = self._call("Target.createTarget", url=url)["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10.0)
        os.close(self._ask)
        os.close(self._hear)

    def text(self, selector: str) -> str:
        """What an element of the page says."""
        code = f"(document.querySelector({json.dumps(selector)}) || {{}}).textContent || ''"
        return str(self.value(code))

    def value(self, code: str) -> Any:
        """Of a JavaScript expression."""
        return self._call("Runtime.evaluate", expression=code)["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key, as a keyboard sends it."""
        for kind in ("keyDown", "keyUp"):
            self.key(kind, key, code)

    def key(self, kind: str, key: str, code: int) -> None:
        """One half of it, ``keyDown`` or ``keyUp``."""
        self._call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
        )

    def wait_for(self, selector: str, words: str, timeout: float = 120.0) -> None:
        """Until an element's text contains the words."""
        end = time.monotonic() + timeout
        while words not in (text := self.text(selector)):
            assert time.monotonic() < end, f"{selector}: expected {words!r}, got {text!r}"
            time.sleep(0.1)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._ask, json.dumps(request).encode() + b"\0")
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "result" in message, message
                return dict(message["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._hear], [], [], _ANSWER)
            assert ready, f"the browser said nothing for {_ANSWER:g} s"
            data = os.read(self._hear, 65536)
            assert data, "the browser has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))
