# SPDX-License-Identifier: Apache-2.0
"""Damaged variants of every input through the commands that read them: no traceback, nothing silent.

``make fuzz``: 10,000 examples of test/core/data/fuzzing.py, numbered from ``--first``. Exit code 1: there
were faults; each is in the report with the number that makes it again (``--first N --count 1``).

``--messages N`` sends messages of any content to real nodes instead (test/ros/message_fuzz.py; needs ROS),
with a report of its own: both together are the 100,000 examples. ``--frames N`` sends frames to a policy
server, beside other attacks (fuzz_serving.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

for folder in ("data", "model", "policy", "streams", "training"):
    sys.path.insert(0, str(ROOT / "test" / "core" / folder))

_AT_ONCE = 50  # examples of a process between looks at the clock


def examples(first: int, count: int, workers: int, until: float) -> Iterator[Any]:
    """Every example in order, as far as the time goes."""
    from fuzzing import try_example

    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for start in range(first, first + count, workers * _AT_ONCE):
            if time.time() > until:
                return
            numbers = range(start, min(start + workers * _AT_ONCE, first + count))
            yield from pool.map(try_example, numbers, chunksize=10)


def fuzz_messages(options: argparse.Namespace) -> int:
    """Any message to every topic and service of real nodes; a fault ends the run."""
    for folder in ("ros", "core/policy"):
        sys.path.insert(0, str(ROOT / "test" / folder))
    from control_rig import isolate
    from message_fuzz import MessageFuzz, fuzz

    isolate()
    begun, done, fault = time.monotonic(), 0, ""
    about, until = machine(), begun + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder, MessageFuzz(Path(folder)) as rig:

        def report(sent: int) -> None:
            document = {
                "machine": about,
                "messages": sent,
                "first_seed": options.first,
                "targets": dict(sorted(rig.sent.items())),
                "fault": fault,
                "seconds": round(time.monotonic() - begun, 1),
            }
            write(options.out or RESULTS / "fuzz_messages.json", document)

        def said(sent: int) -> None:
            nonlocal done
            done = sent
            if sent % 1000 == 0:
                print(f"{sent} of {options.messages} messages", flush=True)
                report(sent)

        try:
            fuzz(rig, options.messages, options.first, until, said)
        except AssertionError as error:
            fault = str(error)[-8000:]
            print(fault)
        report(done)
    return 1 if fault else 0


def main() -> int:
    """Try them, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--first", type=int, default=0, help="number of the first example")
    parser.add_argument("--count", type=int, default=10_000, help="examples")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="report; default: in benchmarks/results")
    parser.add_argument("--messages", type=int, default=0, help="send so many to real nodes")
    parser.add_argument("--frames", type=int, default=0, help="send so many to a policy server")
    parser.add_argument("--minutes", type=float, default=180.0, help="end after so long")
    options = parser.parse_args()
    if options.messages:
        return fuzz_messages(options)
    if options.frames:
        from fuzz_serving import attack_server

        return attack_server(options.frames, options.first, options.minutes, options.out)
    begun = time.time()
    codes: dict[str, Counter[str]] = {}
    faults: list[dict[str, Any]] = []
    slowest, done = 0.0, 0
    until = begun + 60 * options.minutes
    found = examples(options.first, options.count, options.workers, until)
    for done, item in enumerate(found, 1):
        codes.setdefault(item.target, Counter())[str(item.code)] += 1
        slowest = max(slowest, item.seconds)
        if item.fault:
            faults.append(vars(item) | {"lines": item.lines[-5:]})
            told = f"{item.number} {item.target}: {item.file}: {item.damage}: {item.fault}"
            print(told, flush=True)
        if done % 500 == 0:
            print(f"{done} of {options.count}, {len(faults)} faults", flush=True)
    document = {
        "machine": machine(),
        "examples": done,
        "first": options.first,
        "faults": faults,
        "exit_codes": {name: dict(sorted(c.items())) for name, c in sorted(codes.items())},
        "slowest_s": round(slowest, 2),
        "seconds": round(time.time() - begun, 1),
    }
    write(options.out or RESULTS / "fuzz.json", document)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
