# SPDX-License-Identifier: Apache-2.0
"""``episode.json`` beside a bag: what is needed to reproduce and to sort an episode.

Written at the recording's begin and replaced at its end, so that a killed recorder leaves one, too;
the same facts are in the bag's own metadata when it was ended in order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import problem
from adamoe_ros.contract.files import replace_text

FILE = "episode.json"
FORMAT = "adamoe_ros/episode/1"


@dataclass(frozen=True)
class EpisodeInfo:
    """One recorded episode.

    Attributes:
        instruction: sentence that the recorder's user gave: it stands for all that the bag says;
            empty: none given.
        heard: first sentence on a topic; it may have changed later, the bag has every one.
        robot: profile name. profile: the whole profile. profile_hash: of it.
        checkpoint, checkpoint_hash: folder and hash of its small files; empty: none.
        parameters: node -> parameter -> value.
        started, ended: ISO 8601, UTC; ended empty: killed, or still running.
        success: judgement of a person or a simulator; None: not judged.
        end: why it ended: stopped, disk_full, max_duration, shutdown, ...
        counts: topic -> messages. dropped: messages that the disk was too slow for.
    """

    instruction: str = ""
    robot: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)
    profile_hash: str = ""
    checkpoint: str = ""
    checkpoint_hash: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    ended: str = ""
    success: bool | None = None
    end: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0
    notes: str = ""
    heard: str = ""

    @property
    def sentence(self) -> str:
        """What the episode is about, for a person; empty: nobody said it."""
        return self.instruction or self.heard

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Put it into a bag's folder; the old one is replaced at once or not at all."""
        replace_text(folder / FILE, self.text())


def read_info(
    bag: Path, custom: Mapping[str, str], note: Callable[[str], None] = lambda line: None
) -> EpisodeInfo | None:
    """What was noted on an episode, from beside the bag or from its metadata; None: nothing.

    Args:
        bag: folder or file.
        custom: ``custom_data`` of the bag.
        note: called with a line on what is damaged; then the other place is read.
    """
    folder = bag if bag.is_dir() else bag.parent
    path = folder / FILE
    sources: list[Callable[[], str]] = [lambda: custom.get("adamoe_episode", "")]
    if path.exists():
        sources.insert(0, lambda: path.read_text(encoding="utf-8"))
    for source in sources:
        try:
            text = source()
            if text:
                return _parsed(json.loads(text))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            line = " ".join(str(error).split())[:120]
            do = "instruction and judgement in it are not used"
            note(problem(FILE, "what the recorder noted", line, do))
    return None


def _parsed(document: Any) -> EpisodeInfo:
    """Raises TypeError: not the document that ``EpisodeInfo.text`` makes."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TypeError(f"no document of the format {FORMAT}")
    known = {name: document[name] for name in EpisodeInfo.__dataclass_fields__ if name in document}
    default = EpisodeInfo()
    for name, value in known.items():
        like = (bool, type(None)) if name == "success" else type(getattr(default, name))
        if not isinstance(value, like):
            raise TypeError(f"{name} is {value!r}")
    return EpisodeInfo(**known)


def hash_of(document: Any) -> str:
    """Of a JSON document, independent of the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def folder_hash(folder: Path) -> str:
    """Of the text files of a checkpoint and of the sizes of its weights."""
    digest = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        digest.update(f"{path.relative_to(folder)}:{path.stat().st_size}\n".encode())
        if path.suffix in (".json", ".yaml", ".txt"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
