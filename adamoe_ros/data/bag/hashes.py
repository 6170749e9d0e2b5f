# SPDX-License-Identifier: Apache-2.0
"""Type hashes that a bag states: in metadata.yaml since version 7, and in the channels of MCAP files."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

_KEY = "topic_type_hash"  # rosbag2_storage_mcap's


def stated_hashes(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Topic -> hash by ``rosbag2_bagfile_information``; topics without one are left out."""
    found = {}
    for entry in metadata.get("topics_with_message_count") or []:
        topic = entry.get("topic_metadata") or {}
        digest = topic.get("type_description_hash")
        if digest and topic.get("name"):
            found[str(topic["name"])] = str(digest)
    return found


def channel_hash(metadata: bytes) -> str:
    """Hash in a channel's map of strings; empty where there is none, or the map is damaged."""
    words, place = [], 0
    while place + 4 <= len(metadata):
        (length,) = struct.unpack_from("<I", metadata, place)
        words.append(metadata[place + 4 : place + 4 + length].decode("utf-8", errors="replace"))
        place += 4 + length
    return dict(zip(words[::2], words[1::2], strict=False)).get(_KEY, "")
