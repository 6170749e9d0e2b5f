# SPDX-License-Identifier: Apache-2.0
"""The simulator's process: reads (method, arguments) from its input, writes the answer to its output.

Messages are pickles, between two processes of one program; whatever LIBERO prints goes to the log.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from typing import IO, Any


def main() -> None:
    """Answer until the input ends."""
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = _Simulator()
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, getattr(server, name)(**arguments))
        except Exception:
            answer = (False, traceback.format_exc())
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


class _Simulator:
    """One world at a time: a scene has 300,000 faces."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._world: Any = None

    def suites(self, names: list[str]) -> dict[str, list[str]]:
        """Suite -> sentences of its tasks."""
        from libero.libero import benchmark

        found = {}
        for name in names:
            tasks = benchmark.get_benchmark_dict()[name]()
            found[name] = [str(tasks.get_task(n).language) for n in range(tasks.n_tasks)]
        return found

    def open(self, suite: str, task: int, size: int = 256) -> dict[str, Any]:
        """Make a task's world the one that is asked."""
        from adamoe_ros.sim.libero.world import LiberoWorld

        if self._key != (suite, task, size):
            if self._world is not None:
                self._world.close()
            self._world, self._key = LiberoWorld(suite, task, size), (suite, task, size)
        return {"sentence": self._world.sentence, "initial_states": self._world.initial_states}

    def begin(self, **arguments: Any) -> Any:
        """See ``LiberoWorld``."""
        return self._world.begin(**arguments)

    def step(self, **arguments: Any) -> Any:
        """See ``LiberoWorld``."""
        return self._world.step(**arguments)

    def same_pictures(self, **arguments: Any) -> Any:
        """See ``LiberoWorld``."""
        return self._world.same_pictures(**arguments)

    def demonstrate(self, **arguments: Any) -> Any:
        """See ``expert``."""
        from adamoe_ros.sim.libero.expert import demonstrate

        return demonstrate(self._world, **arguments)


if __name__ == "__main__":
    main()
