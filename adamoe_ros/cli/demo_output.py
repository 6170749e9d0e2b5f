# SPDX-License-Identifier: Apache-2.0
"""What a demo leaves in its folder: results.json, recording.json, demo.mp4, report.html."""

from __future__ import annotations

import json
import time
from pathlib import Path

from adamoe_ros.cli.demo_settings import DemoSettings
from adamoe_ros.cli.demo_view import View
from adamoe_ros.data.recording import Recording


def write_results(recording: Recording, settings: DemoSettings, view: View) -> None:
    """Write everything; the report last, because it embeds the video."""
    from adamoe_ros.evaluation.report.page import report_page
    from adamoe_ros.evaluation.report.summary import results

    out = settings.out
    recording.write(out / "recording.json")
    document = json.dumps(results(recording), indent=1) + "\n"
    (out / "results.json").write_text(document, encoding="utf-8")
    video: Path | None = None
    if settings.video and recording.episodes:
        from adamoe_ros.evaluation.report.film import make_film

        begun = time.monotonic()
        view.step("rendering the video ...")
        video = out / "demo.mp4"
        frames = make_film(video, recording, out / "trace")
        view.step(f"{video} ({frames} frames in {time.monotonic() - begun:.0f} s)")
    page = report_page(recording, video.read_bytes() if video else None)
    (out / "report.html").write_text(page, encoding="utf-8")
    view.step(f"{out / 'report.html'}")
    done = sum(episode.success for episode in recording.episodes)
    view.step(f"{done} of {len(recording.episodes)} episodes successful")
