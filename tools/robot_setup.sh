#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# On a robot's computer: makes .venv in this checkout with what the sourced ROS 2 does not package (torch,
# rosbags, ...), over the distribution's own packages. 'colcon build' then has ros2 run, ros2 launch,
# adamoe and systemd start with it.
#
# TORCH="torch==2.9.1"   another torch than the pinned one: a version, a wheel's path, or plain 'torch' for
#                        one that the distribution's Python has (Jetson: doc/robot_computer.md)
# TORCH_INDEX=URL        package index for torch alone
# PYTHON=/usr/bin/python3.12   interpreter; default: the one of ROS
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONNOUSERSITE=1
python=$("$here/find_python.sh")
exec "$python" "$here/bootstrap.py" --robot "$@"
