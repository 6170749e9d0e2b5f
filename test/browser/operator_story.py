#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An operator's first ten minutes in a real browser, against the demo's real nodes: ``make console-check``.

    sees three cameras move, says a sentence, watches success · records that as an episode · changes a sentence
    half-way · leads the arms by hand and records that as a correction · stops by key, is refused a reset while
    the button is in, resets · is not alone · asks the doctor · loses a console and gets it back, loses the
    network and gets it back · is read by axe (labels, contrast) and used by keyboard alone

Runs in ``.venv-browser``. Screenshots and ``story.json`` are written to ``--out``. Exit code 1 when a step
does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SLOW_MS = 120_000  # that a step may take: the machine may be busy
LIFT = "lift the yellow bar with both arms"
RED, BLUE = "pick up the red cube with the left arm", "pick up the blue cube with the right arm"


class Story:
    """The steps, one after the other.

    Args:
        browser: a Chromium.
        url: of the page.
        out: folder for pictures; ``demo`` in it is the demo's.
    """

    def __init__(self, browser: Browser, url: str, out: Path) -> None:
        self.browser, self.url, self.out = browser, url, out
        self.steps: dict[str, Any] = {}
        self.page = self.open(DESKTOP)

    def open(self, size: dict[str, int], url: str = "", **options: Any) -> Page:
        page = self.browser.new_page(viewport=size, **options)  # type: ignore[arg-type]
        page.set_default_timeout(SLOW_MS)
        page.on("pageerror", lambda error: self.steps.setdefault("errors", []).append(str(error)))
        page.on("request", self._note_request)
        page.goto(url or self.url)
        page.wait_for_selector("#link.good")
        return page

    def _note_request(self, request: Any) -> None:
        if "://127.0.0.1:" not in request.url and not request.url.startswith(("data:", "blob:")):
            self.steps.setdefault("errors", []).append(f"asked the internet for {request.url}")

    def step(self, name: str, work: Callable[[], Any]) -> None:
        begun = time.monotonic()
        value = work()
        took = round(time.monotonic() - begun, 1)
        self.steps[name] = {"seconds": took, **({} if value is None else {"found": value})}
        print(f"  {took:6.1f} s  {name}" + (f": {value}" if value is not None else ""), flush=True)

    def picture(self, name: str, page: Page | None = None, **options: Any) -> None:
        (page or self.page).screenshot(path=self.out / f"{name}.png", **options)

    def wait_text(self, selector: str, words: str, page: Page | None = None) -> str:
        (page or self.page).wait_for_function(
            "([selector, words]) => document.querySelector(selector).innerText.includes(words)",
            arg=[selector, words],
        )
        return (page or self.page).inner_text(selector)

    # --- the story --------------------------------------------------------------------------------

    def tell(self) -> None:
        self.step("the page shows a robot that holds", lambda: self.wait_text("#mode", "HOLDING"))
        self.step("a scene is set up", lambda: self.scene("lift_bar", 3))
        self.step("an episode is recorded", self.record)
        self.step("a sentence is said", lambda: self.start(LIFT))
        self.step("three cameras move", self.cameras_move)
        self.picture("operate")
        self.step("as the model sees them", self.model_view)
        self.step("it succeeds", lambda: self.wait_text("#goal-now", "done"))
        self.step("the episode is kept with its judgement", self.end_recording)
        self.picture("recorded")
        self.step("another scene for a correction", lambda: self.scene("lift_bar", 5))
        self.step("its episode is recorded", self.record)
        self.step("a goal that is corrected", lambda: self.start(LIFT))
        self.step("a person leads by hand", self.lead)
        self.step("and gives the arms back", self.give_back)
        self.step("the correction is kept", self.keep_correction)
        self.step("another scene", lambda: self.scene("pick_cube", 0))
        self.step("a sentence to change", lambda: self.start(RED))
        self.step("changed half-way", lambda: self.change(BLUE))
        self.step("stopped by a key", self.stop)
        self.step("a reset is refused while the button is in", self.refused_reset)
        self.picture("stopped")
        self.step("let out and reset", self.reset)
        self.step("two people see each other", self.two_people)
        self.step("by keyboard alone", self.by_keyboard)
        self.step("the doctor's findings", self.doctor)
        self.step("labels and contrast (axe)", self.axe)

    def scene(self, task: str, seed: int) -> str:
        self.page.select_option("#task", task)
        self.page.fill("#seed", str(seed))
        self.page.click("#scene")
        self.wait_text("#scene-now", f"{task}, seed {seed}")
        self.page.wait_for_selector("#scene:not([disabled]):not([aria-busy])")
        return self.page.inner_text("#toast")

    def record(self) -> str:
        self.page.click("#rec-start")
        return self.wait_text("#recording", "messages")

    def start(self, sentence: str) -> str:
        self.page.fill("#sentence", sentence)
        self.page.click("#start")
        self.wait_text("#goal-now", sentence)
        return self.wait_text("#mode", "RUNNING")

    def cameras_move(self) -> dict[str, int]:
        """Different pictures of each camera within some seconds."""
        look = """() => [...document.querySelectorAll('figure canvas')].map((canvas) =>
          [canvas.getAttribute('aria-label'), canvas.toDataURL('image/jpeg', 0.5)])"""
        seen: dict[str, set[str]] = {}
        end = time.monotonic() + 30.0
        while time.monotonic() < end and (len(seen) < 3 or min(map(len, seen.values())) < 4):
            for name, data in self.page.evaluate(look):
                seen.setdefault(name.split(",")[0], set()).add(data)
            time.sleep(0.2)
        counts = {name: len(pictures) for name, pictures in seen.items()}
        assert len(counts) == 3, counts
        assert min(counts.values()) >= 4, counts
        return counts

    def model_view(self) -> list[int]:
        self.page.click("[data-view=model]")
        self.page.wait_for_selector("figure.model")
        size = "() => { const c = document.querySelector('figure.model canvas'); return [c.width, c.height]; }"
        found: list[int] = self.page.evaluate(size)
        self.picture("model")
        self.page.click("[data-view=raw]")
        return found

    def end_recording(self) -> dict[str, Any]:
        self.page.fill("#rec-notes", "the operator's story")
        self.page.click("#rec-good")
        self.wait_text("#recording", "ready")
        kept = sorted((self.out / "demo" / "recordings").glob("*/episode.json"))
        assert len(kept) == 1, kept
        document = json.loads(kept[0].read_text())
        found = {name: document.get(name) for name in ("instruction", "heard", "success", "notes")}
        assert found["success"] is True, document
        assert LIFT in (found["instruction"], found["heard"]), document
        return found

    def lead(self) -> str:
        """The key is held and a button pressed, until the arm is elsewhere; then both are let go."""
        self.page.click("#lead")
        self.page.wait_for_selector("#deadman")
        self.wait_text("#takeover-ages", "dead-man ")
        self.page.wait_for_function(
            "() => !document.querySelector('#takeover-ages').innerText.includes('never')"
        )
        self.page.keyboard.down("h")
        self.wait_text("#takeover-now", "leads the arms from the page")
        self.wait_text("#source", "A PERSON LEADS")
        before = self.waist()
        plus = self.page.get_by_role("button", name="left waist plus")
        plus.hover()
        self.page.mouse.down()
        moved = "(before) => Math.abs(parseFloat(document.querySelector('.joint .commanded').style.left) - before) > 3"
        self.page.wait_for_function(moved, arg=before)
        self.picture("leading")
        self.page.mouse.up()
        after = self.waist()
        self.page.keyboard.up("h")
        self.page.wait_for_selector("#source", state="hidden")
        self.page.keyboard.press("h")  # pressed once, and let go: nothing latches
        self.wait_text("#takeover-now", "has let go")
        return f"left waist from {before:.0f} to {after:.0f} % of its range"

    def waist(self) -> float:
        """Where the left waist is commanded, % of its range."""
        left: float = self.page.evaluate(
            "parseFloat(document.querySelector('.joint .commanded').style.left)"
        )
        return left

    def give_back(self) -> str:
        self.page.click("#lead")
        self.page.click("#resume")
        return self.wait_text("#mode", "RUNNING")

    def keep_correction(self) -> dict[str, Any]:
        """As rows of a dataset with ``intervention``, by the commands that doc/operator.md gives."""
        self.page.evaluate("document.querySelector('#cancel').click()")  # it may be done by now
        self.wait_text("#mode", "HOLDING")
        self.page.click("#rec-good")
        self.wait_text("#recording", "ready")
        recordings, dataset = self.out / "demo" / "recordings", self.out / "corrected"
        bag = max(recordings.glob("*/episode.json")).parent
        words = ["dataset", "convert", bag, "--robot", "aloha_sim"]
        words += ["--checkpoint", ROOT / "checkpoints/demo", "--out", dataset]
        subprocess.run([ROOT / ".venv/bin/adamoe", *words], check=True)
        show = (
            "import sys, pathlib, pyarrow.parquet as pq; "
            "print(*(sum(pq.read_table(path)['intervention'].to_pylist()) for path in "
            "pathlib.Path(sys.argv[1]).glob('data/**/*.parquet')))"
        )
        words = [ROOT / ".venv/bin/python", "-c", show, dataset]
        led = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        assert led > 5, "no row of the dataset says that a person led"
        return {"rows that a person led": led}

    def change(self, sentence: str) -> str:
        self.page.fill("#sentence", sentence)
        self.page.click("#change")
        self.wait_text("#goal-now", sentence)
        self.wait_text("#history", sentence)
        return self.page.inner_text("#goal-now").replace("\n", " · ")

    def stop(self) -> str:
        self.page.focus("#sentence")
        self.page.keyboard.press("Escape")
        self.wait_text("#mode", "STOPPED")
        commands = (
            "[...document.querySelectorAll('.track .commanded')].map((mark) => mark.style.left)"
        )
        self.page.wait_for_timeout(500)
        before = self.page.evaluate(commands)
        self.page.wait_for_timeout(1500)
        assert before == self.page.evaluate(commands), "commands go on after a stop"
        return self.page.inner_text("#stop").replace("\n", " · ")

    def refused_reset(self) -> str:
        self.page.click("#reset")
        return self.wait_text("#toast", "the stop is still pressed")

    def reset(self) -> str:
        self.page.click("#let-out")
        self.wait_text("#toast", "button is out")
        self.page.click("#reset")
        self.wait_text("#mode", "HOLDING")
        return self.page.inner_text("#why")

    def two_people(self) -> str:
        phone = self.open(PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
        phone.tap("#stop")
        self.wait_text("#mode", "STOPPED")
        self.wait_text("#mode", "STOPPED", phone)
        self.picture("phone_stopped", phone)
        phone.tap("#let-out")
        self.wait_text("#toast", "button is out", phone)
        phone.tap("#reset")
        self.wait_text("#mode", "HOLDING", phone)
        seen = [self.wait_text("#people", "PEOPLE OPERATE", page) for page in (self.page, phone)]
        self.picture("phone", phone)
        covered = """() => { document.querySelector('#door').show();
          const box = document.querySelector('#stop').getBoundingClientRect();
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          document.querySelector('#door').removeAttribute('open');
          return document.querySelector('#stop').contains(top); }"""
        assert all(page.evaluate(covered) for page in (self.page, phone)), (
            "the door covers the stop"
        )
        self.picture("phone_whole", phone, full_page=True)
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            "it scrolls sideways"
        )
        phone.close()
        return seen[0]

    def by_keyboard(self) -> list[str]:
        """Tab reaches what leads the robot, in an order that makes sense; focus is to be seen."""
        reached: list[str] = []
        self.page.reload()
        self.page.wait_for_selector("#link.good")
        self.wait_text("#mode", "HOLDING")
        for _ in range(60):
            self.page.keyboard.press("Tab")
            name, outline = self.page.evaluate(
                "() => { const one = document.activeElement; return [one === document.body ? '' : one.id || "
                "one.textContent, getComputedStyle(one).outlineStyle]; }"
            )
            if name == "":  # behind the last one comes the browser itself
                break
            assert outline != "none", f"{name}: its focus cannot be seen"
            reached.append(name)
        for wanted in ("stop", "sentence", "start", "rec-start", "scene"):
            assert wanted in reached, f"{wanted} is not reached by Tab: {reached}"
        self.page.focus("#start")
        self.page.keyboard.press("Escape")
        self.wait_text("#mode", "STOPPED")
        self.page.focus("#let-out")
        self.page.keyboard.press("Enter")
        self.wait_text("#toast", "button is out")
        self.page.focus("#reset")
        self.page.keyboard.press("Enter")
        self.wait_text("#mode", "HOLDING")
        return reached[:12]

    def doctor(self) -> str:
        self.page.click("[data-page=doctor]")
        self.page.click("#examine")
        self.page.wait_for_selector("#findings .mark")
        self.picture("doctor")
        words = self.page.inner_text("#findings p")
        self.axe_here("doctor")
        self.page.click("[data-page=operate]")
        return words

    def axe(self) -> str:
        self.picture("whole", full_page=True)
        self.axe_here("operate")
        return "no violations"

    def axe_here(self, name: str) -> None:
        found = Axe().run(self.page).response["violations"]
        lines = [f"{name}: {one['id']}: {one['nodes'][0]['html'][:90]}" for one in found]
        assert not lines, "\n".join(lines)


