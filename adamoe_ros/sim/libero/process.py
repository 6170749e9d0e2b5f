# SPDX-License-Identifier: Apache-2.0
"""The simulator in its own environment: made on first use, started, asked; everything bounded in time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.resources import share_dir

_INSTALL_S, _ANSWER_S = 3600.0, 900.0  # longest times; a scene is made in 3 to 11 s on a free core
_FREE = 3 << 30  # bytes that the packages and pip's temporaries need
_PYTHONS = ("python3.11", "python3.12", "python3.13")  # that the pinned versions have wheels for
_WHERE = "LIBERO's environment"


def libero_python(report: Callable[[str], None]) -> Path:
    """The interpreter of LIBERO's environment, in ADAMOE_CACHE or ~/.cache/adamoe_ros.

    It is made where there is none with these pins (2.1 GB, some minutes).

    Args:
        report: is given a line now and then while that lasts.

    Raises:
        ContractError: it cannot be made; one line that says why.
    """
    pins = share_dir() / "config" / "benchmarks" / "libero.txt"
    cache = Path(os.environ.get("ADAMOE_CACHE") or Path.home() / ".cache" / "adamoe_ros")
    folder = cache / f"libero-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    python, whole = folder / "bin" / "python", folder / "whole"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "libero.lock").open("w") as lock:  # two of us would spoil each other's
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.is_file():
            _make(folder, pins, report)
            whole.touch()
    return python


def _make(folder: Path, pins: Path, report: Callable[[str], None]) -> None:
    interpreter = next(filter(None, map(_python, (sys.executable, *_PYTHONS))), None)
    if interpreter is None:
        do = f"install one ({_PYTHONS[0]})"
        raise ContractError(problem(_WHERE, "Python 3.11 ... 3.13 with venv", "none", do))
    free = shutil.disk_usage(folder.parent).free
    if free < _FREE:
        expected, do = f"{_FREE / 2**30:.0f} GB free in {folder.parent}", "set ADAMOE_CACHE"
        raise ContractError(problem(_WHERE, expected, f"{free / 2**30:.1f} GB", do))
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_suffix(".log")
    report(f"making {_WHERE} in {folder} (once; 2.1 GB)")
    begin = time.monotonic()
    with log.open("w") as output:
        _bounded([interpreter, "-m", "venv", str(folder)], output, log, lambda: None)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]

        def progress() -> None:
            count = len(list(folder.glob("lib/python*/site-packages/*.dist-info")))
            wanted = len(pins.read_text(encoding="utf-8").splitlines())
            report(f"{_WHERE}: {count} of {wanted} packages, {time.monotonic() - begin:.0f} s")

        _bounded([*pip, "--no-deps", "-r", str(pins)], output, log, progress)


def _python(name: str) -> str | None:
    """An interpreter that has venv and wheels; None: it has not."""
    check = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    found = shutil.which(name)
    fits = found and not subprocess.run([found, "-c", check], capture_output=True).returncode
    return found if fits else None


def _bounded(
    command: list[str],
    output: IO[str],
    log: Path,
    progress: Callable[[], None],
    every_s: float = 20.0,
) -> None:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    ends = time.monotonic() + _INSTALL_S
    try:
        while time.monotonic() < ends:
            try:
                if process.wait(every_s) == 0:
                    return
                break
            except subprocess.TimeoutExpired:
                progress()
    finally:
        process.kill()
        process.wait()
    lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
    got = lines[-1].removeprefix("ERROR: ")[:200] if lines else f"exit {process.returncode}"
    do = f"is the package index reachable? all output: {log}"
    raise ContractError(problem(_WHERE, "its pinned packages", got, do))


class SimulatorProcess:
    """One simulator; used from one thread, closed at its end.

    Args:
        python: of ``libero_python``.
        answer_s: longest time of an answer.
    """

    def __init__(self, python: Path, answer_s: float = _ANSWER_S) -> None:
        self._answer_s = answer_s
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (see close)
        package = Path(__file__).resolve().parents[3]
        keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [str(python), "-m", "adamoe_ros.sim.libero.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=package,
            env={"MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1", **keep, "PYTHONPATH": str(package)},
            start_new_session=True,
        )

    def ask(self, method: str, **arguments: Any) -> Any:
        """What a method of ``worker`` returns.

        Raises:
            ContractError: it failed, or its process ended or did not answer in time.
        """
        process, late = self._process, threading.Event()
        assert process.stdin is not None and process.stdout is not None

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._answer_s, stop)
        timer.start()
        try:
            pickle.dump((method, arguments), process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            good, answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            got = f"none in {self._answer_s:.0f} s" if late.is_set() else self._last_line()
            where, do = f"LIBERO: {method}", "see doc/benchmarks.md"
            raise ContractError(problem(where, "an answer", got, do)) from error
        finally:
            timer.cancel()
        if not good:
            got = " ".join(str(answer).strip().splitlines()[-1].split())[:200]
            raise ContractError(problem(f"LIBERO: {method}", "it to work", got, "report it"))
        return answer

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return f"the process ended: {lines[-1][:200] if lines else self._process.poll()}"

    def close(self) -> None:
        """End it; may be called twice."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what it never read has nowhere to go
                if stream is not None:
                    stream.close()
        self._log.close()


@cache
def own_simulator(python: Path) -> SimulatorProcess:
    """The one simulator of this process, which starts with the first call and ends with the process."""
    return SimulatorProcess(python)
