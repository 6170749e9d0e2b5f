# SPDX-License-Identifier: Apache-2.0
"""What a person sees while the demo runs: a live panel on a terminal, plain lines elsewhere.

Shows snapshots that it is given; knows no ROS. ``rich`` is imported only for a terminal.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass(frozen=True)
class ViewState:
    """The figures of one moment.

    Attributes:
        inference: s, last one; None before the first.
        command_rate: Hz, None while unknown.
        elapsed: s of simulation time in the episode.
        speed: simulated seconds per second of wall time; None while unknown.
        success: by the simulator, at some moment of the episode.
    """

    episode: int
    episodes: int
    instruction: str
    phase: str
    mode: str
    inference: float | None
    command_rate: float | None
    chunks: int
    holds: int
    elapsed: float
    speed: float | None
    success: bool


def describe(now: ViewState) -> list[tuple[str, str]]:
    """(name, value) pairs in the order they are shown."""
    inference = "–" if now.inference is None else f"{now.inference * 1e3:.0f} ms"
    rate = "–" if now.command_rate is None else f"{now.command_rate:.1f} Hz"
    pairs = [
        ("phase", f"{now.phase}, control {now.mode}"),
        ("inference", inference),
        ("commands", rate),
        ("chunks", str(now.chunks)),
        ("holds", str(now.holds)),
        ("success", "yes" if now.success else "not yet"),
    ]
    if now.speed is not None:
        pairs.append(("sim speed", f"{now.speed:.2f}x"))
    return pairs


class View:
    """Where the demo shows its progress: one line a second.

    Args:
        stream: to write to.
    """

    period = 1.0  # s between figures

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due = 0.0

    def step(self, text: str) -> None:
        """A line that stays."""
        print(text, file=self._stream, flush=True)

    def update(self, now: ViewState) -> None:
        """Current figures; may be called often."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self.period
            self.show(now)

    def show(self, now: ViewState) -> None:
        """Figures, at once."""
        figures = "  ".join(f"{name} {value}" for name, value in describe(now))
        self.step(f"  {now.elapsed:5.1f} s  {figures}")

    def quiet(self) -> None:
        """No figures for now: an episode has ended, or the command."""


class PanelView(View):
    """A panel that is redrawn in place."""

    period = 0.2

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__(sys.stdout)
        self._console = Console()
        self._live: Any = None

    def step(self, text: str) -> None:
        """See ``View``."""
        self._console.print(text, highlight=False, markup=False)

    def show(self, now: ViewState) -> None:
        """See ``View``."""
        if self._live is None:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._panel(now), refresh=True)

    def quiet(self) -> None:
        """See ``View``; gives the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @staticmethod
    def _panel(now: ViewState) -> Any:
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 3))
        table.add_column(style="dim", min_width=10)
        table.add_column(min_width=28)
        for name, value in describe(now):
            style = "bold green" if (name, value) == ("success", "yes") else ""
            table.add_row(name, Text(value, style=style))
        title = f"episode {now.episode}/{now.episodes} · {now.elapsed:.1f} s"
        return Panel(
            table,
            title=Text(f"“{now.instruction}”", style="bold"),
            subtitle=title,
            title_align="left",
            subtitle_align="left",
            expand=False,
            padding=(1, 2),
        )


def make_view() -> View:
    """A panel where standard output is a terminal, else plain lines."""
    return PanelView() if sys.stdout.isatty() else View(sys.stdout)