def another_console(story: Story, port: int, environment: dict[str, str]) -> str:
    """A console of its own beside the demo's: killed, seen to be lost, started again, connected again."""
    command = [ROOT / ".venv/bin/adamoe", "console", "--robot", "aloha_sim", "--port", str(port)]

    def start() -> subprocess.Popen[bytes]:
        made = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        await_page(f"http://127.0.0.1:{port}/", made)
        return made

    process = start()
    try:
        other = story.browser.new_page()
        other.set_default_timeout(SLOW_MS)
        other.goto(f"http://127.0.0.1:{port}/")
        story.wait_text("#mode", "HOLDING", other)
        process.kill()
        process.wait()
        other.wait_for_selector("#lost:not([hidden])")
        words = other.inner_text("#lost")
        story.picture("lost", other)
        process = start()
        other.wait_for_selector("#lost", state="hidden")
        story.wait_text("#mode", "HOLDING", other)
        other.close()
        return words
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def cut_network(story: Story, port: int) -> str:
    """A page behind a network that is cut while a goal runs: the arms go on, the page says what it lost."""
    with Network(port + 1, port) as network:
        other = story.open(DESKTOP, f"http://127.0.0.1:{port + 1}/")
        story.scene("lift_bar", 7)
        story.start(LIFT)
        story.wait_text("#mode", "RUNNING", other)
        network.cut.set()
        other.wait_for_selector("#lost:not([hidden])")
        words = other.inner_text("#lost")
        story.picture("cut", other)
        other.click("#stop")
        story.wait_text("#toast", "NOT CONFIRMED", other)
        assert story.page.inner_text("#mode") == "RUNNING", "the arms stopped with the network"
        network.cut.clear()
        other.wait_for_selector("#lost", state="hidden")
        story.wait_text("#mode", "STOPPED", other)  # what was pressed arrives late, and is obeyed
        other.close()
        story.reset()
        return words


