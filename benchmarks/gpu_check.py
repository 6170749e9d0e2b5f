#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that is to be known of a GPU, in one run of at most nine minutes.

Runs the steps of ``gpu_steps.py`` in order, each in a process of its own that is killed at its
limit. After every step ``gpu_check.json`` and ``page.txt`` in the folder are written anew, so that
nothing is lost when the run is cut off; a step that fails does not stop the later ones. Standard
library only: it reports also where nothing can be imported. ``tools/gpu_check.sh`` starts it.

    tools/gpu_check.sh out/gpu              # on the GPU
    tools/gpu_check.sh out/gpu --rehearse   # same steps on the CPU, tiny sizes; measures nothing
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS_SCRIPT = Path(__file__).with_name("gpu_steps.py")
_LEAST = 8.0  # s; with less no step is begun: importing torch alone takes as long
_RESERVE = 5.0  # s kept for the page
_TAIL = 12  # lines of a failed step's output that the page shows


@dataclass(frozen=True)
class Step:
    """One measurement.

    Attributes:
        name: of ``gpu_steps.STEPS``, with its arguments: ``engine adamoe_pi0 wide``.
        limit: s after which it is killed.
        title: on the page.
    """

    name: str
    limit: float
    title: str


# expected on an H200: about two thirds of each limit
STEPS = (
    Step("environment", 25, "environment"),
    Step("ceilings", 30, "ceilings: copy, bf16 product"),
    Step("tests", 110, "test/gpu"),
    Step("engine adamoe_pi0 wide", 70, "AdaMoE pi0, wide"),
    Step("engine adamoe_pi0 grouped", 55, "AdaMoE pi0, grouped"),
    Step("engine adamoe_pi0 triton", 55, "AdaMoE pi0, triton"),
    Step("engine pi0 auto", 50, "dense pi0"),
    Step("engine pi05 auto", 50, "dense pi0.5"),
    Step("engine adamoe_pi05 auto", 55, "AdaMoE pi0.5"),
    Step("peer", 45, "transformers' PI0, eager, the dense weights"),
    Step("int8", 55, "AdaMoE pi0, 8-bit weights"),
    Step("batches", 75, "AdaMoE pi0, batch 1, 2, 4, 8"),
    Step("soak", 600, "soak, as long as time is left"),
)


class Run:
    """Results so far, and the files that hold them.

    Args:
        folder: made if missing.
        seconds: for everything.
        script: Python file that runs a step: ``script STEP --result FILE --seconds S``.
    """

    def __init__(self, folder: Path, seconds: float, rehearse: bool, script: Path) -> None:
        self.folder, self._script, self._rehearse = folder.resolve(), script, rehearse
        self.folder.mkdir(parents=True, exist_ok=True)
        self._end = time.monotonic() + seconds
        self._log = self.folder / "log.txt"
        self._log.write_text("")
        self.document: dict[str, Any] = {
            "what": "tools/gpu_check.sh" + (" --rehearse: measures nothing" if rehearse else ""),
            "rehearsal": rehearse,
            "seconds_allowed": seconds,
            "steps": {},
        }

    def left(self) -> float:
        """s for steps."""
        return self._end - _RESERVE - time.monotonic()

    def do(self, step: Step) -> dict[str, Any]:
        """One step, whatever becomes of it; its record is written at once."""
        # a rehearsal may share its cores with other tests
        limit = min(step.limit * (3 if self._rehearse else 1), self.left())
        if limit < _LEAST:
            record: dict[str, Any] = {"status": "left out: no time left", "seconds": 0.0}
        else:
            record = self._run(step, limit)
        self.document["steps"][step.name] = {"title": step.title, **record}
        self.write()
        return record

    def _run(self, step: Step, limit: float) -> dict[str, Any]:
        result = self.folder / ".step.json"
        result.unlink(missing_ok=True)
        words = [sys.executable, str(self._script), *step.name.split()]
        words += ["--result", str(result), "--folder", str(self.folder), "--seconds", f"{limit}"]
        words += ["--rehearse"] * self._rehearse
        begun = time.monotonic()
        with self._log.open("ab") as log:
            log.write(f"\n$ {' '.join(words)}\n".encode())
            log.flush()
            start = log.tell()
            code = run_bounded(words, limit, log)
        seconds = round(time.monotonic() - begun, 2)
        tail = self._log.read_bytes()[start:].decode(errors="replace").splitlines()[-_TAIL:]
        found = read_json(result)
        result.unlink(missing_ok=True)
        status = found.pop("status", "done") if code == 0 else f"failed: exit code {code}"
        if code is None:
            status = f"stopped at its limit of {limit:.0f} s"
        record = {"status": status, "seconds": seconds, "result": found}
        return record if code == 0 else {**record, "output": tail}

    def write(self) -> None:
        """Both files, complete or not at all."""
        self.document["seconds"] = round(sum(r["seconds"] for r in self.document["steps"].values()))
        text = json.dumps(self.document, indent=1) + "\n"
        for name, content in (("gpu_check.json", text), ("page.txt", page(self.document))):
            part = self.folder / f".{name}"
            part.write_text(content, encoding="utf-8")
            part.replace(self.folder / name)


def run_bounded(words: Sequence[str], limit: float, log: Any) -> int | None:
    """Exit code of a command; None: killed at its limit, with everything it started."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):  # what it started may outlive it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_json(path: Path) -> dict[str, Any]:
    """What a step has written so far; empty where that is nothing whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# --- the page -------------------------------------------------------------------------------------


def page(document: dict[str, Any]) -> str:
    """What a person judges the run by."""
    steps = document["steps"]
    about = steps.get("environment", {}).get("result", {})
    lines = ["REHEARSAL on the CPU: no figure below is one"] * document["rehearsal"]
    lines.append(f"{about.get('device', 'unknown device')}; {about.get('versions', '')}")
    for record in steps.values():
        lines.append(f"{record['status']:<12.60} {record['seconds']:7.1f} s  {record['title']}")
        lines += [f"      {line}" for line in record.get("result", {}).get("lines", [])]
        lines += [f"    | {line[:160]}" for line in record.get("output", [])]
    bad = [r["title"] for r in steps.values() if not fine(r["status"])]
    lines.append(f"{document['seconds']} of {document['seconds_allowed']:.0f} s used")
    lines.append("not done: " + "; ".join(bad) if bad else "every step was done")
    return "\n".join(lines) + "\n"


def fine(status: str) -> bool:
    """Whether nothing is to be mended."""
    return status == "done" or status.startswith("not there yet")


def main(arguments: list[str] | None = None) -> int:
    """Run all steps, print the page; 1: something was not done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for gpu_check.json, page.txt and log.txt")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, tiny sizes")
    parser.add_argument("--seconds", type=float, default=530.0, help="for everything")
    options = parser.parse_args(arguments)
    run = Run(options.folder, options.seconds, options.rehearse, STEPS_SCRIPT)
    for step in STEPS:
        record = run.do(step)
        print(f"{step.title}: {record['status']}, {record['seconds']} s", flush=True)
    run.write()
    print("\n" + page(run.document), flush=True)
    return 0 if all(fine(r["status"]) for r in run.document["steps"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
