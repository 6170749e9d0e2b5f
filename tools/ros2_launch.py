#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch adamoe_ros FILE name:=value ...`` for where launch is there and ros2cli is not.

Imports launch. The launch file is the checkout's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run it until its end; launch's exit code."""
    file, *words = sys.argv[1:]
    arguments = [tuple(word.split(":=", 1)) for word in words]
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / file))
    service = LaunchService(argv=words, noninteractive=True)
    service.include_launch_description(
        LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
    )
    return int(service.run())


if __name__ == "__main__":
    sys.exit(main())