class Network:
    """Carries bytes from one port to another; ``cut``, it keeps every connection and carries nothing."""

    def __init__(self, here: int, there: int) -> None:
        self.cut = threading.Event()
        self._there = there
        self._server = socket.create_server(("127.0.0.1", here))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._server.accept()
                other = socket.create_connection(("127.0.0.1", self._there))
                for ends in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.cut.is_set():
                    time.sleep(0.02)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def await_page(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it is served."""
    end = time.monotonic() + SLOW_MS / 1e3
    while time.monotonic() < end:
        assert process.poll() is None, "the process has ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}healthz", timeout=5).read()
            return
        time.sleep(0.2)
    raise AssertionError(f"{url}: not served")


@contextlib.contextmanager
def demo(out: Path, port: int, domain: int) -> Iterator[None]:
    """``adamoe demo --console``, as a person starts it."""
    words = ["demo", "--console", str(port), "--out", out / "demo", "--domain", str(domain)]
    with (out / "demo.log").open("wb") as log:
        process = subprocess.Popen([ROOT / ".venv/bin/adamoe", *words], stdout=log, stderr=log)
    try:
        await_page(f"http://127.0.0.1:{port}/", process)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        print(f"the demo ended with {code}")


def main() -> int:
    """Tell it; 1 when a step does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "console")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--domain", type=int, default=77)
    options = parser.parse_args()
    if CHROMIUM is None:
        print("console-check: expected chromium on PATH, got none; apt-get install chromium")
        return 2
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    environment = {**os.environ, "ROS_DOMAIN_ID": str(options.domain)}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    with demo(options.out, options.port, options.domain), sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        story = Story(browser, f"http://127.0.0.1:{options.port}/", options.out)
        failure = ""
        try:
            story.tell()
            name = "a console that is killed comes back"
            story.step(name, lambda: another_console(story, options.port + 1, environment))
            story.step("a network that is cut", lambda: cut_network(story, options.port))
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"[:500]
            with contextlib.suppress(Exception):
                story.picture("failure", full_page=True)
                print(story.page.inner_text("#events")[:2000])
        browser.close()
    errors = [*story.steps.pop("errors", []), *([failure] if failure else [])]
    result = {"steps": story.steps, "errors": errors, "load": os.getloadavg()}
    (options.out / "story.json").write_text(json.dumps(result, indent=1) + "\n")
    for line in errors:
        print(f"console-check: {line}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
